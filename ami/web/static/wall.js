/** All tiles of the page: which there are, in what order and size; people drag them, or move them by keys. @module */

import {COLUMNS, arrange, makeSpec, move, resize, sizeOf, writeLayout} from './arrange.js';
import {kindsOf} from './describe.js';
import {Tile} from './tile.js';

/** @typedef {import('./arrange.js').Spec} Spec */

export class Wall {
  /** @param {HTMLElement} host @param {Omit<import('./tile.js').Context, 'remove'>} context */
  constructor(host, context) {
    this.host = host;
    this.context = {...context, remove: (/** @type {Tile} */ tile) => this.remove(tile)};
    /** @type {Tile[]} */
    this.tiles = [];
    /** Nobody chose: what is published is shown, as it comes and goes. */
    this.isAutomatic = true;
    /** @type {string[]} what is published, in the order of the catalogue */
    this.names = [];
    this.sight = new IntersectionObserver((seen) => this.see(seen), {rootMargin: '200px'});
    host.addEventListener('keydown', (event) => this.pressKey(event));
    host.addEventListener('dragover', (event) => this.dragOver(event));
    host.addEventListener('drop', (event) => event.preventDefault());
    host.addEventListener('pointerdown', (event) => this.beginResize(event));
  }

  /** @param {Spec[]} specs @param {boolean} isAutomatic */
  fill(specs, isAutomatic) {
    for (const tile of this.tiles) this.sight.unobserve(tile.element);
    this.isAutomatic = isAutomatic;
    this.tiles = specs.map((spec) => this.make(spec));
    this.host.replaceChildren(...this.tiles.map((tile) => tile.element));
    this.context.shows();
  }

  /** @param {Spec} spec */
  make(spec) {
    const tile = new Tile(spec, this.context);
    tile.head.addEventListener('dragstart', (/** @type {DragEvent} */ event) => {
      this.dragged = tile;
      event.dataTransfer?.setData('text/plain', spec.name);
    });
    tile.head.addEventListener('dragend', () => {
      if (this.dragged) this.chosen();
      this.dragged = null;
    });
    this.sight.observe(tile.element);
    return tile;
  }

  /** What is published changed: where nobody chose, tiles come and go. @param {string[]} names */
  follow(names) {
    this.names = names;
    for (const tile of this.tiles) tile.publish(names.includes(tile.spec.name));
    if (!this.isAutomatic) return;
    const there = new Map(this.tiles.map((tile) => [tile.spec.name, tile]));
    const wanted = arrange(names, (name) => there.get(name)?.kind ?? '').map(({name}) => name);
    for (const tile of [...this.tiles]) if (!wanted.includes(tile.spec.name)) this.take(tile);
    for (const name of wanted) if (!there.has(name)) this.put(makeSpec(name));
  }

  /** A kind became known: where nobody chose, sizes and order follow. */
  settle() {
    if (!this.isAutomatic) return;
    const tiles = new Map(this.tiles.map((tile) => [tile.spec.name, tile]));
    const specs = arrange(this.names.filter((name) => tiles.has(name)), (name) => tiles.get(name)?.kind ?? '');
    const order = specs.map(({name}) => /** @type {Tile} */ (tiles.get(name)));
    for (const tile of order) {
      [tile.spec.w, tile.spec.h] = sizeOf(tile.kind);
      tile.place();
    }
    if (order.some((tile, i) => tile !== this.tiles[i])) {
      this.tiles = order;
      this.host.append(...order.map((tile) => tile.element));
    }
  }

  /** @param {Spec} spec */
  put(spec) {
    const tile = this.make(spec);
    this.tiles.push(tile);
    this.host.append(tile.element);
    this.context.shows();
    return tile;
  }

  /** Somebody wants to see it. @param {string} name @param {import('./protocol.js').Result} [result] */
  add(name, result) {
    const tile = this.put(makeSpec(name, result ? kindsOf(result)[0] : ''));
    this.chosen();
    tile.element.scrollIntoView({block: 'nearest'});
    tile.element.focus();
  }

  /** @param {Tile} tile */
  take(tile) {
    this.sight.unobserve(tile.element);
    tile.element.remove();
    this.tiles.splice(this.tiles.indexOf(tile), 1);
    this.context.shows();
  }

  /** @param {Tile} tile */
  remove(tile) {
    const next = this.tiles[this.tiles.indexOf(tile) + 1] ?? this.tiles[this.tiles.indexOf(tile) - 1];
    this.take(tile);
    next?.element.focus();
    this.chosen();
  }

  /** From now on the arrangement is somebody's. */
  chosen() {
    this.isAutomatic = false;
    this.context.changed();
  }

  layout() {
    return writeLayout(this.tiles.map((tile) => tile.spec));
  }

  /** @param {IntersectionObserverEntry[]} seen */
  see(seen) {
    const tiles = new Map(this.tiles.map((tile) => [/** @type {Element} */ (tile.element), tile]));
    for (const entry of seen) {
      const tile = tiles.get(entry.target);
      if (tile) tile.inSight = entry.isIntersecting;
    }
    this.context.shows();
  }

  /** @param {EventTarget|null} target */
  tileAt(target) {
    const element = target instanceof Element ? target.closest('.tile') : null;
    return this.tiles.find((tile) => tile.element === element);
  }

  /** @param {DragEvent} event */
  dragOver(event) {
    if (!this.dragged) return;
    event.preventDefault();
    const over = this.tileAt(event.target);
    if (over && over !== this.dragged) this.moveTo(this.dragged, this.tiles.indexOf(over));
  }

  /** @param {Tile} tile @param {number} to */
  moveTo(tile, to) {
    move(this.tiles, tile, to);
    const next = this.tiles[this.tiles.indexOf(tile) + 1];
    this.host.insertBefore(tile.element, next ? next.element : null);
  }

  /** @param {KeyboardEvent} event */
  pressKey(event) {
    const tile = this.tileAt(event.target);
    if (!tile || (/** @type {Element} */ (event.target)).matches('input, select, textarea')) return;
    const {spec} = tile;
    const at = this.tiles.indexOf(tile);
    /** @type {Record<string, () => void>} */
    const moves = {ArrowLeft: () => this.moveTo(tile, at - 1), ArrowRight: () => this.moveTo(tile, at + 1)};
    /** @type {Record<string, () => void>} */
    const sizes = {
      ArrowLeft: () => resize(spec, spec.w - 1, spec.h), ArrowRight: () => resize(spec, spec.w + 1, spec.h),
      ArrowUp: () => resize(spec, spec.w, spec.h - 1), ArrowDown: () => resize(spec, spec.w, spec.h + 1),
    };
    const act = event.altKey ? (event.shiftKey ? sizes : moves)[event.key] : undefined;
    if (act) {
      act();
      tile.place();
      tile.element.focus();
      this.chosen();
      event.preventDefault();
    } else if (event.key === 'p' && !event.ctrlKey && !event.metaKey) tile.togglePause();
    else if (event.key === 'Delete') this.remove(tile);
  }

  /** @param {PointerEvent} event */
  beginResize(event) {
    const corner = /** @type {HTMLElement} */ (event.target);
    const tile = this.tileAt(corner);
    if (!tile || !corner.classList.contains('corner')) return;
    corner.setPointerCapture(event.pointerId);
    const {left, top} = tile.element.getBoundingClientRect();
    const style = getComputedStyle(this.host);
    const [gap, row] = [parseFloat(style.columnGap), parseFloat(style.gridAutoRows)];
    const column = (this.host.clientWidth - parseFloat(style.paddingLeft) * 2 + gap) / COLUMNS;
    const follow = (/** @type {PointerEvent} */ at) => {
      resize(tile.spec, (at.clientX - left + gap) / column, (at.clientY - top + gap) / (row + gap));
      tile.place();
    };
    corner.addEventListener('pointermove', follow);
    corner.addEventListener('lostpointercapture', () => {
      corner.removeEventListener('pointermove', follow);
      this.chosen();
    }, {once: true});
    event.preventDefault();
  }
}
