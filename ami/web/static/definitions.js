/** Read regions out of definitions, and write them as definitions (docs/graphs.md). Without a DOM. @module */

/** @typedef {[number, number]} Pair */
/**
 * A rectangle whose pixels are summed, a line, or what lies between two circles and two angles; a place is row and column.
 * @typedef {{kind: string, rows?: Pair, columns?: Pair, start?: Pair, end?: Pair, width?: number,
 *   center?: Pair, radii?: Pair, angles?: Pair, bins?: number}} Region
 */

/**
 * What an image's result is made of: of `last(camera)` or `mean_events(camera, window=interval)` the `camera`.
 * @param {string} text of the result's definition
 */
export function imageSource(text) {
  const match = /^\s*\w+\((.*)\)\s*$/s.exec(text);
  if (!match) return '';
  let depth = 0;
  for (const [at, letter] of [...match[1]].entries()) {
    if ('([{'.includes(letter)) depth++;
    else if (')]}'.includes(letter)) depth--;
    else if (letter === ',' && !depth) return match[1].slice(0, at).trim();
    if (depth < 0) return '';
  }
  return match[1].trim();
}

const CALL = /\b(roi|line|radial|azimuthal)\(\s*(`[^`]+`|\w+)\s*,([^()]*)\)/g;

/** @param {string} kind @param {string} text of its parameters @returns {Region|null} null: nothing that can be drawn */
function readCall(kind, text) {
  const given = Object.fromEntries([...text.matchAll(/(\w+)\s*=\s*(\[[^\]]*\]|[^,]+)/g)].map(([, name, value]) =>
    [name, /** @type {any} */ ((value.match(/-?[\d.]+(e[-+]?\d+)?/gi) ?? []).map(Number))]));
  const {rows, cols, start, end, width, center, radii, angles, bins} = given;
  const pairs = (/** @type {any[]} */ ...all) => all.every((one) => one?.length === 2 && one.every(Number.isFinite));
  if (kind === 'roi') return pairs(rows, cols) && Math.min(...rows, ...cols) >= 0 ? {kind: 'sum', rows, columns: cols} : null;
  if (kind === 'line') return pairs(start, end) ? {kind, start, end, width: width?.[0] ?? 1} : null;
  if (!pairs(center, radii) || (angles && !pairs(angles))) return null;
  return {kind, center, radii, ...(angles ? {angles} : {}), ...(bins ? {bins: bins[0]} : {})};
}

/**
 * The regions of an image that the graph has; ``isWhole``: it is nothing but that, and can be moved.
 * @param {Record<string, {text: string}>} definitions @param {string} source
 * @returns {(Region & {name: string, isWhole: boolean})[]}
 */
export function findRegions(definitions, source) {
  const found = [];
  const bare = (/** @type {string} */ text) => text.replace(/\s/g, '');
  for (const [name, {text}] of Object.entries(definitions)) {
    for (const [, kind, image, rest] of text.matchAll(CALL)) {
      const region = image === source ? readCall(kind, rest) : null;
      if (region) found.push({...region, name, isWhole: bare(text) === bare(spellRegion(source, region))});
    }
  }
  return found;
}

/** @param {string} source @param {Region} region */
export function spellRegion(source, {kind, rows, columns, start, end, width, center, radii, angles, bins}) {
  if (rows && columns) return `sum(roi(${source}, rows=${rows.join(':')}, cols=${columns.join(':')}))`;
  const place = (/** @type {Pair|undefined} */ one) => `[${one?.join(', ')}]`;
  if (start) return `line(${source}, start=${place(start)}, end=${place(end)}${Number(width) > 1 ? `, width=${width}` : ''})`;
  return `${kind}(${source}, center=${place(center)}, radii=${radii?.join(':')}${angles ? `, angles=${angles.join(':')}` : ''}${bins ? `, bins=${bins}` : ''})`;
}

/**
 * The lines of a region and of what is shown of it, as they are typed, in YAML and in Python.
 * @param {string} name @param {string} source @param {Region} region
 */
export function writeRegion(name, source, region) {
  const definition = spellRegion(source, region);
  const image = source.startsWith('`') ? `g.field("${source.slice(1, -1)}")` : source;
  const call = definition.replace(/^sum\((.*)\)$/, '$1').replace(/=(-?[\d.]+):(-?[\d.]+)/g, '=($1, $2)').replace(/\[(.*?)\]/g, '($1)');
  const python = `${image}.${call.replace(`(${source}, `, '(')}${region.rows ? '.sum()' : ''}`;
  return {
    definition, text: `${name} = ${definition}\n${name}_now = mean_events(${name}, window=interval)`,
    yaml: `${name}: ${definition}`, python: `${name} = g.value("${name}", ${python})`,
  };
}

/** The first name of its kind that nobody has. @param {string} stem @param {(name: string) => boolean} isTaken */
export function freeName(stem, isTaken) {
  let number = 1;
  while (isTaken(number === 1 ? stem : `${stem}${number}`)) number++;
  return number === 1 ? stem : `${stem}${number}`;
}

/** A name as a definition says it. @param {string} name */
export const quote = (name) => (/^[A-Za-z_]\w*$/.test(name) && !/^(and|or|not|where|true|false|none|inf|pi)$/i.test(name) ? name : `\`${name}\``);

/**
 * What is other in one version of the definitions than in another, a line for each, as `diff` writes them.
 * @param {Record<string, {text: string}>} before @param {Record<string, {text: string}>} after
 */
export function compareDefinitions(before, after) {
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])].filter((name) => before[name]?.text !== after[name]?.text);
  return names.flatMap((name) => [['-', before[name]], ['+', after[name]]].filter(([, one]) => one)
    .map(([sign, one]) => `${sign} ${quote(name)} = ${/** @type {any} */ (one).text}`));
}
