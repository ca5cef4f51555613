// Fits against scipy.optimize.curve_fit (1.17) of the same points, and when a scan is good enough.
import assert from 'node:assert/strict';
import {test} from 'node:test';
import {erf, fit, FITS, timeUntil} from '../../ami/web/static/fit.js';
import {formatKnown} from '../../ami/web/static/scales.js';

const count = [...Array(21).keys()];
const x = count.map((i) => 0.3 * i - 2 + 0.05 * Math.sin(3 * i));
const errors = count.map((i) => 0.02 + 0.01 * (i % 3));
const TRUTH = {
  line: (at) => 0.7 + 1.5 * at, gaussian: (at) => 0.4 + 2 * Math.exp(-((at - 1.1) ** 2) / 0.72),
  edge: (at) => 0.4 - (1 + erf((at - 1.1) / 0.6 / Math.SQRT2)),
};
const points = (kind) => x.map((at, i) => TRUTH[kind](at) + errors[i] * Math.sin(7.3 * i * i));
// Value and error of each, with the points' errors and without.
const KNOWN = {
  line: [[[1.50075346, 0.00320452647], [0.702674807, 0.00643751409]], [[1.4984584, 0.00287185411], [0.70086464, 0.00595424103]]],
  gaussian: [[[1.10160828, 0.00591841122], [1.40765813, 0.018585397], [2.02072647, 0.018430997], [0.40001238, 0.00835041187]],
    [[1.09672827, 0.00536505085], [1.41572454, 0.014723618], [2.01938953, 0.0164976029], [0.393730392, 0.00747583164]]],
  edge: [[[1.11386555, 0.0129053169], [1.41534185, 0.0409018477], [-1.99562386, 0.0153223098], [0.396843964, 0.00980615252]],
    [[1.11521885, 0.0116773226], [1.39736287, 0.037105225], [-2.00317311, 0.0138416926], [0.396022566, 0.00916478901]]],
};
const near = (found, wanted, share, what) => assert.ok(Math.abs(found - wanted) <= share * Math.abs(wanted), `${what}: ${found}, not ${wanted}`);

test('a fit is the one that scipy finds, with its errors', () => {
  for (const kind of FITS) {
    [errors, undefined].forEach((given, which) => fit(kind, x, points(kind), given).values.forEach(({name, value, error}, i) => {
      near(value, KNOWN[kind][which][i][0], 1e-5, `${kind} ${name}`);
      near(error, KNOWN[kind][which][i][1], 1e-4, `error of ${kind} ${name}`);
    }));
  }
  near(fit('line', x, points('line'), errors).quality, 0.5161446, 1e-6, 'quality');
});

test('a fit goes with its numbers wherever they are moved', () => {
  for (const kind of ['gaussian', 'edge']) {
    const [first, width] = fit(kind, x, points(kind), errors).values;
    for (const [shift, scale, high] of [[1.7e18, 1e9, 1], [-3, 1e-12, 1e-9], [0, 1, -1e6]]) {
      const moved = fit(kind, x.map((at) => shift + scale * at), points(kind).map((y) => high * y), errors.map((one) => one * Math.abs(high)));
      near(moved.values[0].error, first.error * scale, 1e-3, 'error of the position');
      near(moved.values[1].value, width.value * scale, 1e-3, 'width');
      near(moved.curve(shift + scale * 1.1) / high, fit(kind, x, points(kind), errors).curve(1.1), 1e-3, 'curve');
    }
  }
});

test('what cannot be fitted says so', () => {
  for (const kind of FITS) {
    for (const y of [[], [1], [NaN, NaN, NaN, NaN, NaN], [1, Infinity]]) assert.match(fit(kind, y.map((_, i) => i), y, y), /points are needed, there are/);
    assert.equal(typeof fit(kind, [1, 1, 1, 1, 1, 1], [1, 2, 3, 1, 2, 3]), 'string', `${kind} of one place`);
  }
  // A point of one event has no error, one of none has no weight: they are left out.
  const some = errors.map((error, i) => [error, NaN, 0][i % 3]);
  assert.match(fit('gaussian', x.slice(0, 9), points('gaussian').slice(0, 9), some), /4 points are needed, there are 3/);
  assert.equal(typeof fit('gaussian', x, x.map(() => 3), errors), 'string');
});

test('the slowest point says how long a scan goes on', () => {
  // Of 400 events 100 a second: the point with an error twice as large as wanted needs three times as long again.
  assert.deepEqual(timeUntil([0.1, 0.2, NaN], 400, 100, 0.1), {seconds: 12, slowest: 1, unknown: 1});
  assert.equal(timeUntil([0.1, 0.05], 400, 100, 0.1).seconds, 0);
  assert.equal(timeUntil([0.2], 400, 0, 0.1).seconds, Infinity);
  assert.equal(timeUntil([], 0, 0, 0.1).slowest, -1);
  assert.ok(Number.isNaN(timeUntil([NaN], 1, 1, 0.1).seconds));
  // By chance: events go on as they went, and then the error is what was wanted.
  const [n, e, wanted, rate] = [[50, 150, 20], [0.3, 0.1, 0.5], 0.04, 7];
  const {seconds, slowest} = timeUntil(e, 220, rate, wanted);
  const after = e.map((error, i) => error * Math.sqrt(n[i] / (n[i] + (seconds * rate * n[i]) / 220)));
  near(Math.max(...after), wanted, 1e-12, 'error then');
  assert.equal(after.indexOf(Math.max(...after)), slowest);
});

test('a value is written as far as it is known', () => {
  assert.deepEqual([[1.23456, 0.0123], [12345.6, 123], [1e12, 2e10], [3, 0], [NaN, NaN]].map(([value, error]) => formatKnown(value, error)),
    ['1.235 ± 0.012', '12346 ± 123', '1.0000e12 ± 20,000,000,000', '3 ± 0', '– ± –']);
});
