/** What kind a result is, what can be drawn of it, and how it reads as rows and as a sentence. Without a DOM. @module */

import {formatNumber, label} from './scales.js';

/** @typedef {import('./protocol.js').Result} Result */
/** @typedef {import('./protocol.js').Part} Part */
/** @typedef {{name: string, y: ArrayLike<number>, error?: ArrayLike<number>}} Curve */
/** @typedef {{x: ArrayLike<number>, edges: boolean, y: ArrayLike<number>, error?: ArrayLike<number>, xLabel: string, yLabel: string}} Curves */

/** Age beyond which a result is stale: five times as long as the next may take, and no less than this. */
const STALE_S = 3;

/**
 * The kinds of tile that can show it, the usual one first.
 * @param {Result} result
 * @returns {string[]}
 */
export function kindsOf(result) {
  const [first] = result.parts;
  if (!first || first.left_out) return ['text'];
  if (!first.data) return typeof first.value === 'string' || typeof first.value === 'object' && first.value ? ['text'] : ['number', 'strip', 'table'];
  const axis = axisOf(result, first, 0);
  if (first.shape?.length === 2 && first.shape[1] === 2 && first.shape[0] > 2 && !first.picture && !axis?.edges) return ['scatter', 'image'];
  if (first.shape?.length === 2) return [axis?.edges ? 'histogram2d' : 'image'];
  if (first.shape?.length !== 1) return ['text'];
  if (axis?.edges) return ['histogram', 'table'];
  if (axis && errorOf(result, first)) return ['scan', 'table'];
  return axis ? ['table', 'scan', 'scatter'] : ['line', 'scatter', 'table'];
}

/** @param {Result} result @param {Part} part @param {number} number */
export const axisOf = (result, part, number) => result.axes.find((axis) => axis.name === part.axes[number]);

/** The standard error of the first part, if it is told. @param {Result} result @param {Part} part */
function errorOf(result, part) {
  if (part !== result.parts[0]) return undefined;
  const error = result.parts.find((one) => one.name === 'error' || one.name === 'errors');
  return error && error.data?.length === part.data?.length ? error.data : undefined;
}

/** Parts that are drawn as the first one is: of its shape. @param {Result} result */
export function alike(result) {
  const shape = String(result.parts[0]?.shape);
  return result.parts.filter((part) => part.data && String(part.shape) === shape);
}

/**
 * The curve of a part; null where there is none.
 * @param {Result} result @param {string} [name] of the part; the first
 * @returns {Curves|null}
 */
export function curveOf(result, name) {
  const part = alike(result).find((one) => one.name === name) ?? result.parts[0];
  if (!part?.data || part.shape?.length !== 1) return null;
  const axis = axisOf(result, part, 0);
  const fits = axis && axis.data.length === part.data.length + Number(axis.edges);
  return {
    x: fits ? axis.data : Float64Array.from(part.data, (_, index) => index),
    edges: Boolean(fits && axis.edges),
    y: part.data,
    error: errorOf(result, part),
    xLabel: axis ? label(axis.name, axis.unit) : 'index',
    yLabel: label(part.name === 'value' ? '' : part.name, part.unit || '').trim(),
  };
}

/**
 * Columns of numbers of one length, for tables and files; numbers of a result without arrays stand in one row.
 * @param {Result} result
 * @returns {{columns: string[], rows: any[][]}}
 */
export function rowsOf(result) {
  const [first] = result.parts;
  if (!first?.data) {
    const parts = result.parts.filter((part) => !part.data);
    return {columns: parts.map((part) => label(part.name, part.unit)), rows: [parts.map((part) => part.value)]};
  }
  const length = first.shape?.[0] ?? 0;
  /** @type {[string, (row: number) => any][]} */
  const columns = [];
  const axis = axisOf(result, first, 0);
  if (axis?.edges) {
    columns.push([label(`${axis.name} from`, axis.unit), (row) => axis.data[row]]);
    columns.push([label('to', axis.unit), (row) => axis.data[row + 1]]);
  } else if (axis) columns.push([label(axis.name, axis.unit), (row) => axis.data[row]]);
  for (const part of result.parts) {
    const {data} = part;
    if (data && part.shape?.length === 1 && part.shape[0] === length) {
      columns.push([label(part.name, part.unit), (row) => data[row]]);
    }
  }
  const rows = Array.from({length}, (_, row) => columns.map(([, read]) => read(row)));
  return {columns: columns.map(([name]) => name), rows};
}

/** @param {{columns: string[], rows: any[][]}} table */
export function toCsv({columns, rows}) {
  const write = (/** @type {any} */ cell) => {
    const text = cell === null || Number.isNaN(cell) ? '' : String(cell);
    // A name that begins like a formula shall not be one in a spreadsheet.
    const safe = typeof cell === 'string' && /^[=+@-]/.test(text) ? `'${text}` : text;
    return /[",\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return [columns, ...rows].map((row) => `${row.map(write).join(',')}\n`).join('');
}

/** What a screen reader says of a value. @param {Result} result */
export function sayValue(result) {
  const [first] = result.parts;
  if (!first) return result.error ? 'no value' : 'no value yet: no event that came has one';
  const unit = first.unit ? ` ${first.unit}` : '';
  if (!first.data) return `${formatNumber(first.value)}${unit}`;
  if (first.picture) {
    const {whole, low, high} = first.picture;
    return `${whole[0]} rows, ${whole[1]} columns, from ${formatNumber(low)} to ${formatNumber(high)}${unit}`;
  }
  let best = -1;
  for (let i = 0; i < first.data.length; i++) if (best < 0 || first.data[i] > first.data[best]) best = i;
  const axis = first.shape?.length === 1 ? axisOf(result, first, 0) : undefined;
  const where = axis && best >= 0 ? `${axis.name} ${formatNumber(axis.data[best])} ${axis.unit}` : `index ${best}`;
  return `${first.shape?.join(' by ')} numbers; the greatest, ${formatNumber(first.data[best])}${unit}, at ${where}`;
}

/** @param {Result} result @param {number} nowMs by performance.now() */
export const ageOf = (result, nowMs) => (result.now_ns - result.published_ns) / 1e9 + (nowMs - result.receivedMs) / 1e3;

/** @param {Result} result @param {number} age_s */
export const isStale = (result, age_s) => age_s > Math.max(STALE_S, 5 * Math.max(result.every_s, result.interval_s * result.one_in));

/** @param {Result} result @returns {string[]} what is in it, in a few words each */
export function sayEvents(result) {
  const {used, expected, dropped, set_aside: aside} = result.events;
  const said = [`${formatNumber(used)} of ${formatNumber(expected)} events`];
  if (dropped) said.push(`${formatNumber(dropped)} dropped`);
  if (aside) said.push(`${formatNumber(aside)} set aside`);
  if (result.window && result.window !== 'run') said.push(result.window);
  if (result.one_in > 1) said.push(`1 of ${result.one_in} intervals`);
  return said;
}
