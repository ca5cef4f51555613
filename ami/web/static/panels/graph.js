/** Read the graph, and edit it as a terminal does: what is typed is checked before it is sent. @module */

import {ask, edit, editor, setEditor} from '../api.js';
import {compareDefinitions, quote} from '../definitions.js';
import {button, element, write} from '../dom.js';
import {answer} from '../panels.js';
import {formatTime} from '../scales.js';
import {Editor} from './editor.js';

const CHECK_AFTER_MS = 400;
const MOST_VERSIONS = 30;
// By these others may lose something.
const TAKES = ['set', 'remove', 'undo', 'rollback', 'reset'];

export class GraphPanel {
  /** @param {any} page */
  constructor(page) {
    this.page = page;
    this.checks = 0;
    this.name = element('input', {'aria-label': 'your name', placeholder: 'your name', value: editor(), onchange: () => setEditor(this.name.value)});
    this.editor = new Editor(page, () => this.checkSoon());
    this.answer = element('p', {class: 'answer', role: 'status'});
    this.offered = element('p', {class: 'row', hidden: true});
    this.definitions = element('ul');
    this.versions = element('ul');
    this.whole = element('textarea', {'aria-label': 'the whole graph', spellcheck: 'false', rows: 12});
    this.past = element('details', {ontoggle: () => this.listVersions()}, element('summary', {text: 'History'}), this.versions);
    this.element = element('div', {},
      element('label', {class: 'row'}, element('span', {text: 'You are'}), this.name), this.editor.element,
      element('p', {class: 'row'}, element('span'), button('Add', 'Add these definitions', () => this.send('add')),
        button('Replace', 'Put these in place of your definitions of these names', () => this.send('replace')),
        button('Undo', 'Take back your last change', () => this.send('undo'))),
      this.answer, this.offered, element('h3', {text: 'Definitions'}), this.definitions, this.past,
      element('details', {}, element('summary', {text: 'As a file'}), this.whole,
        button('Set', 'Put this text in place of the whole graph', () => this.send('set', {text: this.whole.value}))));
  }

  open() {
    this.name.value = editor();
    void this.editor.open();
    void this.page.askGraph();
  }

  refresh() {
    const {graph} = this.page;
    if (!graph || graph === this.shown) return;
    // What somebody is writing is not taken away from under him.
    if (!this.shown || this.whole.value === this.shown.text) this.whole.value = graph.text;
    this.shown = graph;
    this.definitions.replaceChildren(...Object.entries(graph.definitions).map(([name, one]) => this.line(name, one)));
    if (this.past.open) void this.listVersions();
  }

  /** @param {string} name @param {any} one */
  line(name, one) {
    const whose = `${one.result ? 'result' : 'value'} of ${one.owners.join(', ')}`;
    return element('li', {}, element('p', {class: 'row'},
      element('span', {}, element('strong', {text: name}), ' ', element('span', {class: 'owner', text: whose})),
      ...this.buttons(name)), element('code', {text: one.text}));
  }

  /** What may be done to a definition. @param {string} name */
  buttons(name) {
    return [
      button('Edit', `Edit ${name}`, () => this.take(`${quote(name)} = ${this.page.graph.definitions[name]?.text ?? ''}`)),
      button('Reset', `Let ${name} begin anew`, () => this.send('reset', {names: [name]})),
      button('Remove', `Remove ${name}`, () => this.send('remove', {names: [name]})),
    ];
  }

  /** @param {string} text */
  take(text) {
    this.page.panels.show('graph');
    this.editor.set(text);
  }

  checkSoon() {
    clearTimeout(this.timer);
    write(this.answer, '');
    this.offered.hidden = true;
    this.timer = setTimeout(() => this.check(), CHECK_AFTER_MS);
  }

  /** Say what would come of it; of two checks the newer one's answer counts. */
  async check() {
    const text = this.editor.text.value;
    if (!text.trim()) return;
    const number = ++this.checks;
    const checked = edit({action: 'replace', text, dry_run: true});
    await checked.catch(() => null);
    if (number === this.checks && text === this.editor.text.value) await answer(this.answer, checked, (told) => `would do: ${sayChanges(told)}`);
  }

  /**
   * Who would lose what is shown first; who has seen that may do it all the same.
   * @param {string} action @param {Record<string, any>} [fields]
   */
  async send(action, fields = {}) {
    clearTimeout(this.timer);
    this.page.panels.show('graph');
    this.offered.hidden = true;
    const number = ++this.checks;
    const wanted = {action, ...(action === 'add' || action === 'replace' ? {text: this.editor.text.value} : {}), ...fields};
    if (!TAKES.includes(action)) return this.carryOut(wanted);
    /** @type {any} */
    let told = null;
    const asked = edit({...wanted, force: true, dry_run: true}).then((found) => (told = found));
    if (!await answer(this.answer, asked, sayChanges) || number !== this.checks) return undefined;
    const lost = Object.entries(told.changes?.lost ?? {});
    if (!lost.length) return this.carryOut(wanted);
    const {definitions} = this.page.graph;
    const whose = lost.map(([owner, names]) => `${owner} would lose, or begin anew with: ${/** @type {string[]} */ (names)
      .map((name) => `${name} (of ${definitions[name]?.owners.join(' and ')})`).join(', ')}`);
    write(this.answer, [...whose, sayChanges(told)].join('\n'));
    this.answer.className = 'answer denied';
    // What was shown is what is done: not if the graph is another by then.
    const all = button('Do it all the same', 'Do it, though others lose by it', () => this.carryOut({...wanted, force: true, expected_version: told.version}));
    this.offered.replaceChildren(element('span'), all, button('Leave it', 'Change nothing', () => this.checkSoon()));
    this.offered.hidden = false;
    all.focus();
    return undefined;
  }

  /** @param {Record<string, any>} wanted */
  async carryOut(wanted) {
    this.offered.hidden = true;
    if (await answer(this.answer, edit(wanted), (told) => `version ${told.version}: ${sayChanges(told)}`)) await this.page.askGraph();
  }

  async listVersions() {
    if (!this.past.open) return;
    const versions = await ask('history').catch(() => []);
    const newest = versions.at(-1)?.version;
    this.versions.replaceChildren(...versions.slice(-MOST_VERSIONS).reverse().map((/** @type {any} */ one) => {
      const changes = element('pre', {hidden: true});
      return element('li', {}, element('p', {class: 'row'},
        element('span', {}, element('strong', {text: `${one.version} `}), `${one.summary || one.action} `,
          element('span', {class: 'owner', text: `${one.client}, ${formatTime(one.time_ns / 1e9)}`})),
        button('Diff', `What version ${one.version} changed`, () => this.compare(one.version, changes)),
        one.client === editor() ? button('Undo', `Take back version ${one.version}`, () => this.send('undo', {version: one.version})) : null,
        one.version === newest ? null
          : button('Go back', `Go back to version ${one.version}, with everybody's`, () => this.send('rollback', {version: one.version}))), changes);
    }));
  }

  /** @param {number} version @param {HTMLElement} where */
  async compare(version, where) {
    where.hidden = !where.hidden;
    const [before, after] = await Promise.all([version - 1, version].map((one) => ask(`graph?version=${one}`).catch(() => null)));
    const lines = after ? compareDefinitions(before?.definitions ?? {}, after.definitions) : ['this version is not kept any more'];
    write(where, lines.join('\n') || 'the definitions are the same');
  }
}

/** @param {any} told what the graph manager answered */
function sayChanges(told) {
  const {lost, ...rest} = told.changes ?? {};
  const changes = Object.entries(rest).map(([what, names]) => `${what} ${Array.isArray(names) ? names.join(', ') : JSON.stringify(names)}`);
  return [changes.join('; ') || 'nothing changes', ...(told.warnings ?? [])].join('\n');
}
