/** How every process is, what should be otherwise, and where the events are. @module */

import {ask} from '../api.js';
import {element} from '../dom.js';
import {formatAge, formatNumber} from '../scales.js';

const EACH_MS = 2_000;

export class StatusPanel {
  constructor() {
    this.said = element('div', {role: 'status'});
    this.rows = element('tbody');
    this.figures = element('div');
    this.shown = '';
    this.element = element('div', {}, this.said, element('table', {},
      element('thead', {}, element('tr', {}, ...['process', 'state', 'Hz', 'age'].map((text) => element('th', {text})))), this.rows), this.figures);
  }

  open() {
    this.timer = setInterval(() => this.refresh(), EACH_MS);
  }

  close() {
    clearInterval(this.timer);
  }

  async refresh() {
    try {
      this.show(await ask('status'));
    } catch (error) {
      this.said.replaceChildren(element('p', {class: 'answer denied', text: String(/** @type {Error} */ (error).message)}));
    }
  }

  /** @param {any} status as `ami status --json` */
  show(status) {
    const {problems, warnings, events, ring} = status;
    const lines = [
      ...problems.map((/** @type {string} */ text) => ['bad', 'problem', text]), ...warnings.map((/** @type {string} */ text) => ['away', 'warning', text]),
    ];
    if (!lines.length) lines.push(['here', 'well', `${status.cluster || 'ami'}: all is well`]);
    const text = lines.join('\n');
    if (text !== this.shown) {
      this.shown = text;
      this.said.replaceChildren(...lines.map(([kind, word, line]) => element('p', {}, element('span', {class: `pill ${kind}`, text: word}), ` ${line}`)));
    }
    this.rows.replaceChildren(...status.processes.map((/** @type {any} */ one) => element('tr', {},
      element('td', {text: one.name}), element('td', {class: one.alive ? '' : 'denied', text: [one.state, one.lag].filter(Boolean).join('; ')}),
      element('td', {text: one.rate_hz === null ? '' : formatNumber(Math.round(one.rate_hz))}),
      element('td', {text: one.age_s === null ? '' : formatAge(one.age_s)}))));
    this.figures.replaceChildren(...this.figuresOf(events, ring).map((line) => element('p', {class: 'faint', text: line})));
  }

  /** @param {any} events @param {any} ring */
  figuresOf(events, ring) {
    const said = [];
    if (events) {
      const [published, reduced, dropped, aside, way] = ['published', 'reduced', 'dropped', 'set_aside', 'under_way'].map((one) => formatNumber(events[one]));
      said.push(`events: ${published} published = ${reduced} reduced + ${dropped} dropped + ${aside} set aside, ${way} under way`);
    }
    if (ring) said.push(`ring: ${formatNumber(ring.held)} of ${formatNumber(ring.slot_count)} slots held, ${formatNumber(ring.dropped)} dropped`);
    return said;
  }
}
