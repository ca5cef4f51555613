/** The graph as a diagram: fields, what is made of them, what is published; with its rates, costs, errors and owners. @module */

import {ask} from '../api.js';
import {button, element, fitCanvas, inks, write} from '../dom.js';
import {costsOf, layGraph} from '../layers.js';
import {formatNumber} from '../scales.js';

const EACH_MS = 2_000;

export class DiagramPanel {
  /** @param {any} page */
  constructor(page) {
    this.page = page;
    this.chosen = '';
    /** @type {Record<string, {hz: number, us: number, errors: number}>} */
    this.costs = {};
    /** @type {Map<string, import('../layers.js').Node>} */
    this.nodes = new Map();
    /** @type {Map<string, any>} */
    this.buttons = new Map();
    this.filter = element('input', {type: 'search', placeholder: 'part of a name', 'aria-label': 'part of a name', oninput: () => this.build()});
    this.canvas = element('canvas', {'aria-hidden': 'true'});
    this.columns = element('div', {class: 'columns', onscroll: () => this.draw(), onkeydown: (/** @type {KeyboardEvent} */ event) => this.press(event)});
    this.about = element('div');
    this.element = element('div', {}, this.filter, element('div', {class: 'diagram'}, this.canvas, this.columns), this.about);
    new ResizeObserver(() => this.draw()).observe(this.columns);
  }

  open() {
    void this.page.askGraph();
    void this.measure();
    this.timer = setInterval(() => this.measure(), EACH_MS);
  }

  close() {
    clearInterval(this.timer);
  }

  refresh() {
    if (this.page.graph && this.page.graph !== this.shown) this.build();
  }

  async measure() {
    const load = await ask('load').catch(() => null);
    this.costs = load ? costsOf(load.operations, this.page.graph?.definitions ?? {}) : {};
    for (const [name, {figures}] of this.buttons) write(figures, this.figuresOf(name));
    for (const [name, {node}] of this.buttons) node.classList.toggle('failing', this.costs[name]?.errors > 0);
    this.draw();
  }

  build() {
    this.shown = this.page.graph;
    const {nodes, layers} = layGraph(this.shown?.definitions ?? {}, this.filter.value.trim());
    this.nodes = nodes;
    this.buttons = new Map([...nodes.values()].map(({name, kind}) => {
      const figures = element('span', {class: 'owner', text: this.figuresOf(name)});
      const node = element('button', {type: 'button', class: `node ${kind}`, 'aria-label': `${kind} ${name}`, 'aria-pressed': String(name === this.chosen),
        onclick: () => this.choose(name)}, element('strong', {text: name}), figures);
      return [name, {node, figures}];
    }));
    this.columns.replaceChildren(...layers.map((names) => element('ul', {}, ...names.map((name) => element('li', {}, this.buttons.get(name).node)))));
    if (!nodes.size) this.columns.replaceChildren(element('p', {class: 'faint', text: 'nothing is defined of that name'}));
    this.tell();
    this.draw();
  }

  /** @param {string} name */
  figuresOf(name) {
    const cost = this.costs[name];
    const owners = this.shown?.definitions[name]?.owners ?? [];
    const said = cost ? [`${formatNumber(cost.hz, 3)} Hz`, `${formatNumber(cost.us, 3)} µs`, cost.errors ? `${formatNumber(cost.errors)} errors` : ''] : [];
    return [...said, owners.join(', ')].filter(Boolean).join(' · ');
  }

  /** @param {string} name */
  choose(name) {
    this.chosen = name === this.chosen ? '' : name;
    for (const [one, {node}] of this.buttons) node.setAttribute('aria-pressed', String(one === this.chosen));
    this.tell();
    this.draw();
  }

  /** What is chosen, and what may be done to it. */
  tell() {
    const node = this.nodes.get(this.chosen);
    const one = this.shown?.definitions[this.chosen];
    const go = (/** @type {string} */ name) => { this.choose(name); this.buttons.get(name)?.node.focus(); };
    const links = (/** @type {string} */ word, /** @type {string[]} */ names) => (names.length ? element('p', {class: 'row'},
      element('span', {class: 'owner', text: word}), ...names.slice(0, 20).map((name) => button(name, `choose ${name}`, () => go(name)))) : null);
    this.about.replaceChildren(...(node ? [
      element('h3', {text: `${node.kind} ${node.name}`}), one ? element('code', {text: one.text}) : null,
      element('p', {class: 'owner', text: this.figuresOf(node.name)}), links('made of', node.uses), links('used by', node.users),
      one ? element('p', {class: 'row'}, element('span'), ...this.page.panels.get('graph').buttons(node.name)) : null,
    ].filter(Boolean) : [element('p', {class: 'faint', text: 'Choose one to see what it is made of, edit it or remove it; arrow keys go along the lines.'})]));
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    const [name] = [...this.buttons].find(([, {node}]) => node === document.activeElement) ?? [''];
    const node = this.nodes.get(name);
    const item = document.activeElement?.closest('li');
    const there = (/** @type {string[]|undefined} */ names) => this.buttons.get(names?.find((one) => this.buttons.has(one)) ?? '')?.node;
    const to = {ArrowRight: there(node?.users), ArrowLeft: there(node?.uses),
      ArrowUp: item?.previousElementSibling?.firstChild, ArrowDown: item?.nextElementSibling?.firstChild}[event.key];
    if (!to) return;
    to.focus();
    event.preventDefault();
  }

  draw() {
    const {context} = fitCanvas(this.canvas);
    const {x, y} = this.canvas.getBoundingClientRect();
    const boxes = new Map([...this.buttons].map(([name, {node}]) => [name, node.getBoundingClientRect()]));
    for (const {name, uses} of this.nodes.values()) {
      for (const used of uses) {
        const [from, to] = [boxes.get(used), boxes.get(name)];
        if (!from || !to) continue;
        const near = name === this.chosen || used === this.chosen;
        const [left, top, right, bottom] = [from.right - x, from.y + from.height / 2 - y, to.left - x, to.y + to.height / 2 - y];
        context.strokeStyle = near ? inks().accent : inks().edge;
        context.lineWidth = near ? 2.5 : 1.2;
        context.beginPath();
        context.moveTo(left, top);
        context.bezierCurveTo((left + right) / 2, top, (left + right) / 2, bottom, right, bottom);
        context.stroke();
      }
    }
  }
}
