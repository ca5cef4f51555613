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
    const text = first?.left_out ?? (first && !first.data ? write_(first.value) : first ? `${sayValue(result)}` : result.error ? '' : 'nothing yet');
    write(this.element, text);
  }

  settings() { return []; }

  actions() { return []; }

  layers() { return []; }

  async rows() { return rowsOf(this.result); }
}

/** @param {any} value */
const write_ = (value) => (typeof value === 'string' ? value : JSON.stringify(value, null, 1));
