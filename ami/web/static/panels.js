/** The panel at the side: one of graph, diagram, add, layouts, status at a time. @module */

import {button, element, write} from './dom.js';
import {AddPanel} from './panels/add.js';
import {DiagramPanel} from './panels/diagram.js';
import {GraphPanel} from './panels/graph.js';
import {LayoutsPanel} from './panels/layouts.js';
import {StatusPanel} from './panels/status.js';

/** @type {[string, string, string, new (page: any) => any][]} name, key, title, panel */
const PANELS = [
  ['add', 'a', 'Add a tile', AddPanel], ['layouts', 'l', 'Layouts', LayoutsPanel], ['graph', 'g', 'The graph: what is computed', GraphPanel],
  ['diagram', 'd', 'The graph as a diagram', DiagramPanel], ['status', 's', 'How the processes are', StatusPanel],
];

export class Panels {
  /** @param {HTMLElement} host @param {any} page */
  constructor(host, page) {
    this.host = host;
    this.page = page;
    this.current = '';
    /** @type {any} */
    this.panel = null;
    /** @type {Map<string, any>} */
    this.made = new Map();
  }

  buttons() {
    this.tools = new Map(PANELS.map(([name, key, title]) => [name, button(name, `${title} (${key})`, () => this.toggle(name), {'aria-expanded': 'false'})]));
    return this.tools.values();
  }

  keys() {
    return PANELS.map(([, key, title]) => [key, title]);
  }

  /** @param {string} key @returns {boolean} whether it is one of a panel */
  press(key) {
    const found = PANELS.find(([, one]) => one === key);
    if (found) this.toggle(found[0]);
    return Boolean(found);
  }

  /** @param {string} name */
  toggle(name) {
    if (this.current === name) this.close();
    else this.open(name);
  }

  /** @param {string} name @param {string} [message] */
  open(name, message = '') {
    const title = PANELS.find(([one]) => one === name)?.[2] ?? '';
    this.close();
    this.current = name;
    this.panel = this.get(name);
    this.host.replaceChildren(element('header', {}, element('h2', {text: title}), button('✕', 'Close the panel', () => this.close())),
      element('p', {class: 'answer denied', text: message, hidden: !message}), this.panel.element);
    this.host.setAttribute('aria-label', title);
    this.host.hidden = false;
    this.tools?.get(name)?.setAttribute('aria-expanded', 'true');
    this.panel.open?.();
    this.panel.refresh();
    this.host.focus();
  }

  /** @param {string} name */
  show(name) {
    if (this.current !== name) this.open(name);
  }

  /** @param {string} name @returns {any} the panel, whether it is open or not */
  get(name) {
    const Kind = /** @type {any} */ (PANELS.find(([one]) => one === name))[3];
    if (!this.made.has(name)) this.made.set(name, new Kind(this.page));
    return this.made.get(name);
  }

  close() {
    if (!this.current) return;
    this.panel.close?.();
    const tool = this.tools?.get(this.current);
    tool?.setAttribute('aria-expanded', 'false');
    if (this.host.contains(document.activeElement)) tool?.focus();
    this.current = '';
    this.host.hidden = true;
  }

  refresh() {
    if (this.current) this.panel.refresh();
  }
}

/** @param {HTMLElement} where @param {Promise<any>} asked @param {(answer: any) => string} say */
export async function answer(where, asked, say) {
  try {
    write(where, say(await asked));
    where.className = 'answer fine';
    return true;
  } catch (error) {
    write(where, String(/** @type {Error} */ (error).message));
    where.className = 'answer denied';
    return false;
  }
}
