/**
 * Fit a line, a peak or an edge to points by least squares; say when a scan will be good enough. Without a DOM.
 *
 * Levenberg and Marquardt: with residuals r, weights w = 1 / error² and derivatives J, A = Jᵀ w J, each step solves (A + λ diag A) d = Jᵀ w r;
 * λ falls while χ² = Σ w r² does. Errors of the parameters: the roots of the diagonal of A⁻¹, times χ² / (points − parameters) where points
 * have none and weigh alike. Source: Press, Teukolsky, Vetterling & Flannery, "Numerical Recipes", 3rd edition (2007), 15.5.
 * Abscissa and ordinate are brought to −1 to 1 first: stamps of 10¹⁸ ns would cancel in A.
 * @module
 */

/** @typedef {{name: string, value: number, error: number, unit: string}} Found ``unit``: of x, y, or y/x */
/** @typedef {{kind: string, values: Found[], curve: (x: number) => number, quality: number}} Fit ``quality``: χ² by degree of freedom */
/** Middles and half widths, of which numbers became −1 to 1. @typedef {{x: number, y: number, wide: number, high: number}} Frame */
/** @typedef {{x: number, y: number, weight: number}} Point */

const FWHM = 2 * Math.sqrt(2 * Math.log(2)); // full width at half maximum of a Gaussian of standard deviation 1
const MOST_STEPS = 60;
const BEGIN_POINTS = 2000; // of so many, at most, a beginning is chosen

/** The error function, to 1.2e-7. Source: as above, 2nd edition (1992), 6.2. @param {number} x */
export function erf(x) {
  const t = 1 / (1 + Math.abs(x) / 2);
  const powers = [-1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398, 1.48851587, -0.82215223, 0.17087277];
  return Math.sign(x) * (1 - t * Math.exp(-x * x + powers.reduceRight((sum, power) => sum * t + power, 0)));
}

/**
 * ``at`` gives a value and its derivatives, ``begin`` where to begin, ``tell`` what people read: name, value, gradient, unit.
 * Parameters of a peak and of an edge: base, height, position, standard deviation.
 * @typedef {[string, number, number[], string]} Told
 * @type {Record<string, {at: (p: number[], x: number) => number[], begin: (x: number[], y: number[]) => number[][],
 *   tell: (p: number[], frame: Frame) => Told[]}>}
 */
const MODELS = {
  line: {
    at: ([a, b], x) => [a + b * x, 1, x],
    begin: () => [[0, 0]],
    tell: ([a, b], {x, y, wide, high}) => [
      ['slope', (b * high) / wide, [0, high / wide], 'y/x'], ['at 0', y + high * (a - (b * x) / wide), [high, (-high * x) / wide], 'y'],
    ],
  },
  gaussian: {
    at: ([base, height, position, sigma], x) => {
      const u = (x - position) / sigma;
      const bell = Math.exp((-u * u) / 2);
      return [base + height * bell, 1, bell, (height * bell * u) / sigma, (height * bell * u * u) / sigma];
    },
    begin: (x, y) => {
      const base = [...y].sort((a, b) => a - b)[y.length >> 1];
      return [1, -1].flatMap((top) => [0.03, 0.1, 0.3, 0.7].map((sigma) => [base, top - base, x[y.indexOf(top)] ?? 0, sigma]));
    },
    tell: tellPlace,
  },
  edge: {
    at: ([base, height, position, sigma], x) => {
      const u = (x - position) / (sigma * Math.SQRT2);
      const share = (1 + erf(u)) / 2;
      const slope = (height * Math.exp(-u * u)) / Math.sqrt(Math.PI);
      return [base + height * share, 1, share, -slope / (sigma * Math.SQRT2), (-slope * u) / sigma];
    },
    begin: () => Array.from({length: 60}, (_, i) => [i & 1 ? -1 : 1, i & 1 ? 2 : -2, ((i >> 2) - 7) / 8, i & 2 ? 0.03 : 0.2]),
    tell: tellPlace,
  },
};
export const FITS = Object.keys(MODELS);

/** @param {number[]} p @param {Frame} frame @returns {Told[]} */
function tellPlace([base, height, position, sigma], {x, y, wide, high}) {
  return [
    ['position', x + wide * position, [0, 0, wide, 0], 'x'], ['width (FWHM)', FWHM * wide * Math.abs(sigma), [0, 0, 0, FWHM * wide], 'x'],
    ['height', high * height, [0, high, 0, 0], 'y'], ['base', y + high * base, [high, 0, 0, 0], 'y'],
  ];
}

/**
 * @param {string} kind one of FITS
 * @param {ArrayLike<number>} xs @param {ArrayLike<number>} ys
 * @param {ArrayLike<number>} [errors] of ys; a point that has none is left out, unless all have none
 * @returns {Fit|string} the reason, where there is none
 */
export function fit(kind, xs, ys, errors) {
  const {at, begin, tell} = MODELS[kind];
  const errorOf = (/** @type {number} */ i) => (errors && errors[i] > 0 && errors[i] < Infinity ? errors[i] : 0);
  const finite = Array.from(ys, (_, i) => i).filter((i) => Number.isFinite(ys[i]) && Number.isFinite(xs[i]));
  const weighs = finite.some(errorOf);
  const places = weighs ? finite.filter(errorOf) : finite;
  const free = places.length - (kind === 'line' ? 2 : 4);
  if (free < Number(!weighs)) return `${kind}: ${places.length - free + Number(!weighs)} points are needed, there are ${places.length}`;
  const [[x, wide], [y, high]] = [xs, ys].map((numbers) => middleOf(places.map((i) => numbers[i])));
  const points = places.map((i) => ({x: (xs[i] - x) / wide, y: (ys[i] - y) / high, weight: weighs ? (high / errorOf(i)) ** 2 : 1}));
  const {p, chi2, normal} = descend(at, points, begin(points.map((one) => one.x), points.map((one) => one.y)));
  const inverse = invert(normal);
  const factor = weighs ? 1 : chi2 / free;
  const values = tell(p, {x, y, wide, high}).map(([name, value, slopes, unit]) => ({
    name, value, unit, error: inverse ? Math.sqrt(factor * dot(slopes, inverse.map((row) => dot(row, slopes)))) : NaN,
  }));
  if (!values.every(({value, error}) => Number.isFinite(value) && Number.isFinite(error))) return `${kind}: these points do not tell it`;
  return {kind, values, curve: (place) => y + high * at(p, (place - x) / wide)[0], quality: weighs ? chi2 / free : NaN};
}

const dot = (/** @type {number[]} */ a, /** @type {number[]} */ b) => a.reduce((sum, one, i) => sum + one * b[i], 0);

/** Middle and half width; 1 where all are one. @param {number[]} numbers */
function middleOf(numbers) {
  const [low, high] = numbers.reduce(([least, most], one) => [Math.min(least, one), Math.max(most, one)], [Infinity, -Infinity]);
  return [low / 2 + high / 2, high / 2 - low / 2 || 1];
}

/** From the best beginning down to the least χ². @param {(p: number[], x: number) => number[]} at @param {Point[]} points @param {number[][]} begins */
function descend(at, points, begins) {
  const each = Math.ceil(points.length / BEGIN_POINTS);
  const some = points.filter((_, i) => i % each === 0);
  let best = look(at, points, begins.map((p) => look(at, some, p)).reduce((a, b) => (b.chi2 < a.chi2 ? b : a)).p);
  for (let step = 0, damping = 1e-3; step < MOST_STEPS && damping < 1e12; step++) {
    const {p, chi2, normal, slope} = best;
    const inverse = invert(normal.map((row, i) => row.map((one, j) => (i === j ? one * (1 + damping) || 1e-30 : one))));
    const tried = inverse && look(at, points, p.map((one, i) => one + dot(inverse[i], slope)));
    if (tried && tried.chi2 <= chi2) [best, damping] = [tried, damping / 10];
    else damping *= 10;
    if (best === tried && chi2 - tried.chi2 <= 1e-10 * tried.chi2) break;
  }
  return best;
}

/** χ², A and Jᵀ w r at some parameters. @param {(p: number[], x: number) => number[]} at @param {Point[]} points @param {number[]} p */
function look(at, points, p) {
  const normal = p.map(() => p.map(() => 0));
  const slope = p.map(() => 0);
  let chi2 = 0;
  for (const {x, y, weight} of points) {
    const [value, ...slopes] = at(p, x);
    chi2 += weight * (y - value) ** 2;
    for (let i = 0; i < p.length; i++) {
      slope[i] += weight * slopes[i] * (y - value);
      for (let j = 0; j < p.length; j++) normal[i][j] += weight * slopes[i] * slopes[j];
    }
  }
  return {p, chi2, normal, slope};
}

/** Gauss and Jordan's elimination; null: there is no inverse. @param {number[][]} matrix @returns {number[][]|null} */
function invert(matrix) {
  const rows = matrix.map((row, i) => [...row, ...matrix.map((_, j) => Number(i === j))]);
  for (let i = 0; i < rows.length; i++) {
    const best = rows.reduce((most, row, j) => (j >= i && Math.abs(row[i]) > Math.abs(rows[most][i]) ? j : most), i);
    [rows[i], rows[best]] = [rows[best], rows[i]];
    if (!(Math.abs(rows[i][i]) > 1e-14 * Math.abs(matrix[i][i]))) return null;
    const row = rows[i] = rows[i].map((one) => one / rows[i][i]);
    for (let j = 0; j < rows.length; j++) if (j !== i) rows[j] = rows[j].map((one, k) => one - row[k] * rows[j][i]);
  }
  return rows.map((row) => row.slice(matrix.length));
}

/**
 * Seconds until every point of a scan has an error of at most ``wanted``.
 *
 * A standard error s / √n falls as 1 / √n: a point of n events and error e needs n · ((e / wanted)² − 1) more. They go on to come to the
 * points in the shares n / N: it takes N / rate · ((e / wanted)² − 1), and the greatest error decides. A point of one event has none yet.
 * @param {ArrayLike<number>} errors @param {number} total events of all points, N @param {number} rate of all points, a second @param {number} wanted
 */
export function timeUntil(errors, total, rate, wanted) {
  let [slowest, unknown] = [-1, 0];
  for (let i = 0; i < errors.length; i++) {
    if (Number.isNaN(errors[i])) unknown++;
    else if (slowest < 0 || errors[i] > errors[slowest]) slowest = i;
  }
  const share = slowest < 0 ? NaN : (errors[slowest] / wanted) ** 2 - 1;
  return {seconds: share > 0 ? (total / rate) * share : share && 0, slowest, unknown};
}
