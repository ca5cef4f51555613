/** A number, large, with how it went and what else is told of it. @module */

import {element, fitCanvas, inks, write} from '../dom.js';
import {formatNumber, label, makeScale, spanOf} from '../scales.js';
import {Trend} from '../trend.js';

const REACH_S = 120;

export class NumberView {
  /** @param {import('../tile.js').Tile} tile */
  constructor(tile) {
    this.trend = new Trend(tile.spec.name);
    this.number = element('span', {class: 'number'});
    this.unit = element('span', {class: 'unit'});
    this.error = element('span', {class: 'plus-minus'});
    this.others = element('p', {class: 'others'});
    this.canvas = element('canvas', {class: 'trend'});
    this.element = element('div', {class: 'holds-number'}, element('p', {}, this.number, this.unit, this.error), this.others, this.canvas);
    new ResizeObserver(() => this.draw()).observe(this.element);
  }

  /** @param {import('../protocol.js').Result} result */
  set(result) {
    this.result = result;
    this.trend.add(result);
    const [first, ...others] = result.parts;
    write(this.number, formatNumber(first?.value));
    write(this.unit, first?.unit ?? '');
    const error = others.find((part) => part.name === 'error');
    write(this.error, error ? `± ${formatNumber(error.value, 2)}` : '');
    const further = others.filter((part) => part !== error && !part.data);
    write(this.others, further.map((part) => `${label(part.name, part.unit)} ${formatNumber(part.value, 4)}`).join(' · '));
    this.draw();
  }

  draw() {
    const {context, width, height} = fitCanvas(this.canvas);
    const {times, values} = this.trend.series.last(REACH_S);
    if (times.length < 2 || height < 8) return;
    const x = makeScale('linear', [times[0], times[times.length - 1]], [1, width - 3]);
    const y = makeScale('linear', spanOf([values], 'linear'), [height - 3, 3]);
    context.strokeStyle = inks()['series-1'];
    context.lineWidth = Number(inks().em) / 10;
    context.beginPath();
    values.forEach((value, i) => { if (Number.isFinite(value)) context.lineTo(x.to(times[i]), y.to(value)); });
    context.stroke();
  }
}
