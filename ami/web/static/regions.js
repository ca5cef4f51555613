/** Regions that people draw on an image: when one rests, what lies in it is a definition of the graph. @module */

import {edit} from './api.js';
import {findRegions, freeName, imageSource, writeRegion} from './definitions.js';
import {button, choice, element, fitCanvas, inks, strokeSeen, write} from './dom.js';
import {answer} from './panels.js';
import {formatNumber} from './scales.js';
import {beginRegion, gripAt, handlesOf, moveRegion, previewOf, SHAPES} from './shapes.js';

const REST_MS = 700;
const HANDLE_PX = 10;

/** @typedef {import('./definitions.js').Region} Region */

export class Regions {
  /** @param {import('./tiles/image.js').ImageView} view */
  constructor(view) {
    this.view = view;
    this.waiting = this.moved = this.busy = false;
    this.shape = 'rectangle';
    /** The one that is drawn or moved. @type {(Region & {name: string})|null} */
    this.chosen = null;
    /** What a drag moves, and where it is. @type {{x: number, y: number, grip: string}|null} */
    this.grip = null;
    this.shapes = choice('shape', Object.keys(SHAPES), this.shape, (shape) => { this.shape = shape; });
    this.name = element('input', {'aria-label': 'name of the region', size: 10, spellcheck: 'false', onchange: () => this.rename()});
    this.text = element('input', {'aria-label': 'what is computed', spellcheck: 'false', onchange: () => this.read()});
    this.named = element('span', {}, this.name, this.text);
    this.preview = element('canvas', {class: 'preview', 'aria-label': 'of the newest image', role: 'img'});
    this.about = element('output', {class: 'owner'});
    this.yaml = element('code');
    this.python = element('code');
    this.answer = element('p', {role: 'status'});
    this.box = element('div', {class: 'region-box', hidden: true},
      element('p', {}, this.shapes, this.named, button('Done', 'Leave this region as it is', () => this.end())),
      this.preview, this.yaml, this.python, this.about, this.answer);
    view.element.append(this.box);
    const stop = (/** @type {Event} */ event) => event.stopPropagation();
    for (const kind of ['pointerdown', 'keydown', 'dblclick', 'wheel']) this.box.addEventListener(kind, stop);
    view.element.addEventListener('keydown', (event) => { if (event.key === 'Enter' && this.waiting) this.place(); });
  }

  definitions() {
    return this.view.tile.context.graph()?.definitions ?? {};
  }

  source() {
    return imageSource(this.definitions()[this.view.tile.spec.name]?.text ?? '');
  }

  begin() {
    if (this.view.axes.some(Boolean) || !/^(\w+|`[^`]+`)$/.test(this.source())) {
      this.view.tile.note('a region needs an image that one name stands for: give its expression a name first');
      return;
    }
    if (this.chosen) this.end();
    this.wait(!this.waiting);
    this.view.element.focus();
  }

  /** @param {boolean} waiting for what is drawn, or taken, next */
  wait(waiting) {
    this.waiting = waiting;
    this.view.element.classList.toggle('drawing', waiting);
    this.box.hidden = !waiting && !this.chosen;
    this.shapes.hidden = !waiting;
    this.named.hidden = this.preview.hidden = waiting;
    for (const part of [this.yaml, this.python, this.about]) write(part, '');
    write(this.answer, waiting ? 'draw it in the image, or Enter at the crosshair; the edge of one that is there takes that' : '');
  }

  end() {
    clearTimeout(this.timer);
    this.chosen = this.grip = null;
    this.wait(false);
    this.view.drawAbove();
  }

  /** @param {'down'|'move'|'up'} phase @param {number} x @param {number} y of the image */
  drag(phase, x, y) {
    if (phase === 'down') return this.take(x, y);
    if (!this.grip || !this.chosen) return false;
    const by = /** @type {[number, number]} */ ([Math.round(x - this.grip.x), Math.round(y - this.grip.y)]);
    if (by[0] || by[1]) {
      this.change(this.grip.grip, [x, y], by);
      this.grip.x += by[0];
      this.grip.y += by[1];
    }
    if (phase !== 'up') return true;
    this.grip = null;
    if (this.moved) return true;
    this.end();
    this.view.tile.note('a region has a size: press where it begins, and let go where it ends');
    return true;
  }

  /**
   * Only what was asked for: who moves the image shall not move a region that happens to be there.
   * @param {number} x @param {number} y
   */
  take(x, y) {
    const shown = this.view.chosen ?? this.view.whole;
    const reach = (HANDLE_PX * (shown.x[1] - shown.x[0])) / this.view.box.width;
    if (this.waiting) {
      const there = findRegions(this.definitions(), this.source()).find((one) => one.isWhole && !['', 'all'].includes(gripAt(one, x, y, reach)));
      if (there) this.choose(there);
      else {
        const {region, grip} = beginRegion(this.shape, x, y);
        this.choose({...region, name: this.freeName()});
        this.grip = {x, y, grip};
        this.moved = false;
        return true;
      }
    }
    const grip = this.chosen && gripAt(this.chosen, x, y, reach);
    if (!grip) return false;
    this.grip = {x, y, grip};
    return this.moved = true;
  }

  freeName() {
    const definitions = this.definitions();
    return freeName(SHAPES[this.shape], (one) => one in definitions || `${one}_now` in definitions);
  }

  /** Without a pointer: one at the crosshair, of a quarter of the image. */
  place() {
    const [height, width] = this.view.picture.whole;
    const [x, y] = this.view.mark ?? [width >> 1, height >> 1];
    const {region, grip} = beginRegion(this.shape, x, y);
    this.choose({...region, name: this.freeName()});
    this.change(grip, [x + width / 4, y + height / 4], [width >> 2, height >> 2]);
  }

  /** @param {Region & {name: string}} region */
  choose({name, ...region}) {
    this.chosen = {...structuredClone(region), name};
    this.wait(false);
    this.name.value = name;
    this.spell();
  }

  /** @param {string} grip @param {[number, number]} to @param {[number, number]} by */
  change(grip, to, by) {
    moveRegion(/** @type {Region} */ (this.chosen), grip, to, by, /** @type {[number, number]} */ (this.view.picture.whole));
    this.moved = true;
    this.rest();
    this.view.drawAbove();
  }

  /** Arrow keys move the region that is chosen. @param {number} columns @param {number} rows */
  step(columns, rows) {
    if (!this.chosen) return false;
    this.change('all', [0, 0], [columns, rows]);
    return true;
  }

  rename() {
    if (!this.chosen) return;
    if (!/^[A-Za-z_]\w*$/.test(this.name.value)) return void write(this.answer, 'a name has letters, digits and _, and begins with no digit');
    this.chosen.name = this.name.value;
    this.rest();
  }

  /** Numbers that somebody typed. */
  read() {
    const [region] = findRegions({[this.name.value]: {text: this.text.value}}, this.source());
    if (!this.chosen || !region?.isWhole) {
      write(this.answer, `a region of ${this.source()} is wanted, written as below`);
      return;
    }
    this.chosen = region;
    this.rest();
    this.view.drawAbove();
  }

  spell() {
    if (!this.chosen) return;
    const {definition, yaml, python} = writeRegion(this.chosen.name, this.source(), this.chosen);
    this.text.value = definition;
    write(this.yaml, yaml);
    write(this.python, python);
    write(this.answer, '');
  }

  rest() {
    this.spell();
    write(this.answer, '…');
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.send(), REST_MS);
  }

  async send() {
    if (!this.chosen) return;
    // One after the other: of two that are under way the older one might come last.
    if (this.grip || this.busy) return void this.rest();
    const {text} = writeRegion(this.chosen.name, this.source(), this.chosen);
    this.busy = true;
    await answer(this.answer, edit({action: 'replace', text}), ({version, warnings = []}) => [`graph version ${version}`, ...warnings].join('; '));
    this.busy = false;
  }

  /**
   * @param {CanvasRenderingContext2D} context @param {import('./scales.js').Scale} x @param {import('./scales.js').Scale} y
   * @param {{left: number, top: number, width: number, height: number}} box
   */
  draw(context, x, y, box) {
    if (this.view.across) return;
    const others = findRegions(this.definitions(), this.source()).filter((one) => one.name !== this.chosen?.name);
    context.save();
    context.beginPath();
    context.rect(box.left, box.top, box.width, box.height);
    context.clip();
    context.font = inks().font;
    context.textBaseline = 'bottom';
    context.textAlign = 'left';
    for (const region of this.chosen ? [...others, this.chosen] : others) {
      const mine = region === this.chosen;
      context.beginPath();
      outline(context, region, x, y);
      context.fillStyle = mine ? '#ffd54a' : 'rgb(255 255 255 / 85%)';
      strokeSeen(context, context.fillStyle, mine ? 1.75 : 1);
      const handles = Object.values(handlesOf(region));
      context.fillText(region.name, x.to(handles[0][0]) + 2, y.to(handles[0][1]) - 2);
      if (mine) for (const [column, row] of handles) context.fillRect(x.to(column) - 3, y.to(row) - 3, 6, 6);
    }
    context.restore();
    this.drawPreview();
  }

  /** What comes of it in the newest image, as far as the codes tell. */
  drawPreview() {
    if (!this.chosen) return;
    const {codes, values, picture, part} = this.view;
    const [down, right] = picture.step;
    const columns = part.shape?.[1] ?? 0;
    const valueAt = (/** @type {number} */ row, /** @type {number} */ column) => values[codes[Math.floor(row / down) * columns + Math.floor(column / right)]];
    const found = previewOf(this.chosen, valueAt, /** @type {[number, number]} */ (picture.whole), [down, right]);
    const real = found.filter(Number.isFinite);
    const [low, high] = [Math.min(...real), Math.max(...real)];
    const said = found.length === 1 ? formatNumber(found[0], 4) : `${found.length} numbers, ${formatNumber(low, 3)} to ${formatNumber(high, 3)}`;
    write(this.about, real.length ? `newest image: ≈ ${said} ${part.unit || ''}` : 'no pixel lies there');
    this.preview.hidden = found.length < 2;
    if (this.preview.hidden) return;
    const {context, width, height} = fitCanvas(this.preview);
    context.strokeStyle = inks().accent;
    context.beginPath();
    for (const [n, value] of found.entries()) {
      if (Number.isFinite(value)) context.lineTo((n / (found.length - 1)) * width, height - 2 - ((value - low) / (high - low || 1)) * (height - 4));
    }
    context.stroke();
  }
}

/** @param {CanvasRenderingContext2D} context @param {Region} region @param {import('./scales.js').Scale} x @param {import('./scales.js').Scale} y */
function outline(context, {rows, columns, start, end, width, center, radii, angles}, x, y) {
  if (rows && columns) return context.rect(x.to(columns[0]), y.to(rows[0]), x.to(columns[1]) - x.to(columns[0]), y.to(rows[1]) - y.to(rows[0]));
  if (start && end) {
    const length = Math.hypot(end[0] - start[0], end[1] - start[1]);
    for (const side of Number(width) > 1 ? [-0.5, 0, 0.5] : [0]) {
      const [down, right] = [0.5 + side * Number(width) * (end[1] - start[1]) / length, 0.5 - side * Number(width) * (end[0] - start[0]) / length];
      context.moveTo(x.to(start[1] + right), y.to(start[0] + down));
      context.lineTo(x.to(end[1] + right), y.to(end[0] + down));
    }
    return undefined;
  }
  const [[row, column], [inner, outer]] = [/** @type {number[]} */ (center), /** @type {number[]} */ (radii)];
  const [first, last] = (angles ?? [0, 360]).map((angle) => angle * Math.PI / 180);
  const [left, top] = [x.to(column + 0.5), y.to(row + 0.5)];
  const [wide, high] = [Math.abs(x.to(1) - x.to(0)), Math.abs(y.to(1) - y.to(0))];
  context.ellipse(left, top, outer * wide, outer * high, 0, first, last);
  if (!angles) context.moveTo(left + inner * wide, top);
  context.ellipse(left, top, inner * wide, inner * high, 0, last, first, true);
  if (angles) context.closePath();
  return undefined;
}
