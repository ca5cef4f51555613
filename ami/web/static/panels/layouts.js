/** Arrangements of tiles by name, which anybody may open by a link. @module */

import {ask} from '../api.js';
import {button, element} from '../dom.js';
import {answer} from '../panels.js';

export class LayoutsPanel {
  /** @param {any} page */
  constructor(page) {
    this.page = page;
    const enter = (/** @type {KeyboardEvent} */ event) => { if (event.key === 'Enter') void this.save(); };
    this.name = element('input', {placeholder: 'name', 'aria-label': 'name of the layout', maxlength: 64, onkeydown: enter});
    this.answer = element('p', {class: 'answer', role: 'status'});
    this.list = element('ul');
    this.element = element('div', {},
      element('p', {class: 'row'}, this.name, button('Save', 'Save this arrangement under the name', () => this.save())), this.answer, this.list,
      element('p', {}, button('Arrange automatically', 'Show what is published, as it comes', () => this.page.arrange())));
  }

  open() {
    this.name.value = this.page.layoutName;
    void this.ask();
  }

  refresh() {}

  async ask() {
    const names = await ask('layouts').catch(() => []);
    this.list.replaceChildren(...names.map((/** @type {string} */ name) => element('li', {class: 'row'},
      element('a', {href: `#layout=${encodeURIComponent(name)}`, text: name}),
      button('Remove', `Remove the layout ${name}`, () => this.remove(name)))));
  }

  async save() {
    const name = this.name.value.trim();
    const path = `layouts/${encodeURIComponent(name)}`;
    if (await answer(this.answer, ask(path, {method: 'PUT', body: this.page.wall.layout()}), () => `saved; the link to it is in the address`)) {
      this.page.layoutName = name;
      history.replaceState(null, '', `#layout=${encodeURIComponent(name)}`);
    }
    await this.ask();
  }

  /** @param {string} name */
  async remove(name) {
    await answer(this.answer, ask(`layouts/${encodeURIComponent(name)}`, {method: 'DELETE'}), () => `${name} is removed`);
    await this.ask();
  }
}
