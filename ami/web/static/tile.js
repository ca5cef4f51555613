/** A tile: a result's value in a view of its kind, and around it what is in it, how old it is, and what is wrong. @module */

import {ask, resultPath} from './api.js';
import {ageOf, isStale, kindsOf, rowsOf, sayEvents, sayValue, toCsv} from './describe.js';
import {button, choice, download, element, inks, write} from './dom.js';
import {formatAge, formatTime} from './scales.js';
import {CurveView} from './tiles/curve.js';
import {ImageView} from './tiles/image.js';
import {NumberView} from './tiles/number.js';
import {StripView} from './tiles/strip.js';
import {TableView} from './tiles/table.js';
import {TextView} from './tiles/text.js';

/** @typedef {import('./protocol.js').Result} Result */
/** @typedef {import('./arrange.js').Spec} Spec */
/**
 * What a tile asks of the page.
 * @typedef {object} Context
 * @property {() => void} shows what is shown is another
 * @property {() => void} changed the layout is another
 * @property {(tile: Tile) => void} remove
 * @property {(name: string) => string[]} owners
 * @property {() => any} graph as the daemon told it last
 * @property {() => Result[]} results the newest of each that is shown somewhere
 * @property {(tile: Tile) => void} redraw
 */

/** @type {Record<string, (tile: Tile) => any>} */
const VIEWS = {
  image: (tile) => new ImageView(tile), histogram2d: (tile) => new ImageView(tile),
  line: (tile) => new CurveView(tile, 'line'), histogram: (tile) => new CurveView(tile, 'steps'),
  scan: (tile) => new CurveView(tile, 'points'), scatter: (tile) => new CurveView(tile, 'dots'),
  strip: (tile) => new StripView(tile), number: (tile) => new NumberView(tile), table: () => new TableView(), text: () => new TextView(),
};
// Of these the trend goes on while they are out of sight.
const ALWAYS = ['strip', 'number'];
const NOTE_MS = 6_000;
let numbers = 0;

export class Tile {
  /** @param {Spec} spec @param {Context} context */
  constructor(spec, context) {
    this.spec = spec;
    this.context = context;
    this.id = `tile-${++numbers}`;
    /** @type {Result|null} */
    this.result = null;
    /** Another one that is drawn in the same plot. @type {Result|null} */
    this.other = null;
    this.paused = this.dirty = false;
    this.inSight = true;
    this.kind = this.noted = '';
    /** @type {any} */
    this.view = null;
    this.build();
    this.place();
  }

  build() {
    const {name} = this.spec;
    this.age = element('span', {class: 'pill', title: 'age of what is shown'});
    this.pause = button('II', 'Pause this tile', () => this.togglePause(), {'aria-pressed': 'false'});
    this.own = element('span', {class: 'own'});
    this.settings = element('div', {class: 'settings', hidden: true});
    this.gear = button('⚙', 'How this is shown', () => this.toggleSettings(), {'aria-expanded': 'false'});
    this.buttons = element('span', {class: 'buttons'}, this.own, this.pause, this.gear,
      button('✕', 'Take this tile off the page', () => this.context.remove(this)));
    this.head = element('header', {draggable: 'true'}, element('h2', {text: name, title: name}), this.age, this.buttons);
    this.holder = element('div', {class: 'holder'}, element('p', {class: 'faint', text: 'waiting for the first value'}));
    this.absent = element('p', {class: 'absent', hidden: true}, `${name} is not published now. `,
      button('Take it off', 'Take this tile off the page', () => this.context.remove(this)));
    this.error = element('p', {class: 'error', role: 'alert', hidden: true});
    this.foot = element('footer');
    this.said = element('p', {class: 'for-readers', id: `${this.id}-said`});
    this.corner = element('span', {class: 'corner', title: 'Drag to make it larger or smaller'});
    this.element = element('section', {class: 'tile', id: this.id, 'aria-label': name, 'aria-describedby': `${this.id}-said`, tabindex: 0},
      this.head, this.settings, this.holder, this.absent, this.error, this.foot, this.said, this.corner);
  }

  place() {
    const {style} = this.element;
    style.setProperty('--w', String(this.spec.w));
    style.setProperty('--h', String(this.spec.h));
  }

  /** What the daemon is asked for; null: nothing. @returns {object|null} */
  shown() {
    // What nobody has seen yet is asked for wherever it is: its kind says where it shall be.
    if (this.paused || !(this.inSight || ALWAYS.includes(this.kind) || !this.kind)) return null;
    return this.view?.wants?.() ?? {};
  }

  /** @param {Result} result */
  receive(result) {
    if (this.paused) return;
    if (result.name === this.spec.name) this.result = result;
    else if (result.name === this.spec.options.with) this.other = result;
    else return;
    this.dirty = true;
  }

  /** Whoever laid this out may look at another graph: what is not there is waited for. @param {boolean} is in the catalogue */
  publish(is) {
    this.absent.hidden = is;
    this.element.classList.toggle('gone', !is);
  }

  redraw() {
    this.dirty = true;
    this.context.redraw(this);
  }

  draw() {
    const {result} = this;
    if (!this.dirty || !result) return;
    this.dirty = false;
    if (result.parts.length || !this.view) this.choose(result);
    if (result.parts.length || this.kind === 'text') this.view.set(result);
    // What was there before is not what is there now.
    this.element.classList.toggle('empty', !result.parts.length && this.kind !== 'text');
  }

  /** @param {Result} result */
  choose(result) {
    const kinds = kindsOf(result);
    const kind = kinds.includes(this.spec.kind) ? this.spec.kind : kinds[0];
    if (kind === this.kind) return;
    const same = this.kind === '';
    this.kind = kind;
    this.element.dataset.kind = kind;
    this.element.setAttribute('aria-label', `${result.name}, ${kind}`);
    this.view = VIEWS[kind](this);
    this.holder.replaceChildren(...[this.view.element, this.view.below].filter(Boolean));
    this.own.replaceChildren(...(this.view.actions?.() ?? []));
    if (!this.settings.hidden) this.fillSettings();
    if (!same) this.context.changed();
    this.context.shows();
  }

  /** What is in the value, and what is not. */
  tell() {
    const {result} = this;
    if (!result) return;
    const owners = this.context.owners(result.name).join(', ');
    const missing = result.missing_nodes.map((node) => `without ${node}${result.late[node] ? `, late by ${formatAge(result.late[node])}` : ''}`);
    const calm = [...sayEvents(result), `run ${result.run}`, `graph ${result.graph_version}`, ...(owners ? [owners] : [])];
    const {dropped, set_aside: aside} = result.events;
    this.foot.classList.toggle('partial', !result.complete || dropped + aside > 0);
    const text = [...missing, ...(result.complete || missing.length ? [] : ['partial']), ...calm].join(' · ');
    if (text !== this.foot.title) this.foot.title = this.foot.textContent = text;
    this.showError();
  }

  /** @param {number} nowMs by performance.now() */
  tick(nowMs) {
    const {result} = this;
    if (!result) return;
    const age_s = ageOf(result, nowMs);
    const stale = isStale(result, age_s);
    this.age.classList.toggle('stale', stale);
    this.element.classList.toggle('old', stale);
    write(this.age, `${this.paused ? 'paused, ' : ''}${formatAge(age_s)}`);
  }

  /** Called seldom: a screen reader says what changes only when it is asked to. */
  say() {
    const {result} = this;
    if (result) write(this.said, `${sayValue(result)}; ${sayEvents(result).join(', ')}${result.error ? `; error: ${result.error}` : ''}`);
  }

  togglePause() {
    this.paused = !this.paused;
    this.pause.setAttribute('aria-pressed', String(this.paused));
    write(this.pause, this.paused ? '▶' : 'II');
    this.pause.title = this.paused ? 'Go on' : 'Pause this tile';
    this.context.shows();
    this.tick(performance.now());
  }

  toggleSettings() {
    this.settings.hidden = !this.settings.hidden;
    this.gear.setAttribute('aria-expanded', String(!this.settings.hidden));
    if (!this.settings.hidden) this.fillSettings();
  }

  fillSettings() {
    const kinds = this.result ? kindsOf(this.result) : [];
    const as = (/** @type {string} */ kind) => {
      this.spec.kind = kind;
      this.redraw();
      this.context.changed();
    };
    const pieces = [
      kinds.length > 1 ? choice('as', kinds, this.kind, as) : null, ...(this.view?.settings?.() ?? []),
      this.holder.querySelector('canvas') ? button('PNG', 'Save as a picture', () => this.savePicture()) : null,
      button('CSV', 'Save the numbers', () => this.saveNumbers()),
      button('HDF5', 'Save the newest value as it is, with all that is known of it', () => this.saveFile()),
    ];
    this.settings.replaceChildren(...pieces.filter(Boolean));
  }

  /** What keeps an option, and shows the result by it. @param {string} option @returns {(value: any) => void} */
  keeps(option) {
    return (value) => {
      this.spec.options[option] = value;
      this.redraw();
      this.context.changed();
      this.context.shows();
    };
  }

  fileName() {
    return `${this.spec.name.replace(/[^\w.-]+/g, '_')}-run${this.result?.run ?? 0}-${this.result?.interval ?? 0}`;
  }

  savePicture() {
    const layers = /** @type {HTMLCanvasElement[]} */ ([...this.holder.querySelectorAll('canvas')]);
    const [{width, height}] = layers;
    const ratio = window.devicePixelRatio || 1;
    const [head, em] = [Math.round(44 * ratio), Number(inks().em) * ratio];
    const canvas = /** @type {HTMLCanvasElement} */ (element('canvas', {width, height: height + head}));
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
    context.fillStyle = inks().paper;
    context.fillRect(0, 0, width, height + head);
    context.fillStyle = inks().ink;
    context.font = `600 ${em}px sans-serif`;
    context.fillText(this.spec.name, em / 2, em * 1.2);
    context.fillStyle = inks().faint;
    context.font = `${em * 0.7}px sans-serif`;
    context.fillText(`${this.foot.textContent} · ${new Date().toISOString().slice(0, 10)} ${formatTime(Date.now() / 1e3)}`, em / 2, em * 2.2);
    for (const layer of layers) context.drawImage(layer, 0, head);
    canvas.toBlob((blob) => { if (blob) download(`${this.fileName()}.png`, blob); });
  }

  async saveNumbers() {
    const {result} = this;
    if (!result) return;
    const table = await this.view.rows?.().catch(() => null) ?? rowsOf(result);
    download(`${this.fileName()}.csv`, new Blob([toCsv(table)], {type: 'text/csv'}));
  }

  async saveFile() {
    try {
      download(`${this.fileName()}.h5`, await ask(resultPath(this.spec.name, 'file'), {as: 'blob'}));
    } catch (error) {
      this.note(String(/** @type {Error} */ (error).message));
    }
  }

  /** Say for a moment why something cannot be done. @param {string} text */
  note(text) {
    this.noted = text;
    setTimeout(() => { this.noted = ''; this.showError(); }, NOTE_MS);
    this.showError();
  }

  showError() {
    const text = [this.noted, this.result?.error].filter(Boolean).join('\n');
    this.error.hidden = !text;
    write(this.error, text);
  }
}
