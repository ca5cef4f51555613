/** Numbers as a table. @module */

import {rowsOf} from '../describe.js';
import {element, write} from '../dom.js';
import {formatNumber} from '../scales.js';

const MOST_ROWS = 500;
// People read no faster, and a table is laid out anew each time.
const EACH_MS = 400;

export class TableView {
  constructor() {
    this.head = element('tr');
    this.body = element('tbody');
    this.more = element('p', {class: 'faint'});
    this.element = element('div', {class: 'holds-table', tabindex: 0, role: 'region', 'aria-label': 'rows'},
      element('table', {}, element('thead', {}, this.head), this.body), this.more);
    this.drawn = -Infinity;
  }

  /** @param {import('../protocol.js').Result} result */
  set(result) {
    this.result = result;
    if (performance.now() - this.drawn < EACH_MS) return;
    this.drawn = performance.now();
    const {columns, rows} = rowsOf(result);
    fill(this.head, columns, 'th');
    const shown = rows.slice(0, MOST_ROWS);
    while (this.body.rows.length > shown.length) this.body.lastChild.remove();
    while (this.body.rows.length < shown.length) this.body.append(element('tr'));
    shown.forEach((row, i) => fill(this.body.rows[i], row.map((cell, column) => spell(cell, columns[column])), 'td'));
    write(this.more, rows.length > MOST_ROWS ? `and ${rows.length - MOST_ROWS} more rows; the file has all` : '');
  }
}

/** Stamps of events are too long for a number, and nobody reads them as one. @param {any} cell @param {string} column */
const spell = (cell, column) => (column === 'timestamps [ns]' ? new Date(cell / 1e6).toISOString().replace('T', ' ').slice(0, -1) : formatNumber(cell));

/** @param {HTMLTableRowElement} row @param {string[]} texts @param {string} tag */
function fill(row, texts, tag) {
  while (row.cells.length > texts.length) row.lastChild?.remove();
  while (row.cells.length < texts.length) row.append(element(tag));
  texts.forEach((text, i) => write(row.cells[i], text));
}
