/** A text of definitions that completes what is typed, and forms of operations that write into it. @module */

import {ask} from '../api.js';
import {completeAt, sayType, WINDOWS, writeCall} from '../complete.js';
import {button, element, write} from '../dom.js';

/** @typedef {import('../complete.js').Known} Known */

export class Editor {
  /** @param {any} page @param {() => void} changed */
  constructor(page, changed) {
    this.page = page;
    this.changed = changed;
    /** @type {any[]} */
    this.fields = [];
    /** @type {import('../complete.js').Operation[]} */
    this.operations = [];
    this.at = {from: 0, options: /** @type {import('../complete.js').Option[]} */ ([]), usage: ''};
    this.picked = 0;
    this.list = element('ul', {id: 'completions', role: 'listbox', 'aria-label': 'what may stand here', hidden: true});
    this.usage = element('p', {class: 'owner usage'});
    this.text = element('textarea', {'aria-label': 'definitions', spellcheck: 'false', role: 'combobox', 'aria-autocomplete': 'list', 'aria-multiline': 'true',
      'aria-expanded': 'false', 'aria-controls': 'completions', placeholder: 'bright = mean_events(sum(camera), window=interval)',
      oninput: () => { this.complete(); this.changed(); }, onclick: () => this.complete(),
      onkeydown: (/** @type {KeyboardEvent} */ event) => this.press(event), onblur: () => this.close()});
    this.forms = element('select', {'aria-label': 'operation', onchange: () => this.showForm()});
    this.form = element('div', {class: 'form'});
    this.element = element('div', {}, element('div', {class: 'editor'}, this.text, this.list), this.usage,
      element('details', {}, element('summary', {text: 'Operations'}), this.forms, this.form));
  }

  async open() {
    if (!this.operations.length) this.operations = await ask('operations').catch(() => []);
    this.fields = await ask('sources').catch(() => this.fields);
    if (this.forms.childElementCount) return;
    this.forms.replaceChildren(...this.operations.map(({name, sort}) => element('option', {value: name, text: `${name}, ${sort}`})));
    this.showForm();
  }

  /** @returns {Known} */
  known() {
    /** @type {Record<string, any>} */
    const definitions = this.page.graph?.definitions ?? {};
    const values = Object.entries(definitions).map(([name, one]) => ({name, hint: `${one.result ? 'result' : 'value'} of ${one.owners.join(', ')}`}));
    const fields = this.fields.map(({name, dtype, shape, unit}) =>
      ({name, hint: ['field', dtype.replace('<', ''), shape.join(' × '), unit].filter(Boolean).join(' ')}));
    return {operations: this.operations, values: [...fields, ...values]};
  }

  complete() {
    this.at = completeAt(this.text.value, this.text.selectionStart, this.known());
    write(this.usage, this.at.usage);
    const take = (/** @type {number} */ n) => (/** @type {Event} */ event) => { event.preventDefault(); this.take(n); };
    this.list.replaceChildren(...this.at.options.map(({text, hint}, n) => element('li', {id: `completion-${n}`, role: 'option', onpointerdown: take(n)},
      element('code', {text}), ' ', element('span', {class: 'owner', text: hint}))));
    this.list.hidden = !this.at.options.length;
    this.text.setAttribute('aria-expanded', String(!this.list.hidden));
    this.pick(0);
  }

  close() {
    this.list.hidden = true;
    this.text.setAttribute('aria-expanded', 'false');
    this.text.removeAttribute('aria-activedescendant');
  }

  /** @param {number} number */
  pick(number) {
    this.picked = (number + this.at.options.length) % (this.at.options.length || 1);
    for (const [n, one] of [...this.list.children].entries()) one.setAttribute('aria-selected', String(n === this.picked));
    this.list.children[this.picked]?.scrollIntoView({block: 'nearest'});
    if (!this.list.hidden) this.text.setAttribute('aria-activedescendant', `completion-${this.picked}`);
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    if (event.ctrlKey && event.key === ' ') this.complete();
    else if (this.list.hidden || event.ctrlKey || event.altKey || event.shiftKey) return;
    else if (event.key === 'ArrowDown') this.pick(this.picked + 1);
    else if (event.key === 'ArrowUp') this.pick(this.picked - 1);
    else if (event.key === 'Enter' || event.key === 'Tab') this.take(this.picked);
    else if (event.key === 'Escape') this.close();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** @param {number} number */
  take(number) {
    this.text.setRangeText(this.at.options[number].text, this.at.from, this.text.selectionStart, 'end');
    this.complete();
    this.changed();
  }

  /** @param {string} text */
  set(text) {
    this.text.value = text;
    this.text.focus();
    this.close();
    this.changed();
  }

  /** Fields for what an operation takes, made of what the library says of it. */
  showForm() {
    const operation = this.operations.find(({name}) => name === this.forms.value);
    if (!operation) return;
    const list = element('datalist', {id: 'values'}, ...this.known().values.map(({name, hint}) => element('option', {value: name, text: hint})));
    const windows = element('datalist', {id: 'windows'}, ...WINDOWS.map((value) => element('option', {value})));
    const name = element('input', {'aria-label': 'its name', placeholder: 'name'});
    const inputs = [...operation.inputs.map((one) => ({name: one, hint: 'a value', list: 'values'})),
      ...operation.parameters.map((one) => ({name: one.name, hint: sayType(one), list: one.name === 'window' ? 'windows' : undefined}))]
      .map((one) => element('input', {'aria-label': one.name, name: one.name, placeholder: one.hint, list: one.list}));
    const put = () => {
      const call = writeCall(operation, Object.fromEntries(inputs.map((one) => [one.name, one.value])));
      this.set(`${this.text.value.trimEnd()}\n${name.value.trim() || 'new'} = ${call}`.trimStart());
    };
    this.form.replaceChildren(element('p', {class: 'owner', text: operation.help}), list, windows,
      ...[name, ...inputs].map((one) => element('label', {class: 'row'}, element('span', {text: one.getAttribute('aria-label')}), one)),
      element('p', {class: 'row'}, element('code', {text: operation.usage}), button('Write it', 'Write this definition into the text above', put)));
  }
}
