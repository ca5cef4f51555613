/** What is neither number nor array, or too much of one. @module */

import {rowsOf, sayValue} from '../describe.js';
import {element, write} from '../dom.js';

export class TextView {
  constructor() {
    this.element = element('pre', {class: 'holds-text', tabindex: 0});
  }

  /** @param {import('../protocol.js').Result} result */
  set(result) {
    this.result = result;
    const [first] = result.parts;
    write(this.element, first?.left_out ?? (first && !first.data ? spell(first.value) : first || !result.error ? sayValue(result) : ''));
  }

  settings() { return []; }

  actions() { return []; }

  layers() { return []; }

  async rows() { return this.result && rowsOf(this.result); }
}

/** @param {any} value */
const spell = (value) => (typeof value === 'string' ? value : JSON.stringify(value, null, 1));
