/** Read regions out of definitions, and write them as definitions (docs/graphs.md). Without a DOM. @module */

/** Rows and columns from and up to, as in Python. @typedef {{rows: [number, number], columns: [number, number]}} Region */

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

const REGION = /roi\(\s*(`[^`]+`|\w+)\s*,\s*rows\s*=\s*(\d+):(\d+)\s*,\s*cols\s*=\s*(\d+):(\d+)\s*\)/g;

/**
 * The regions of an image that the graph has; ``isSum``: it is nothing but such a sum, and can be moved.
 * @param {Record<string, {text: string}>} definitions @param {string} source
 * @returns {(Region & {name: string, isSum: boolean})[]}
 */
export function findRegions(definitions, source) {
  const found = [];
  for (const [name, {text}] of Object.entries(definitions)) {
    for (const [, image, ...numbers] of text.matchAll(REGION)) {
      const [a, b, c, d] = numbers.map(Number);
      if (image === source) {
        const region = {rows: /** @type {[number, number]} */ ([a, b]), columns: /** @type {[number, number]} */ ([c, d])};
        found.push({name, ...region, isSum: text.replace(/\s/g, '') === sumOf(source, region).replace(/\s/g, '')});
      }
    }
  }
  return found;
}

/** @param {string} source @param {Region} region */
export const sumOf = (source, {rows, columns}) =>
  `sum(roi(${source}, rows=${rows[0]}:${rows[1]}, cols=${columns[0]}:${columns[1]}))`;

/**
 * The lines of a region's sum and of what is shown of it, as they are typed, in YAML and in Python.
 * @param {string} name @param {string} source @param {Region} region
 */
export function writeRegion(name, source, region) {
  const sum = sumOf(source, region);
  const shown = `mean_events(${name}, window=interval)`;
  const {rows, columns} = region;
  return {
    text: `${name} = ${sum}\n${name}_now = ${shown}`,
    yaml: `${name}: ${sum}`,
    python: `${name} = g.value("${name}", ${source}.roi(rows=(${rows}), cols=(${columns})).sum())`.replace(/(\d),(\d)/g, '$1, $2'),
  };
}

/** The first name of its kind that nobody has. @param {string} stem @param {(name: string) => boolean} isTaken */
export function freeName(stem, isTaken) {
  let number = 1;
  while (isTaken(number === 1 ? stem : `${stem}${number}`)) number++;
  return number === 1 ? stem : `${stem}${number}`;
}
