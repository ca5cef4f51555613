/** What a curve tells: a fit, and how long a scan goes on until its errors are small enough. @module */

import {choice, element, write} from '../dom.js';
import {FITS, fit, timeUntil} from '../fit.js';
import {formatAge, formatKnown, formatNumber, makeScale, spanOf} from '../scales.js';
import {Series} from '../series.js';

// People read no faster, and a fit of thousands of points is dear.
const EACH_MS = 500;
const RATE_OVER_S = 30;
const CURVE_POINTS = 400;

export class Findings {
  /** @param {Record<string, any>} options of the tile: ``fit`` and ``wanted`` */
  constructor(options) {
    this.options = options;
    this.element = element('p', {class: 'findings'});
    this.events = new Series(RATE_OVER_S * 10);
    [this.asked, this.looked] = ['', -Infinity];
    /** @type {import('../fit.js').Fit|string} */
    this.fit = '';
  }

  /**
   * @param {import('../plot.js').Line} line @param {import('../protocol.js').Result} result @param {import('../describe.js').Curves} curve
   * @returns {import('../plot.js').Line[]} what is drawn beside it
   */
  look(line, result, curve) {
    const {fit: kind, wanted, x: xKind} = this.options;
    const counts = result.parts.find((part) => part.name === 'counts')?.data;
    const total = counts?.reduce((/** @type {number} */ sum, /** @type {number} */ one) => sum + one, 0) ?? 0;
    if (total < (this.events.values.at(-1) ?? 0)) this.events.clear();
    this.events.add(result.published_ns / 1e9, total);
    const x = line.x.length > line.y.length ? Float64Array.from(line.y, (_, i) => (line.x[i] + line.x[i + 1]) / 2) : line.x;
    const asked = `${kind} ${wanted} ${curve.yLabel} ${line.name}`;
    if (asked !== this.asked || performance.now() - this.looked > EACH_MS) {
      [this.asked, this.looked] = [asked, performance.now()];
      this.fit = FITS.includes(kind) ? fit(kind, x, line.y, line.error) : '';
      const time = wanted > 0 && curve.error ? this.sayTime(curve, total, result) : '';
      write(this.element, [this.sayFit(curve), time].filter(Boolean).join('\n'));
    }
    if (typeof this.fit === 'string') return [];
    const place = makeScale(xKind, spanOf([x], xKind, 0), [0, CURVE_POINTS - 1]);
    const places = Float64Array.from({length: CURVE_POINTS}, (_, i) => place.from(i));
    return [{name: this.fit.kind, x: places, y: places.map(this.fit.curve), style: 'model'}];
  }

  /** @param {import('../describe.js').Curves} curve */
  sayFit({xLabel, yLabel}) {
    if (typeof this.fit === 'string') return this.fit;
    const [x, y] = [xLabel, yLabel].map((text) => / \[(.*)\]$|^\[(.*)\]$/.exec(text)?.slice(1).find(Boolean) ?? '');
    const units = {x, y, 'y/x': x && y ? `${y}/${x}` : y || (x && `1/${x}`)};
    const values = this.fit.values.map(({name, value, error, unit}) => `${name} ${formatKnown(value, error)} ${units[/** @type {'x'} */ (unit)]}`.trim());
    return `${this.fit.kind}: ${[...values, ...(this.fit.quality >= 0 ? [`χ²/dof ${formatNumber(this.fit.quality, 2)}`] : [])].join(' · ')}`;
  }

  /** @param {import('../describe.js').Curves} curve @param {number} total @param {import('../protocol.js').Result} result */
  sayTime(curve, total, result) {
    const {wanted} = this.options;
    const {times, values} = this.events.last(RATE_OVER_S);
    const rate = (total - values[0]) / (times[times.length - 1] - times[0]);
    const {seconds, slowest, unknown} = timeUntil(/** @type {any} */ (curve.error), total, rate, wanted);
    const few = unknown ? `; ${unknown} of one event, without an error` : '';
    if (slowest < 0) return `no point has an error yet${few}`;
    if (seconds === 0) return `every error is ${wanted} or less${few}`;
    if (!(rate >= 0)) return 'the rate is not known yet';
    const which = `the last: ${curve.xLabel.replace(/ \[.*\]$/, '')} ${formatNumber(curve.x[slowest])}, ± ${formatNumber(curve.error?.[slowest], 2)} now`;
    if (result.window !== 'run') return `a window of ${result.window} gets no better than it is (${which})${few}`;
    return `${seconds < Infinity ? `${formatAge(seconds)} more` : 'no events come'} until every error is ${wanted} (${which})${few}`;
  }

  /** @param {(name: string) => (value: any) => void} set @param {boolean} isScan */
  settings(set, isScan) {
    const wanted = element('input', {type: 'number', min: 0, step: 'any', value: this.options.wanted ?? '',
      onchange: (/** @type {any} */ event) => set('wanted')(Number(event.target.value))});
    const field = isScan ? element('label', {}, element('span', {text: 'wanted error'}), wanted) : null;
    return [choice('fit', ['', ...FITS], this.options.fit ?? '', set('fit')), field];
  }
}
