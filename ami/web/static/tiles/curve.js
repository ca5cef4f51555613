/** Show one-dimensional results as a plot; what differs between lines, histograms and scans is in few words here. @module */

import {alike, curveOf, kindsOf} from '../describe.js';
import {button, choice, element} from '../dom.js';
import {Plot} from '../plot.js';
import {formatTime, label} from '../scales.js';
import {Findings} from './findings.js';

/** @typedef {import('../plot.js').Line} Line */
const COMPARE = ['beside', 'difference', 'ratio'];

export class CurveView {
  /** @param {import('../tile.js').Tile} tile @param {'line'|'steps'|'points'|'dots'} style */
  constructor(tile, style) {
    this.tile = tile;
    this.style = style;
    /** @type {Record<string, any>} */
    this.options = Object.assign(tile.spec.options, {x: 'linear', y: 'linear', compare: 'beside', ...tile.spec.options});
    this.element = element('div', {class: 'holds-view'});
    this.plot = new Plot(this.element, tile.spec.name);
    this.findings = new Findings(this.options);
    this.element.append(this.findings.element);
    /** @type {import('../protocol.js').Result|null} */
    this.result = null;
    /** @type {import('../describe.js').Curves|null} */
    this.curve = null;
    /** What was kept to compare with. @type {{curve: import('../describe.js').Curves, at: string}|null} */
    this.kept = null;
    this.keep = button('⚑', 'Keep this curve, to compare with', () => this.toggleKept(), {'aria-pressed': 'false'});
  }

  /** @param {import('../protocol.js').Result} result */
  set(result) {
    this.result = result;
    const {other} = this.tile;
    const against = other?.name === this.options.with ? other : null;
    const curve = (this.style === 'dots' && pairsOf(result, against)) || curveOf(result, this.options.part);
    if (!curve) return;
    this.curve = curve;
    const {lines, yLabel} = this.compare(curve);
    const found = this.findings.look(lines[0], result, curve);
    this.plot.set({lines: [...lines, ...found], xKind: this.options.x, yKind: this.options.y, xLabel: curve.xLabel, yLabel});
  }

  /** @param {import('../describe.js').Curves} curve */
  compare(curve) {
    const {kept} = this;
    const {other} = this.tile;
    const beside = this.style !== 'dots' && other && other.name === this.options.with ? curveOf(other) : null;
    if (other && beside) {
      const both = [{result: this.tile.spec.name, curve}, {result: other.name, curve: beside}];
      const lines = both.map(({result, curve: {x, y, error}}) => ({name: result, x, y, error, style: this.style}));
      return {lines, yLabel: curve.yLabel};
    }
    const {compare} = this.options;
    const line = {name: 'now', x: curve.x, y: curve.y, error: curve.error, style: this.style};
    if (!kept) return {lines: [{...line, name: ''}], yLabel: curve.yLabel};
    const reference = {name: `kept ${kept.at}`, x: kept.curve.x, y: kept.curve.y, style: /** @type {const} */ ('reference')};
    if (compare === 'beside') return {lines: [line, reference], yLabel: curve.yLabel};
    const before = byKey(kept.curve.x, kept.curve.y); // at the same abscissa: scans get new keys
    const was = (/** @type {number} */ i) => before.get(curve.x[i]) ?? NaN;
    const y = Float64Array.from(curve.y, (value, i) => (compare === 'ratio' ? value / was(i) : value - was(i)));
    return {lines: [{...line, y, error: undefined}], yLabel: `${compare} to ${kept.at}`};
  }

  toggleKept() {
    this.kept = this.kept || !this.curve ? null : {
      // Copies: these arrays are of a message, which would be kept as a whole.
      curve: {...this.curve, x: Float64Array.from(this.curve.x), y: Float64Array.from(this.curve.y)}, at: formatTime(Date.now() / 1e3),
    };
    this.keep.setAttribute('aria-pressed', String(Boolean(this.kept)));
    if (this.result) this.set(this.result);
  }

  settings() {
    const set = (/** @type {string} */ name) => this.tile.keeps(name);
    const others = this.tile.context.results().filter((one) => one.name !== this.tile.spec.name && kindsOf(one).includes(this.tile.kind));
    const parts = this.result ? alike(this.result).map((part) => part.name) : [];
    return [
      parts.length > 1 ? choice('shows', parts, this.options.part ?? parts[0], set('part')) : null,
      choice('x axis', ['linear', 'log'], this.options.x, set('x')),
      choice('y axis', ['linear', 'log'], this.options.y, set('y')),
      others.length ? choice(this.style === 'dots' ? 'against' : 'with', ['', ...others.map((one) => one.name)], this.options.with ?? '', set('with')) : null,
      choice('kept curve', COMPARE, this.options.compare, set('compare')),
      ...this.findings.settings(set, Boolean(this.curve?.error)),
    ];
  }

  actions() {
    return [this.keep];
  }
}

/**
 * Pairs of an array of two columns, or of two results: by event where both say of which, else by place. Null: there are none.
 * @param {import('../protocol.js').Result} result @param {import('../protocol.js').Result|null} other
 * @returns {import('../describe.js').Curves|null}
 */
function pairsOf(result, other) {
  const [part] = result.parts;
  const {data, shape} = part;
  if (data && shape?.length === 2) {
    const [x, y] = [0, 1].map((column) => Float64Array.from({length: shape[0]}, (_, row) => data[2 * row + column]));
    return {x, y, edges: false, xLabel: label('column 0', part.unit), yLabel: label('column 1', part.unit)};
  }
  const first = other?.parts[0];
  if (!other || !data || first?.shape?.length !== 1) return null;
  const stamps = [result, other].map((one) => one.parts.find(({name}) => name === 'timestamps')?.data);
  const [mine, theirs] = stamps.every(Boolean) ? stamps : [data, first.data].map((one) => Array.from(one ?? [], (_, i) => i));
  const found = byKey(/** @type {any} */ (theirs), /** @type {any} */ (first.data));
  const both = Array.from(data, (y, i) => [found.get(mine?.[i] ?? NaN), y]).filter(([x]) => x !== undefined);
  return {
    x: both.map(([x]) => x), y: both.map(([, y]) => y), edges: false,
    xLabel: label(other.name, first.unit), yLabel: label(result.name, part.unit),
  };
}

/** @param {ArrayLike<number>} keys @param {ArrayLike<number>} values @returns {Map<number, number>} */
const byKey = (keys, values) => new Map(Array.from(values, (value, i) => [keys[i], value]));
