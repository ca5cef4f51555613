/** Regions that people draw on an image: when one rests, its sum is a definition of the graph. @module */

import {edit} from './api.js';
import {findRegions, freeName, imageSource, writeRegion} from './definitions.js';
import {button, element, inks, strokeSeen, write} from './dom.js';

const REST_MS = 700;
const HANDLE_PX = 10;

/** @typedef {import('./definitions.js').Region} Region */

export class Regions {
  /** @param {import('./tiles/image.js').ImageView} view */
  constructor(view) {
    this.view = view;
    this.waiting = false;
    /** The one that is drawn or moved. @type {(Region & {name: string})|null} */
    this.chosen = null;
    /** What a drag does: which of the four sides it moves. @type {{x: number, y: number, sides: string}|null} */
    this.grip = null;
    this.name = element('input', {'aria-label': 'name of the region', size: 10, spellcheck: 'false', onchange: () => this.rename()});
    this.yaml = element('code');
    this.python = element('code');
    this.answer = element('p', {role: 'status'});
    this.box = element('div', {class: 'region-box', hidden: true}, element('p', {}, this.name, button('Done', 'Leave this region as it is', () => this.end())),
      this.yaml, this.python, this.answer);
    view.element.append(this.box);
    for (const kind of ['pointerdown', 'keydown', 'dblclick']) this.box.addEventListener(kind, (/** @type {Event} */ event) => event.stopPropagation());
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
    this.wait(!this.waiting);
    this.view.element.focus();
  }

  /** @param {boolean} waiting for what is drawn, or taken, next */
  wait(waiting) {
    this.waiting = waiting;
    this.view.element.classList.toggle('drawing', waiting);
  }

  end() {
    clearTimeout(this.timer);
    this.chosen = null;
    this.box.hidden = true;
    this.view.drawAbove();
  }

  /** @param {'down'|'move'|'up'} phase @param {number} column @param {number} row */
  drag(phase, column, row) {
    if (phase === 'down') return this.take(column, row);
    if (!this.grip || !this.chosen) return false;
    const [dx, dy] = [Math.round(column - this.grip.x), Math.round(row - this.grip.y)];
    if (dx || dy) {
      this.change(this.grip.sides, dx, dy);
      this.grip.x += dx;
      this.grip.y += dy;
    }
    if (phase === 'up') this.grip = null;
    return true;
  }

  /**
   * Only what was asked for: who moves the image shall not move a region that happens to be there.
   * @param {number} column @param {number} row
   */
  take(column, row) {
    const shown = this.view.chosen ?? this.view.whole;
    const reach = (HANDLE_PX * (shown.x[1] - shown.x[0])) / this.view.box.width;
    if (this.waiting) {
      this.wait(false);
      const there = findRegions(this.definitions(), this.source()).find((one) => one.isSum && !['', 'all'].includes(sidesAt(one, column, row, reach)));
      if (there) this.choose(there);
      else return this.draft(column, row);
    }
    const sides = this.chosen && sidesAt(this.chosen, column, row, reach);
    if (!sides) return false;
    this.grip = {x: column, y: row, sides};
    return true;
  }

  /** Begin a new one at a place. @param {number} column @param {number} row */
  draft(column, row) {
    const [x, y] = [Math.floor(column), Math.floor(row)];
    const definitions = this.definitions();
    const name = freeName('spot', (one) => one in definitions || `${one}_now` in definitions);
    this.choose({name, rows: [y, y + 1], columns: [x, x + 1]});
    this.grip = {x: column, y: row, sides: 'right bottom'};
    return true;
  }

  /** @param {Region & {name: string}} region */
  choose(region) {
    this.chosen = {name: region.name, rows: [...region.rows], columns: [...region.columns]};
    this.name.value = region.name;
    this.box.hidden = false;
    this.spell();
  }

  /** @param {string} sides @param {number} dx @param {number} dy */
  change(sides, dx, dy) {
    const region = /** @type {Region} */ (this.chosen);
    const [height, width] = this.view.picture.whole;
    const {rows, columns} = region;
    if (sides === 'all') {
      slide(columns, dx, width);
      slide(rows, dy, height);
    } else {
      if (sides.includes('left')) columns[0] = Math.min(columns[1] - 1, Math.max(0, columns[0] + dx));
      if (sides.includes('right')) columns[1] = Math.max(columns[0] + 1, Math.min(width, columns[1] + dx));
      if (sides.includes('top')) rows[0] = Math.min(rows[1] - 1, Math.max(0, rows[0] + dy));
      if (sides.includes('bottom')) rows[1] = Math.max(rows[0] + 1, Math.min(height, rows[1] + dy));
    }
    this.rest();
    this.view.drawAbove();
  }

  /** Arrow keys move the region that is chosen. @param {number} columns @param {number} rows */
  step(columns, rows) {
    if (!this.chosen) return false;
    this.change('all', columns, rows);
    return true;
  }

  rename() {
    if (!this.chosen || !/^[A-Za-z_]\w*$/.test(this.name.value)) return;
    this.chosen.name = this.name.value;
    this.rest();
  }

  spell() {
    if (!this.chosen) return;
    const {yaml, python} = writeRegion(this.chosen.name, this.source(), this.chosen);
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
    if (!this.chosen || this.grip) return this.chosen ? this.rest() : undefined;
    const {text} = writeRegion(this.chosen.name, this.source(), this.chosen);
    try {
      const answer = await edit({action: 'replace', text});
      write(this.answer, `graph version ${answer.version}${answer.warnings?.length ? `: ${answer.warnings.join('; ')}` : ''}`);
      this.answer.classList.remove('denied');
    } catch (error) {
      write(this.answer, String(/** @type {Error} */ (error).message));
      this.answer.classList.add('denied');
    }
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
      const [left, top] = [x.to(region.columns[0]), y.to(region.rows[0])];
      const [width, height] = [x.to(region.columns[1]) - left, y.to(region.rows[1]) - top];
      const colour = mine ? '#ffd54a' : 'rgb(255 255 255 / 85%)';
      context.beginPath();
      context.rect(left, top, width, height);
      strokeSeen(context, colour, mine ? 1.75 : 1);
      context.fillStyle = colour;
      context.fillText(region.name, left + 2, top - 2);
      if (mine) for (const [dx, dy] of [[0, 0], [width, 0], [0, height], [width, height]]) context.fillRect(left + dx - 3, top + dy - 3, 6, 6);
    }
    context.restore();
  }
}

/**
 * Which sides of a region are at a place: near a corner or an edge these, within it all.
 * @param {Region} region @param {number} x @param {number} y @param {number} reach
 */
export function sidesAt({rows, columns}, x, y, reach) {
  if (x < columns[0] - reach || x > columns[1] + reach || y < rows[0] - reach || y > rows[1] + reach) return '';
  const near = [
    [columns[0], x, 'left'], [columns[1], x, 'right'], [rows[0], y, 'top'], [rows[1], y, 'bottom'],
  ].filter(([side, at]) => Math.abs(Number(side) - Number(at)) <= Math.min(reach, 0.3 * Math.min(columns[1] - columns[0], rows[1] - rows[0]) + reach / 3));
  return near.map(([, , name]) => name).join(' ') || 'all';
}

/** @param {[number, number]} span @param {number} by @param {number} most */
function slide(span, by, most) {
  const shift = Math.min(most - span[1], Math.max(-span[0], by));
  span[0] += shift;
  span[1] += shift;
}
