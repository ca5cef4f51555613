/** Colours of pictures: a table of 256 of them, by map, levels and scale. Without a DOM. @module */

/** Control points of each map, from low to high, evenly spaced. */
const MAPS = {
  viridis: '440154 482878 3e4a89 31688e 26828e 1f9e89 35b779 6ece58 b5de2b fde725',
  magma: '000004 180f3d 440f76 721f81 9e2f7f cd4071 f1605d fd9668 feca8d fcfdbf',
  grey: '000000 ffffff',
  // For differences: what is in the middle is pale.
  balance: '2166ac 67a9cf d1e5f0 f7f7f7 fddbc7 ef8a62 b2182b',
};
export const MAP_NAMES = Object.keys(MAPS);
export const SCALES = ['linear', 'sqrt', 'log'];

/**
 * @param {string} map
 * @param {number} t from 0 to 1
 * @returns {[number, number, number]}
 */
export function colourAt(map, t) {
  const points = (MAPS[/** @type {keyof typeof MAPS} */ (map)] ?? MAPS.viridis).split(' ');
  const place = Math.min(1, Math.max(0, t)) * (points.length - 1);
  const left = Math.min(Math.floor(place), points.length - 2);
  const [a, b] = [points[left], points[left + 1]].map((hex) => parseInt(hex, 16));
  const mix = (/** @type {number} */ shift) => {
    const [from, to] = [(a >> shift) & 255, (b >> shift) & 255];
    return Math.round(from + (to - from) * (place - left));
  };
  return [mix(16), mix(8), mix(0)];
}

/**
 * Where a value is between the levels, from 0 to 1. The logarithm begins at a thousandth of the range above
 * the lower level, so that it has a beginning whatever the pedestal is.
 * @param {number} value @param {number} low @param {number} high @param {string} scale
 */
export function placeOf(value, low, high, scale) {
  const t = high > low ? Math.min(1, Math.max(0, (value - low) / (high - low))) : Number(value > low);
  if (scale === 'sqrt') return Math.sqrt(t);
  return scale === 'log' ? Math.log1p(t * 1000) / Math.log1p(1000) : t;
}

/**
 * Colours of codes as ImageData has them: one Uint32 of alpha, blue, green, red each. What is no value is clear.
 * @param {Float64Array} values of the codes
 * @param {{map: string, scale: string, low: number, high: number}} how
 */
export function makeTable(values, how) {
  const table = new Uint32Array(256);
  for (let code = 1; code < 256; code++) {
    const [red, green, blue] = colourAt(how.map, placeOf(values[code], how.low, how.high, how.scale));
    table[code] = (0xff000000 | (blue << 16) | (green << 8) | red) >>> 0;
  }
  return table;
}

/** How often each code is there. @param {Uint8Array} codes */
export function countCodes(codes) {
  const counts = new Uint32Array(256);
  for (let i = 0; i < codes.length; i++) counts[codes[i]]++;
  return counts;
}

/**
 * The value below which ``percent`` of the pixels are that have one.
 * @param {Uint32Array} counts of the codes
 * @param {Float64Array} values of the codes
 * @param {number} percent
 */
export function percentile(counts, values, percent) {
  let left = 0;
  for (let code = 1; code < 256; code++) left += counts[code];
  left *= percent / 100;
  for (let code = 1; code < 256; code++) {
    left -= counts[code];
    if (left <= 0 && counts[code]) return values[code];
  }
  return values[255];
}
