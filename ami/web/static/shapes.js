/**
 * Where regions are, and what comes of them when somebody drags them. Without a DOM.
 *
 * x and y are edges of pixels, as the image is drawn; a place [row, column] is the middle of its pixel, as the library has it. @module
 */

/** @typedef {import('./definitions.js').Region} Region */
/** @typedef {import('./definitions.js').Pair} Pair */
/** What people call them, and what the first of each is called. @type {Record<string, string>} */
export const SHAPES = {rectangle: 'spot', line: 'cut', ring: 'ring', arc: 'arc'};
const WIDE = 30;

const half = (/** @type {number} */ value) => Math.round(value * 2) / 2;
const within = (/** @type {number} */ value, /** @type {number} */ low, /** @type {number} */ high) => Math.max(low, Math.min(high, value));
const degrees = (/** @type {number} */ y, /** @type {number} */ x) => Math.atan2(y, x) * 180 / Math.PI;
const apart = (/** @type {Pair} */ [a, b], /** @type {Pair} */ [c, d]) => Math.hypot(a - c, b - d);

/** @param {string} shape @param {number} x @param {number} y @returns {{region: Region, grip: string}} */
export function beginRegion(shape, x, y) {
  const [row, column] = [Math.floor(y), Math.floor(x)];
  if (shape === 'line') return {region: {kind: 'line', start: [row, column], end: [row, column + 1], width: 1}, grip: 'end'};
  if (shape === 'ring') return {region: {kind: 'radial', center: [row, column], radii: [0, 1]}, grip: 'outer'};
  if (shape === 'arc') return {region: {kind: 'azimuthal', center: [row, column], radii: [0, 1], angles: [-WIDE, WIDE], bins: 2 * WIDE}, grip: 'arc'};
  return {region: {kind: 'sum', rows: [row, row + 1], columns: [column, column + 1]}, grip: 'right bottom'};
}

/** Places where it can be gripped, by what that moves. @param {Region} region @returns {Record<string, Pair>} x and y */
export function handlesOf({rows, columns, start, end, width, center, radii, angles}) {
  if (rows && columns) {
    const [[top, bottom], [left, right]] = [rows, columns];
    return {'left top': [left, top], 'right top': [right, top], 'left bottom': [left, bottom], 'right bottom': [right, bottom]};
  }
  if (start && end) {
    const [dy, dx, length] = [end[0] - start[0], end[1] - start[1], apart(start, end)];
    const [x, y] = [(start[1] + end[1] + 1) / 2, (start[0] + end[0] + 1) / 2];
    const out = Math.max(3, Number(width) / 2) / length;
    return {start: [start[1] + 0.5, start[0] + 0.5], end: [end[1] + 0.5, end[0] + 0.5], width: [x - dy * out, y + dx * out]};
  }
  const [[row, column], [inner, outer]] = [/** @type {Pair} */ (center), /** @type {Pair} */ (radii)];
  const [first, last] = angles ?? [-45, -45];
  const at = (/** @type {number} */ radius, /** @type {number} */ angle) =>
    /** @type {Pair} */ ([column + 0.5 + radius * Math.cos(angle * Math.PI / 180), row + 0.5 + radius * Math.sin(angle * Math.PI / 180)]);
  const ends = angles ? {first: at((inner + outer) / 2, first), last: at((inner + outer) / 2, last)} : {};
  return {outer: at(outer, (first + last) / 2), ...ends, ...(inner ? {inner: at(inner, (first + last) / 2)} : {}), center: at(0, 0)};
}

/** What a drag that begins there moves; '': nothing. @param {Region} region @param {number} x @param {number} y @param {number} reach */
export function gripAt(region, x, y, reach) {
  const {rows, columns, start, end, width, center, radii, angles} = region;
  if (rows && columns) return sidesAt(rows, columns, x, y, reach);
  const near = Object.entries(handlesOf(region)).find(([, place]) => apart(place, [x, y]) <= reach);
  if (near) return near[0];
  if (start && end) {
    const [dy, dx, length] = [end[0] - start[0], end[1] - start[1], apart(start, end)];
    const [down, right] = [y - 0.5 - start[0], x - 0.5 - start[1]];
    const along = (down * dy + right * dx) / length;
    return along >= 0 && along <= length && Math.abs(down * dx - right * dy) / length <= Math.max(reach, Number(width) / 2) ? 'all' : '';
  }
  const [[row, column], [inner, outer]] = [/** @type {Pair} */ (center), /** @type {Pair} */ (radii)];
  const radius = Math.hypot(y - 0.5 - row, x - 0.5 - column);
  const turned = angles ? (((degrees(y - 0.5 - row, x - 0.5 - column) - angles[0]) % 360) + 360) % 360 : 0;
  if (angles && turned > angles[1] - angles[0]) return '';
  if (Math.abs(radius - outer) <= reach) return 'outer';
  if (inner && Math.abs(radius - inner) <= reach) return 'inner';
  return radius >= inner && radius <= outer ? 'all' : '';
}

/** Near a corner or an edge these sides, within all. @param {Pair} rows @param {Pair} columns @param {number} x @param {number} y @param {number} reach */
function sidesAt(rows, columns, x, y, reach) {
  if (x < columns[0] - reach || x > columns[1] + reach || y < rows[0] - reach || y > rows[1] + reach) return '';
  const near = [
    [columns[0], x, 'left'], [columns[1], x, 'right'], [rows[0], y, 'top'], [rows[1], y, 'bottom'],
  ].filter(([side, at]) => Math.abs(Number(side) - Number(at)) <= Math.min(reach, 0.3 * Math.min(columns[1] - columns[0], rows[1] - rows[0]) + reach / 3));
  return near.map(([, , name]) => name).join(' ') || 'all';
}

/**
 * Change a region as a drag does that is at a place by now.
 * @param {Region} region @param {string} grip @param {Pair} to x and y @param {Pair} by whole pixels since the last time
 * @param {Pair} size rows and columns of the image
 */
export function moveRegion(region, grip, [x, y], [dx, dy], [height, width]) {
  const {rows, columns, start, end, center} = region;
  if (grip === 'all' || grip === 'center') {
    if (rows && columns) slide(columns, dx, width), slide(rows, dy, height);
    for (const place of [start, end, center]) if (place) place[0] += dy, place[1] += dx;
  } else if (rows && columns) {
    if (grip.includes('left')) columns[0] = within(columns[0] + dx, 0, columns[1] - 1);
    if (grip.includes('right')) columns[1] = within(columns[1] + dx, columns[0] + 1, width);
    if (grip.includes('top')) rows[0] = within(rows[0] + dy, 0, rows[1] - 1);
    if (grip.includes('bottom')) rows[1] = within(rows[1] + dy, rows[0] + 1, height);
  } else if (start && end) {
    const place = /** @type {Pair} */ ([within(half(y - 0.5), 0, height - 1), within(half(x - 0.5), 0, width - 1)]);
    const other = grip === 'start' ? end : start;
    if (grip !== 'width') place.some((one, axis) => one !== other[axis]) && (region[/** @type {'start'|'end'} */ (grip)] = place);
    else {
      const off = (y - 0.5 - start[0]) * (end[1] - start[1]) - (x - 0.5 - start[1]) * (end[0] - start[0]);
      region.width = within(Math.round(2 * Math.abs(off) / apart(start, end)), 1, 999);
    }
  } else turnRound(region, grip, [y - 0.5, x - 0.5]);
}

/** @param {Region} region @param {string} grip @param {Pair} to row and column */
function turnRound(region, grip, to) {
  const [radii, center] = [/** @type {Pair} */ (region.radii), /** @type {Pair} */ (region.center)];
  const [radius, angle] = [half(apart(to, center)), Math.round(degrees(to[0] - center[0], to[1] - center[1]))];
  const {angles} = region;
  if (grip === 'inner') radii[0] = within(radius, 0, radii[1] - 1);
  if (grip === 'outer') radii[1] = Math.max(radii[0] + 1, radius);
  if (grip === 'arc') region.radii = [Math.floor(radius / 2), Math.max(radius, Math.floor(radius / 2) + 1)], region.angles = [angle - WIDE, angle + WIDE];
  if (!angles || !['first', 'last'].includes(grip)) return;
  const far = grip === 'first' ? angles[1] - angle : angle - angles[0];
  const span = (((far - 1) % 360) + 360) % 360 + 1;
  region.angles = grip === 'first' ? [angles[1] - span, angles[1]] : [angles[0], angles[0] + span];
  if (region.bins) region.bins = span;
}

/** @param {Pair} span @param {number} by @param {number} most */
function slide(span, by, most) {
  const shift = Math.min(most - span[1], Math.max(-span[0], by));
  span[0] += shift;
  span[1] += shift;
}

/**
 * About what comes of a region in one image: its sum, or its profile.
 * @param {Region} region @param {(row: number, column: number) => number} valueAt @param {Pair} size @param {Pair} step rows and columns from value to value
 * @returns {number[]}
 */
export function previewOf(region, valueAt, [height, width], [down, right]) {
  const {rows, columns, start, end, center, radii, angles} = region;
  const found = /** @type {number[][]} */ ([]);
  const put = (/** @type {number} */ place, /** @type {number} */ row, /** @type {number} */ column) => {
    if (row > -0.5 && column > -0.5 && row < height - 0.5 && column < width - 0.5) (found[place] ??= []).push(valueAt(Math.round(row), Math.round(column)));
  };
  if (start && end) {
    const length = Math.ceil(apart(start, end));
    const [dy, dx] = [(end[0] - start[0]) / length, (end[1] - start[1]) / length];
    for (let n = 0; n <= length; n++) {
      found[n] = [];
      for (let k = -(Number(region.width) - 1) / 2; k <= Number(region.width) / 2; k++) put(n, start[0] + n * dy + k * dx, start[1] + n * dx - k * dy);
    }
  } else {
    const [[top, bottom], [left, edge]] = rows && columns ? [rows, columns] : [[0, height], [0, width]];
    for (let row = top; row < Math.min(bottom, height); row += down) {
      for (let column = left; column < Math.min(edge, width); column += right) {
        const place = !center || !radii ? 0 : placeOf(row - center[0], column - center[1], region.kind, radii, angles);
        if (place >= 0) put(place, row, column);
      }
    }
  }
  const means = Array.from(found, (all) => (all?.length ? all.reduce((sum, one) => sum + one, 0) / all.length : NaN));
  return rows && columns ? [means[0] * (rows[1] - rows[0]) * (columns[1] - columns[0])] : means;
}

/** @param {number} down @param {number} right @param {string} kind @param {Pair} radii @param {Pair} [angles] @returns {number} -1: it is not in it */
function placeOf(down, right, kind, [inner, outer], [first, last] = [0, 360]) {
  const radius = Math.hypot(down, right);
  const turned = (((degrees(down, right) - first) % 360) + 360) % 360;
  if (radius < inner || radius >= outer || turned >= last - first) return -1;
  return Math.floor(kind === 'radial' ? radius - inner : turned / 5);
}
