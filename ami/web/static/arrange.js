/** Which tiles there are, and how large: for a graph that nobody laid out, and as a text that is kept. Without a DOM. @module */

/**
 * A tile of a layout. ``w`` of 12 columns, ``h`` rows; ``kind`` "" is what suits the result.
 * @typedef {{name: string, kind: string, w: number, h: number, options: Record<string, any>}} Spec
 */

export const COLUMNS = 12;
const MOST_H = 24;
// What nobody laid out shows so many at most: a graph of thousands would be a page of nothing to see.
export const MOST_TILES = 48;

/** @type {Record<string, [number, number]>} width and height, by kind */
const SIZES = {
  image: [4, 7], histogram2d: [4, 7], line: [4, 5], scan: [4, 5], scatter: [4, 6], histogram: [4, 5], strip: [4, 5],
  number: [2, 3], table: [4, 6], text: [4, 3],
};

/** @param {string} kind @returns {[number, number]} */
export const sizeOf = (kind) => SIZES[kind] ?? [4, 5];

/** @param {string} name @param {string} [kind] @returns {Spec} */
export function makeSpec(name, kind = '') {
  const [w, h] = sizeOf(kind);
  return {name, kind, w, h, options: {}};
}

/**
 * Tiles for names, in the order of the catalogue, what has one size side by side: the browser fills the rows.
 * @param {Iterable<string>} names
 * @param {(name: string) => string} kindOf "" where it is not known yet
 */
export function arrange(names, kindOf) {
  const order = ['image', 'histogram2d', 'scatter', 'scan', 'line', 'histogram', 'strip', '', 'table', 'text', 'number'];
  return [...names].slice(0, MOST_TILES).map((name) => ({...makeSpec(name, kindOf(name)), kind: ''}))
    .sort((a, b) => order.indexOf(kindOf(a.name)) - order.indexOf(kindOf(b.name)));
}

/** @param {number} wanted @param {number} most */
const within = (wanted, most) => Math.min(most, Math.max(1, Math.round(wanted) || 1));

/** @param {Spec} spec @param {number} w @param {number} h */
export function resize(spec, w, h) {
  spec.w = within(w, COLUMNS);
  spec.h = within(h, MOST_H);
}

/**
 * What a text or an object that somebody kept says; what it does not say, or says wrongly, is as usual.
 * @param {any} kept
 * @returns {Spec[]}
 */
export function readLayout(kept) {
  if (!kept || !Array.isArray(kept.tiles)) return [];
  return kept.tiles.filter((/** @type {any} */ tile) => tile && typeof tile.name === 'string').map((/** @type {any} */ tile) => {
    const spec = makeSpec(tile.name, typeof tile.kind === 'string' ? tile.kind : '');
    resize(spec, Number(tile.w) || spec.w, Number(tile.h) || spec.h);
    if (tile.options && typeof tile.options === 'object') spec.options = {...tile.options};
    return spec;
  });
}

/** @param {Spec[]} specs */
export const writeLayout = (specs) => ({version: 1, tiles: specs.map(({name, kind, w, h, options}) => ({name, kind, w, h, options}))});

/** @template T @param {T[]} list @param {T} one @param {number} to */
export function move(list, one, to) {
  list.splice(list.indexOf(one), 1);
  list.splice(Math.min(Math.max(0, to), list.length), 0, one);
}
