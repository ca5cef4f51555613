/** Where numbers are on an axis, which of them are written there, and how. Without a DOM. @module */

/** @typedef {'linear'|'log'|'time'} Kind */
/** @typedef {[number, number]} Span */
/** @typedef {{to: (value: number) => number, from: (pixel: number) => number}} Scale */

const forward = (/** @type {Kind} */ kind, /** @type {number} */ value) => (kind === 'log' ? Math.log10(value) : value);
const back = (/** @type {Kind} */ kind, /** @type {number} */ place) => (kind === 'log' ? 10 ** place : place);

/**
 * @param {Kind} kind
 * @param {Span} domain values @param {Span} range pixels
 * @returns {Scale}
 */
export function makeScale(kind, domain, range) {
  const [low, high] = domain.map((value) => forward(kind, value));
  const slope = (range[1] - range[0]) / (high - low || 1);
  return {
    to: (value) => range[0] + (forward(kind, value) - low) * slope,
    from: (pixel) => back(kind, low + (pixel - range[0]) / slope),
  };
}

/** @param {Kind} kind @param {Span} domain @param {number} factor below 1: nearer @param {number} at the share that stays */
export function zoom(kind, domain, factor, at) {
  const [low, high] = domain.map((value) => forward(kind, value));
  const still = low + (high - low) * at;
  return /** @type {Span} */ ([low, high].map((value) => back(kind, still + (value - still) * factor)));
}

/** @param {Kind} kind @param {Span} domain @param {number} share of the width */
export function pan(kind, domain, share) {
  const [low, high] = domain.map((value) => forward(kind, value));
  const shift = (high - low) * share;
  return /** @type {Span} */ ([back(kind, low + shift), back(kind, high + shift)]);
}

/**
 * The span of the numbers that an axis can show, with some room; of none: 0 to 1.
 * @param {Iterable<ArrayLike<number>>} arrays @param {Kind} kind @param {number} room share of the width on each side
 * @returns {Span}
 */
export function spanOf(arrays, kind, room = 0.04) {
  let low = Infinity;
  let high = -Infinity;
  for (const array of arrays) {
    for (let i = 0; i < array.length; i++) {
      const value = array[i];
      if (!Number.isFinite(value) || (kind === 'log' && value <= 0)) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  if (low > high) return kind === 'log' ? [1, 10] : [0, 1];
  if (low === high) return kind === 'log' ? [low / 2, high * 2] : [low - (Math.abs(low) * 0.05 || 1), high + (Math.abs(high) * 0.05 || 1)];
  return zoom(kind, [low, high], 1 + 2 * room, 0.5);
}

/**
 * About ``count`` round numbers within a span.
 * @param {Kind} kind @param {Span} domain @param {number} count
 * @returns {{value: number, text: string}[]}
 */
export function makeTicks(kind, domain, count) {
  if (kind === 'time') return timeTicks(domain, count);
  if (kind === 'log' && domain[1] / domain[0] > 30) return logTicks(domain, count);
  const step = roundStep((domain[1] - domain[0]) / Math.max(1, count));
  if (!(step > 0) || !Number.isFinite(step)) return [];
  const ticks = [];
  for (let i = Math.ceil(domain[0] / step - 1e-9); i * step <= domain[1] + step * 1e-9; i++) {
    ticks.push({value: i * step, text: formatTick(i * step, step)});
  }
  return ticks;
}

/** The next of 1, 2, 5 times a power of ten. @param {number} least */
export function roundStep(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  return power * ([1, 2, 5].find((digit) => digit * power >= least * 0.999) ?? 10);
}

/** @param {number} value @param {number} step */
function formatTick(value, step) {
  const size = Math.max(Math.abs(value), step);
  if (size >= 1e6 || size < 1e-4) return shorten(value.toExponential(Math.max(0, Math.min(6, Math.ceil(Math.log10(size / step) - 1e-9)))));
  return value.toFixed(Math.max(0, -Math.floor(Math.log10(step) + 1e-9))).replace(/^-(?=0\.?0*$)/, '');
}

/** @param {string} text of toExponential */
const shorten = (text) => text.replace('e+', 'e');

/** @param {Span} domain @param {number} count */
function logTicks([low, high], count) {
  const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  const each = Math.max(1, Math.ceil((last - first) / Math.max(1, count)));
  const ticks = [];
  for (let power = first; power <= last; power += each) {
    for (const digit of each === 1 && last - first <= count / 2 ? [1, 2, 5] : [1]) {
      const value = digit * 10 ** power;
      if (value >= low * 0.999 && value <= high * 1.001) ticks.push({value, text: formatNumber(value, 1)});
    }
  }
  return ticks;
}

const TIMES_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400];

/** @param {Span} domain seconds since 1970 @param {number} count */
function timeTicks([low, high], count) {
  const wanted = (high - low) / Math.max(1, count);
  const step = TIMES_S.find((each) => each >= wanted) ?? 86400 * Math.ceil(wanted / 86400);
  const offset = new Date(low * 1000).getTimezoneOffset() * 60;
  const ticks = [];
  for (let value = Math.ceil((low - offset) / step) * step + offset; value <= high; value += step) {
    ticks.push({value, text: formatTime(value, step < 60)});
  }
  return ticks;
}

/** @param {number} s since 1970 @param {boolean} [withSeconds] */
export function formatTime(s, withSeconds = true) {
  const time = new Date(s * 1000);
  const pieces = [time.getHours(), time.getMinutes(), ...(withSeconds ? [time.getSeconds()] : [])];
  return pieces.map((piece) => String(piece).padStart(2, '0')).join(':');
}

/**
 * A number for people: integers whole, others to some digits, which stay as many while it changes.
 * @param {any} value @param {number} [digits]
 */
export function formatNumber(value, digits = 5) {
  if (value === null || value === undefined || Number.isNaN(value)) return '–';
  if (typeof value !== 'number') return String(value);
  if (!Number.isFinite(value)) return value > 0 ? '∞' : '−∞';
  if (Number.isInteger(value) && Math.abs(value) < 1e12) return value.toLocaleString('en-US');
  const size = Math.abs(value);
  if (size >= 1e7 || size < 1e-4) return shorten(value.toExponential(digits - 1));
  return value.toPrecision(Math.max(digits, Math.ceil(Math.log10(size))));
}

/** A value as far as its error lets one know it: to two digits of that. @param {number} value @param {number} error */
export function formatKnown(value, error) {
  const digits = Math.max(0, 1 - Math.floor(Math.log10(error)));
  if (!(digits <= 12) || Math.max(Math.abs(value), error) >= 1e9) return `${formatNumber(value)} ± ${formatNumber(error, 2)}`;
  return `${value.toFixed(digits)} ± ${error.toFixed(digits)}`;
}

/** @param {number} seconds */
export function formatAge(seconds) {
  if (seconds < 9.95) return `${Math.max(0, seconds).toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} d`;
}

/** @param {string} name @param {string} unit */
export const label = (name, unit) => (unit ? `${name} [${unit}]` : name);
