/** Read the graph, and edit it as a terminal does: what is typed is checked before it is sent. @module */

import {ask, edit, editor, setEditor} from '../api.js';
import {button, element, write} from '../dom.js';
import {answer} from '../panels.js';
import {formatTime} from '../scales.js';

const CHECK_AFTER_MS = 400;
const MOST_VERSIONS = 30;

export class GraphPanel {
  /** @param {any} page */
  constructor(page) {
    this.page = page;
    this.name = element('input', {'aria-label': 'your name', placeholder: 'your name', value: editor(), onchange: () => setEditor(this.name.value)});
    this.text = element('textarea', {'aria-label': 'definitions', spellcheck: 'false', oninput: () => this.checkSoon(),
      placeholder: 'bright = mean_events(sum(camera), window=interval)'});
    this.answer = element('p', {class: 'answer', role: 'status'});
    this.definitions = element('ul');
    this.versions = element('ul');
    this.operations = element('ul');
    this.fields = element('ul');
    this.whole = element('pre');
    this.help = element('details', {ontoggle: () => this.listOperations()}, element('summary', {text: 'Operations'}), this.operations);
    this.source = element('details', {ontoggle: () => this.listFields()}, element('summary', {text: 'Fields of the events'}), this.fields);
    this.past = element('details', {ontoggle: () => this.listVersions()}, element('summary', {text: 'History'}), this.versions);
    this.element = element('div', {},
      element('label', {class: 'row'}, element('span', {text: 'You are'}), this.name), this.text,
      element('p', {class: 'row'}, element('span'), button('Add', 'Add these definitions', () => this.send('add')),
        button('Replace', 'Put these in place of your definitions of these names', () => this.send('replace')),
        button('Undo', 'Take back your last change', () => this.send('undo'))),
      this.answer, element('h3', {text: 'Definitions'}), this.definitions, this.past, this.source, this.help,
      element('details', {}, element('summary', {text: 'As a file'}), this.whole));
  }

  open() {
    this.name.value = editor();
    void this.page.askGraph();
  }

  refresh() {
    const {graph} = this.page;
    if (!graph || graph === this.shown) return;
    this.shown = graph;
    write(this.whole, graph.text);
    const names = Object.entries(graph.definitions);
    this.definitions.replaceChildren(...names.map(([name, one]) => this.line(name, one)));
    if (this.past.open) void this.listVersions();
  }

  /** @param {string} name @param {any} one */
  line(name, one) {
    const whose = `${one.result ? 'result' : 'value'} of ${one.owners.join(', ')}`;
    return element('li', {}, element('p', {class: 'row'},
      element('span', {}, element('strong', {text: name}), ' ', element('span', {class: 'owner', text: whose})),
      button('Edit', `Edit ${name}`, () => this.take(`${quote(name)} = ${one.text}`)),
      button('Reset', `Let ${name} begin anew`, () => this.send('reset', {names: [name]})),
      button('Remove', `Remove ${name}`, () => this.send('remove', {names: [name]}))), element('code', {text: one.text}));
  }

  /** @param {string} text */
  take(text) {
    this.text.value = text;
    this.text.focus();
    this.checkSoon();
  }

  checkSoon() {
    clearTimeout(this.timer);
    write(this.answer, '');
    this.timer = setTimeout(() => this.check(), CHECK_AFTER_MS);
  }

  /** Say what would come of it; of two checks the newer one's answer counts. */
  async check() {
    const text = this.text.value;
    if (!text.trim()) return;
    const number = this.checks = (this.checks ?? 0) + 1;
    const checked = edit({action: 'replace', text, dry_run: true});
    await checked.catch(() => null);
    if (number === this.checks && text === this.text.value) await answer(this.answer, checked, (told) => `would do: ${sayChanges(told)}`);
  }

  /** @param {string} action @param {Record<string, any>} [fields] */
  async send(action, fields = {}) {
    clearTimeout(this.timer);
    this.checks = (this.checks ?? 0) + 1;
    const text = action === 'add' || action === 'replace' ? {text: this.text.value} : {};
    const fine = await answer(this.answer, edit({action, ...text, ...fields}), (told) => `version ${told.version}: ${sayChanges(told)}`);
    if (fine) await this.page.askGraph();
  }

  async listVersions() {
    if (!this.past.open) return;
    const versions = await ask('history').catch(() => []);
    this.versions.replaceChildren(...versions.slice(-MOST_VERSIONS).reverse().map((/** @type {any} */ one) => element('li', {class: 'row'},
      element('span', {}, element('strong', {text: `${one.version} `}), `${one.summary || one.action} `,
        element('span', {class: 'owner', text: `${one.client}, ${formatTime(one.time_ns / 1e9)}`})),
      one.client === editor() ? button('Undo', `Take back version ${one.version}`, () => this.send('undo', {version: one.version})) : null)));
  }

  async listFields() {
    if (!this.source.open) return;
    const fields = await ask('sources').catch(() => []);
    this.fields.replaceChildren(...fields.map((/** @type {any} */ one) => {
      const kind = [one.dtype.replace('<', ''), one.shape.join(' × '), one.unit].filter(Boolean).join(', ');
      return element('li', {}, element('code', {text: one.name}), ' ', element('span', {class: 'owner', text: kind}));
    }));
  }

  async listOperations() {
    if (!this.help.open || this.operations.childElementCount) return;
    const operations = await ask('operations').catch(() => []);
    this.operations.replaceChildren(...operations.map((/** @type {any} */ one) => element('li', {},
      element('code', {text: one.usage ?? one.signature ?? one.name}), element('p', {class: 'owner', text: one.help ?? ''}))));
  }
}

/** @param {string} name */
const quote = (name) => (/^\w+$/.test(name) ? name : `\`${name}\``);

/** @param {any} told what the graph manager answered */
function sayChanges(told) {
  const changes = Object.entries(told.changes ?? {}).map(([what, names]) => `${what} ${Array.isArray(names) ? names.join(', ') : JSON.stringify(names)}`);
  return [changes.join('; ') || 'nothing changes', ...(told.warnings ?? [])].join('\n');
}
