/** What is neither number nor array, or too much of one. @module */

import {sayValue} from '../describe.js';
import {element, write} from '../dom.js';

export class TextView {
  constructor() {
    this.element = element('pre', {class: 'holds-text', tabindex: 0, role: 'region', 'aria-label': 'text'});
  }

  /** @param {import('../protocol.js').Result} result */
  set(result) {
    this.result = result;
    const [first] = result.parts;
    write(this.element, first?.left_out ?? (first && !first.data ? spell(first.value) : first || !result.error ? sayValue(result) : ''));
  }
}

/** @param {any} value */
const spell = (value) => (typeof value === 'string' ? value : JSON.stringify(value, null, 1));
