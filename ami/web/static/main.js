/** Put the page together: what comes goes to the tiles, what people do goes to the daemon. @module */

import {ask, readAddress, Refusal} from './api.js';
import {readLayout} from './arrange.js';
import {button, element, isDark, setTheme, write} from './dom.js';
import {Live} from './live.js';
import {Panels} from './panels.js';
import {formatAge, formatNumber} from './scales.js';
import {Wall} from './wall.js';

const TICK_MS = 500;
const SAY_MS = 5_000;
const KEPT = 'ami.layout';

const find = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));

class Page {
  constructor() {
    /** @type {Record<string, {owners?: string[]}>} what is published */
    this.catalogue = {};
    /** @type {any} the graph as people wrote it */
    this.graph = null;
    /** @type {Map<string, import('./protocol.js').Result>} */
    this.results = new Map();
    /** @type {(() => void)[]} */
    this.drawn = [];
    this.asksFrame = this.asksShow = false;
    this.layoutName = readAddress().get('layout') ?? '';
    this.wall = new Wall(find('wall'), {
      shows: () => this.showSoon(),
      changed: () => this.keep(),
      owners: (name) => this.catalogue[name]?.owners ?? [],
      graph: () => this.graph,
      results: () => [...this.results.values()],
      redraw: () => this.drawSoon(),
    });
    this.live = new Live({
      results: (results) => this.take(results),
      text: (said) => this.hear(said),
      state: () => this.tell(),
    }, (acknowledge) => {
      this.drawn.push(acknowledge);
      this.drawSoon();
    });
    this.panels = new Panels(find('panel'), this);
  }

  async start() {
    setTheme(/** @type {any} */ (localStorage.getItem('ami.theme') ?? ''));
    this.addTools();
    addEventListener('keydown', (event) => this.pressKey(event));
    addEventListener('hashchange', () => this.open(readAddress().get('layout') ?? ''));
    // Who hides the page draws nothing any more: what was to be drawn is acknowledged.
    document.addEventListener('visibilitychange', () => (document.hidden ? this.acknowledge() : this.drawSoon()));
    await this.open(this.layoutName);
    this.live.start();
    setInterval(() => this.tick(), TICK_MS);
    setInterval(() => this.wall.tiles.forEach((tile) => tile.say()), SAY_MS);
  }

  addTools() {
    find('tools').append(
      ...this.panels.buttons(),
      button('◐', 'Dark or light', () => this.turn()),
      button('?', 'Keys', () => this.help()),
    );
  }

  turn() {
    const theme = isDark() ? 'light' : 'dark';
    localStorage.setItem('ami.theme', theme);
    setTheme(theme);
    for (const tile of this.wall.tiles) tile.redraw();
  }

  // what comes

  /** @param {import('./protocol.js').Result[]} results */
  take(results) {
    for (const result of results) {
      this.results.set(result.name, result);
      for (const tile of this.wall.tiles) tile.receive(result);
    }
  }

  /** @param {any} said */
  hear(said) {
    if (said.catalogue) {
      this.catalogue = said.catalogue;
      const names = Object.keys(said.catalogue);
      for (const name of this.results.keys()) if (!names.includes(name)) this.results.delete(name);
      this.wall.follow(names);
      this.panels.refresh();
    }
    if (said.graph !== undefined || said.catalogue) this.askGraph();
  }

  async askGraph() {
    try {
      this.graph = await ask('graph');
      this.panels.refresh();
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
    }
  }

  // drawing

  drawSoon() {
    if (this.asksFrame) return;
    this.asksFrame = true;
    requestAnimationFrame(() => this.draw());
  }

  draw() {
    this.asksFrame = false;
    const tiles = this.wall.tiles.filter((tile) => tile.dirty && (tile.inSight || !tile.kind));
    const kinds = tiles.map((tile) => tile.kind);
    for (const tile of tiles) tile.draw();
    // Texts after pictures: to write letters on a canvas, the browser looks at all styles that changed since.
    for (const tile of tiles) tile.tell();
    const settles = tiles.some((tile, i) => tile.kind !== kinds[i]);
    this.acknowledge();
    if (settles) this.wall.settle();
  }

  acknowledge() {
    for (const acknowledge of this.drawn.splice(0)) acknowledge();
  }

  /** What is shown may change many times in a moment: the daemon is told once. */
  showSoon() {
    if (this.asksShow) return;
    this.asksShow = true;
    setTimeout(() => {
      this.asksShow = false;
      /** @type {Record<string, any>} */
      const shown = {};
      for (const tile of this.wall.tiles) {
        const how = tile.shown();
        // Two tiles of one image: the larger one decides.
        const other = tile.spec.options.with;
        if (how && other) shown[other] ??= {};
        if (how && (shown[tile.spec.name]?.size ?? 0) <= (/** @type {any} */ (how).size ?? 0)) shown[tile.spec.name] = how;
      }
      this.live.show(shown);
    }, 50);
  }

  // what people see of the whole

  tick() {
    const now = performance.now();
    for (const tile of this.wall.tiles) tile.tick(now);
    this.tell();
  }

  tell() {
    const {state, since, because} = this.live;
    const pill = find('connection');
    const away_s = (Date.now() - since) / 1e3;
    const texts = {connecting: 'connecting', here: 'connected', away: `away for ${formatAge(away_s)}`, refused: because};
    write(pill, texts[state]);
    pill.className = `pill ${state === 'refused' ? 'bad' : state}`;
    pill.title = because;
    // Of a run that reaches over all of it, and not over its last interval.
    const weight = (/** @type {any} */ one) => (one ? one.run * 1e15 + one.events.expected : -1);
    const newest = [...this.results.values()].reduce((best, one) => (weight(one) > weight(best) ? one : best), /** @type {any} */ (null));
    const published = Object.keys(this.catalogue).length;
    const hidden = published - new Set(this.wall.tiles.map((tile) => tile.spec.name)).size;
    write(find('summary'), newest ? [
      `run ${newest.run}`, `${formatNumber(newest.events.expected)} events`, `graph ${newest.graph_version}`,
      `${published} results${hidden > 0 ? `, ${hidden} of them not on the page` : ''}`,
      ...(this.layoutName ? [`layout ${this.layoutName}`] : []),
    ].join(' · ') : '');
    document.title = state === 'here' ? 'ami' : `ami: ${state}`;
  }

  // layouts

  /** @param {string} name of a layout; "": what this browser kept, else as it comes */
  async open(name) {
    this.layoutName = name;
    /** @type {import('./arrange.js').Spec[]} */
    let specs = [];
    let automatic = true;
    try {
      const kept = name ? await ask(`layouts/${encodeURIComponent(name)}`) : JSON.parse(localStorage.getItem(KEPT) ?? 'null');
      specs = readLayout(kept);
      automatic = !specs.length || Boolean(kept.automatic);
    } catch (error) {
      this.panels.open('layouts', String(/** @type {Error} */ (error).message));
    }
    this.wall.fill(specs, automatic);
    const names = Object.keys(this.catalogue);
    if (names.length) this.wall.follow(names);
    for (const result of this.results.values()) this.take([result]);
    this.drawSoon();
  }

  /** A layout of its own is this browser's, until somebody gives it a name; so is how each tile shows its result. */
  keep() {
    localStorage.setItem(KEPT, JSON.stringify({...this.wall.layout(), automatic: this.wall.isAutomatic}));
  }

  /** Show what is published, as it comes. */
  async arrange() {
    localStorage.removeItem(KEPT);
    history.replaceState(null, '', location.pathname);
    await this.open('');
  }

  // keys

  /** @param {KeyboardEvent} event */
  pressKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || (/** @type {Element} */ (event.target)).matches('input, select, textarea')) return;
    if (event.key === '?') this.help();
    else if (event.key === 't') this.turn();
    else if (event.key === 'f') void (document.fullscreenElement ? document.exitFullscreen() : document.documentElement.requestFullscreen());
    else if (event.key === 'Escape') this.panels.close();
    else if (!this.panels.press(event.key)) return;
    event.preventDefault();
  }

  help() {
    const dialog = /** @type {HTMLDialogElement} */ (find('help'));
    const keys = [
      ['Tab', 'from tile to tile, and into its picture and buttons'], ['arrows', 'in a picture: move the crosshair, or the region; Shift: ten at once'],
      ['+ − 0', 'in a picture: nearer, farther, all'], ['wheel', 'zooms in a picture that has the focus, or with Ctrl; Shift and Alt: one axis'],
      ['p', 'pause the tile'], ['Delete', 'take the tile off'], ['Alt ← →', 'move the tile'], ['Alt Shift arrows', 'make it larger or smaller'],
      ...this.panels.keys(), ['t', 'dark or light'], ['f', 'the whole screen'], ['Esc', 'close the panel'], ['?', 'this list'],
    ];
    const list = keys.flatMap(([key, text]) => [element('dt', {text: key}), element('dd', {text})]);
    dialog.replaceChildren(element('h2', {text: 'Keys'}), element('dl', {}, ...list),
      element('form', {method: 'dialog'}, element('button', {text: 'Close'})));
    if (!dialog.open) dialog.showModal();
  }
}

void new Page().start();
