/** What is published, and which of it is on the page. @module */

import {button, element} from '../dom.js';

export class AddPanel {
  /** @param {any} page */
  constructor(page) {
    this.page = page;
    this.filter = element('input', {type: 'search', placeholder: 'part of a name', 'aria-label': 'part of a name', oninput: () => this.refresh()});
    this.list = element('ul');
    this.element = element('div', {}, this.filter, this.list);
  }

  refresh() {
    const {wall, catalogue, results} = this.page;
    const there = new Set(wall.tiles.map((/** @type {any} */ tile) => tile.spec.name));
    const wanted = this.filter.value.toLowerCase();
    const names = Object.keys(catalogue).filter((name) => name.toLowerCase().includes(wanted)).slice(0, 200);
    this.list.replaceChildren(...names.map((name) => element('li', {class: 'row'},
      element('span', {}, name, ' ', element('span', {class: 'owner', text: (catalogue[name].owners ?? []).join(', ')})),
      button(there.has(name) ? 'once more' : 'add', there.has(name) ? `once more ${name}` : `add a tile of ${name}`, () => {
        wall.add(name, results.get(name));
        if (results.has(name)) this.page.take([results.get(name)]);
        this.page.drawSoon();
        this.refresh();
      }))));
  }
}
