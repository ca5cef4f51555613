/** A strip chart: a number over minutes or hours. @module */

import {choice, element} from '../dom.js';
import {Plot} from '../plot.js';
import {label} from '../scales.js';
import {Trend} from '../trend.js';

/** @type {Record<string, number>} */
const REACHES = {'1 min': 60, '5 min': 300, '15 min': 900, '1 h': 3600, '6 h': 21600, all: Infinity};

export class StripView {
  /** @param {import('../tile.js').Tile} tile */
  constructor(tile) {
    this.tile = tile;
    /** @type {Record<string, any>} */
    this.options = Object.assign(tile.spec.options, {reach: '5 min', y: 'linear', ...tile.spec.options});
    this.trend = new Trend(tile.spec.name);
    this.element = element('div', {class: 'holds-view'});
    this.plot = new Plot(this.element, tile.spec.name);
  }

  /** @param {import('../protocol.js').Result} result */
  set(result) {
    this.trend.add(result);
    const {times, values} = this.trend.series.last(REACHES[this.options.reach] ?? 300);
    const [part] = result.parts;
    this.plot.set({
      lines: [{name: '', x: times, y: values, style: 'line'}], xKind: 'time', yKind: this.options.y,
      xLabel: '', yLabel: label('', part?.unit ?? '').trim(),
    });
  }

  settings() {
    return [choice('reaches back', Object.keys(REACHES), this.options.reach, this.tile.keeps('reach')),
      choice('y axis', ['linear', 'log'], this.options.y, this.tile.keeps('y'))];
  }

  async rows() {
    const {times, values} = this.trend.series;
    return {columns: ['time [s]', this.tile.spec.name], rows: times.map((s, i) => [s, values[i]])};
  }
}
