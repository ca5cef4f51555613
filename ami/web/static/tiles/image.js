/** Show an image or a histogram of two axes: colours, levels, zoom, the value of a pixel, regions. @module */

import {ask, resultPath} from '../api.js';
import {colourAt, countCodes, MAP_NAMES, makeTable, percentile, SCALES} from '../colours.js';
import {alike, axisOf} from '../describe.js';
import {button, choice, element, fitCanvas, inks, strokeSeen, write} from '../dom.js';
import {attachGestures} from '../gestures.js';
import {codeValues, toPicture} from '../protocol.js';
import {fitBox, keepWithin, Raster} from '../raster.js';
import {Regions} from '../regions.js';
import {formatNumber, label, makeScale, makeTicks, pan, zoom} from '../scales.js';

/** @typedef {import('../scales.js').Span} Span */
const EXACT_AFTER_MS = 250;
const EXACT_EACH_MS = 1_000; // while new pictures come: each costs the daemon a whole image
const MARK = 0xffff00ff;
const SIZES = [256, 512, 1024];
const MARKS = ['nothing', 'no value', 'saturated', 'both'];

export class ImageView {
  /** @param {import('../tile.js').Tile} tile */
  constructor(tile) {
    this.tile = tile;
    /** @type {Record<string, any>} */
    this.options = Object.assign(tile.spec.options, {
      map: 'viridis', scale: 'linear', pool: 'mean', levels: '99.8 %', low: 0, high: 1, marks: MARKS[0], ...tile.spec.options});
    this.raster = new Raster();
    this.canvas = element('canvas');
    this.above = element('canvas', {class: 'above'});
    this.readout = element('output', {class: 'readout', 'aria-live': 'off'});
    this.element = element('div', {class: 'view', tabindex: 0, role: 'application',
      'aria-label': `${tile.spec.name}: arrow keys move the crosshair, + and - zoom, 0 shows all`}, this.canvas, this.above, this.readout);
    /** What people chose, in pixels of the image; null: all. @type {{x: Span, y: Span}|null} */
    this.chosen = null;
    /** @type {[number, number]|null} column and row */
    this.mark = null;
    this.exact = {place: '', text: '', interval: 0};
    this.box = {left: 0, top: 0, width: 1, height: 1};
    /** @type {{x: Span, y: Span}} */
    this.whole = {x: [0, 1], y: [0, 1]};
    /** @type {import('../protocol.js').Result|null} */
    this.result = null;
    /** @type {import('../protocol.js').Part} */
    this.part = {name: '', unit: '', axes: []};
    this.codes = new Uint8Array(0);
    this.values = new Float64Array(256);
    /** @type {import('../protocol.js').Picture} */
    this.picture = {whole: [0, 0], step: [1, 1], pool: 'mean', scale: 'linear', low: 0, high: 0, soft: 0};
    /** @type {(import('../protocol.js').Axis|undefined)[]} */
    this.axes = [];
    this.across = false;
    this.asking = 0;
    this.which = element('span');
    this.slider = element('input', {type: 'range', min: 0, 'aria-label': `${tile.spec.name}: which image`, oninput: () => this.choose()});
    this.below = element('div', {class: 'below', hidden: true}, this.slider, this.which);
    this.regions = new Regions(this);
    this.listen();
    new ResizeObserver(() => { this.draw(); tile.context.shows(); }).observe(this.element);
  }

  /** What the daemon is asked for: as many pixels as are seen, and codes where the colours tell values apart. */
  wants() {
    const shown = this.chosen ?? this.whole;
    const zoomed = (this.whole.x[1] - this.whole.x[0]) / (shown.x[1] - shown.x[0]);
    const wanted = Math.max(this.box.width, this.box.height) * (window.devicePixelRatio || 1) * zoomed * 0.75;
    const {pool, scale, key} = this.options;
    const size = SIZES.find((one) => one >= wanted) ?? 1024;
    return {size, pool, scale: scale === 'linear' ? 'linear' : 'asinh', ...(key === undefined ? {} : {key})};
  }

  /** @param {import('../protocol.js').Result} result */
  set(result) {
    const part = alike(result).find((one) => one.name === this.options.part) ?? result.parts[0];
    if (!part?.data || part.shape?.length !== 2) return;
    const {codes, picture} = part.picture ? {codes: /** @type {Uint8Array} */ (part.data), picture: part.picture} : toPicture(part.data, part.shape);
    const axes = [0, 1].map((number) => axisOf(result, part, number));
    this.across = Boolean(axes[0]?.edges && axes[1]?.edges);
    const [rows, columns] = picture.whole;
    this.whole = this.across ? {x: [0, rows], y: [0, columns]} : {x: [0, columns], y: [0, rows]};
    Object.assign(this, {result, part, codes, picture, values: codeValues(picture), axes});
    this.tellStack();
    this.readout.setAttribute('aria-live', 'off');
    if (this.mark && !this.asking) this.asking = window.setTimeout(() => this.askExact(), EXACT_EACH_MS);
    this.paint();
  }

  /** Which image of a scan of images is shown. */
  tellStack() {
    const {stack} = this.part;
    this.below.hidden = !stack;
    if (!stack) return;
    const axis = this.result?.axes.find(({name}) => name === stack.axis);
    this.keys = axis?.data;
    this.slider.max = String(stack.of - 1);
    if (document.activeElement !== this.slider) this.slider.value = String(stack.at);
    const key = axis ? `${axis.name} ${formatNumber(axis.data[stack.at], 4)} ${axis.unit}` : 'image';
    write(this.which, `${key.trim()} (${stack.at + 1} of ${stack.of})`);
    this.slider.setAttribute('aria-valuetext', this.which.textContent);
  }

  /** By key, and not by place: keys that come later lie between. */
  choose() {
    const at = Number(this.slider.value);
    this.options.key = this.keys?.[at] ?? at;
    this.tile.context.changed();
    this.tile.context.shows();
  }

  paint() {
    if (!this.codes.length) return;
    const [low, high] = this.levels();
    const {map, scale, marks} = this.options;
    const table = makeTable(this.values, {map, scale, low, high});
    if (['no value', 'both'].includes(marks)) table[0] = MARK;
    if (['saturated', 'both'].includes(marks)) this.values.forEach((value, code) => { if (value >= high && high > low) table[code] = MARK; });
    this.raster.paint(this.codes, this.part.shape ?? [0, 0], table, this.across);
    this.draw();
  }

  /** @returns {Span} */
  levels() {
    const {levels, low, high} = this.options;
    if (levels === 'by hand') return [Number(low), Number(high)];
    if (levels === 'all') return [this.picture.low, this.picture.high];
    const counts = countCodes(this.codes);
    const out = (100 - parseFloat(levels)) / 2;
    return [percentile(counts, this.values, out), percentile(counts, this.values, 100 - out)];
  }

  draw() {
    const {context, width, height} = fitCanvas(this.canvas);
    if (!this.codes.length || width < 30 || height < 30) return;
    const em = Number(inks().em);
    const shown = this.chosen ?? this.whole;
    const [xAxis, yAxis] = this.sides();
    const top = em * (yAxis ? 1.3 : 0.5);
    const room = {left: em * 2.6, top, width: width - em * 6.6, height: height - top - em * (xAxis ? 2.4 : 1.3)};
    this.box = fitBox(room, shown, !xAxis && !yAxis);
    const {x, y} = this.scales();
    const [stepDown, stepRight] = this.picture.step;
    const [stepX, stepY] = this.across ? [stepDown, stepRight] : [stepRight, stepDown];
    context.save();
    context.beginPath();
    context.rect(this.box.left, this.box.top, this.box.width, this.box.height);
    context.clip();
    context.imageSmoothingEnabled = false;
    const [left, upper] = [x.to(0), this.across ? y.to(this.raster.height * stepY) : y.to(0)];
    const [right, bottom] = [x.to(this.raster.width * stepX), this.across ? y.to(0) : y.to(this.raster.height * stepY)];
    context.drawImage(this.raster.canvas, left, upper, right - left, bottom - upper);
    context.restore();
    this.drawAxes(context, x, y);
    this.drawBar(context, width - em * 3.3, height);
    this.drawAbove();
  }

  scales() {
    const {left, top, width, height} = this.box;
    const shown = this.chosen ?? this.whole;
    const down = /** @type {Span} */ (this.across ? [top + height, top] : [top, top + height]);
    return {x: makeScale('linear', shown.x, [left, left + width]), y: makeScale('linear', shown.y, down)};
  }

  /**
   * Numbers at the axes, and their names.
   * @param {CanvasRenderingContext2D} context @param {import('../scales.js').Scale} x @param {import('../scales.js').Scale} y
   */
  drawAxes(context, x, y) {
    const {left, top, width, height} = this.box;
    const em = Number(inks().em);
    const shown = this.chosen ?? this.whole;
    const [xAxis, yAxis] = this.sides();
    context.font = inks().font;
    context.fillStyle = inks().faint;
    context.textAlign = 'center';
    context.textBaseline = 'top';
    for (const {at, text} of axisTicks(xAxis, shown.x, width / (em * 4))) context.fillText(text, x.to(at), top + height + em * 0.25);
    if (xAxis) context.fillText(label(xAxis.name, xAxis.unit), left + width / 2, top + height + em * 1.35);
    context.textAlign = 'right';
    context.textBaseline = 'middle';
    for (const {at, text} of axisTicks(yAxis, shown.y, height / (em * 1.8))) context.fillText(text, left - em * 0.3, y.to(at));
    context.textAlign = 'left';
    if (yAxis) context.fillText(label(yAxis.name, yAxis.unit), left, top - em * 0.65);
  }

  /** The axes to the right and up or down. */
  sides() {
    return this.across ? this.axes : [this.axes[1], this.axes[0]];
  }

  /** @param {CanvasRenderingContext2D} context @param {number} left @param {number} room from top to bottom */
  drawBar(context, left, room) {
    const em = Number(inks().em);
    const [top, height] = [em * 0.9, Math.max(10, room - em * 3.6)];
    for (let i = 0; i < height; i++) {
      context.fillStyle = `rgb(${colourAt(this.options.map, 1 - i / height).join(' ')})`;
      context.fillRect(left, top + i, em * 0.6, 1.5);
    }
    const [low, high] = this.levels();
    context.fillStyle = inks().faint;
    context.textAlign = 'right';
    context.textBaseline = 'alphabetic';
    context.fillText(formatNumber(high, 3), left + em * 3.2, top - em * 0.2);
    context.fillText(formatNumber(low, 3), left + em * 3.2, top + height + em * 0.9);
    if (this.part.unit) context.fillText(this.part.unit, left + em * 3.2, top + height + em * 1.9);
  }

  listen() {
    const choose = (/** @type {(span: Span, axis: number) => Span} */ change) => {
      const {x, y} = this.chosen ?? this.whole;
      this.chosen = {x: keepWithin(change(x, 0), this.whole.x), y: keepWithin(change(y, 1), this.whole.y)};
      this.draw();
      this.tile.context.shows();
    };
    attachGestures(this.element, {
      zoom: (factor, x, y) => choose((span, axis) => zoom('linear', span, factor, [x, this.across ? 1 - y : y][axis])),
      pan: (x, y) => { if (this.chosen) choose((span, axis) => pan('linear', span, [x, this.across ? -y : y][axis])); },
      reset: () => {
        choose((_, axis) => [this.whole.x, this.whole.y][axis]);
        this.chosen = null;
      },
      point: (x, y) => this.point(...this.toPixel(x, y)),
      step: (columns, rows) => {
        if (this.regions.step(columns, rows)) return;
        this.readout.setAttribute('aria-live', 'polite');
        const [column, row] = this.mark ?? [(this.whole.x[1] >> 1), (this.whole.y[1] >> 1)];
        this.point(column + columns, row + (this.across ? -rows : rows));
      },
      leave: () => this.point(NaN, NaN),
      drag: (phase, x, y) => this.regions.drag(phase, ...this.toPixel(x, y)),
    }, () => this.box);
  }

  /** @param {number} x @param {number} y shares of the box @returns {[number, number]} */
  toPixel(x, y) {
    const shown = this.chosen ?? this.whole;
    const up = this.across ? 1 - y : y;
    return [shown.x[0] + x * (shown.x[1] - shown.x[0]), shown.y[0] + up * (shown.y[1] - shown.y[0])];
  }

  /** @param {number} column @param {number} row */
  point(column, row) {
    const [x, y] = [Math.floor(column), Math.floor(row)];
    this.mark = x >= 0 && y >= 0 && x < this.whole.x[1] && y < this.whole.y[1] ? [x, y] : null;
    clearTimeout(this.asking);
    this.asking = window.setTimeout(() => this.askExact(), EXACT_AFTER_MS);
    this.drawAbove();
  }

  /** The code tells a value to a part in 254; what it is exactly, the daemon knows. */
  async askExact() {
    // What is paused is of a moment that the daemon no longer has.
    this.asking = 0;
    if (!this.mark || this.tile.paused || !this.result) return;
    const [row, column] = this.across ? this.mark : [this.mark[1], this.mark[0]];
    const place = String(this.mark);
    const {stack, name} = this.part;
    const key = stack ? {key: String(this.keys?.[stack.at] ?? stack.at)} : {};
    const wanted = new URLSearchParams({row: String(row), column: String(column), part: name, ...key});
    const told = await ask(resultPath(this.tile.spec.name, `pixel?${wanted}`)).catch(() => null);
    if (!told || String(this.mark) !== place) return;
    this.exact = {place, text: `${formatNumber(told.value, 7)} ${told.unit ?? ''}`.trim(), interval: told.interval};
    this.drawAbove();
  }

  drawAbove() {
    const {context} = fitCanvas(this.above);
    if (!this.codes.length) return;
    const {x, y} = this.scales();
    this.regions.draw(context, x, y, this.box);
    if (!this.mark) {
      write(this.readout, '');
      return;
    }
    const [column, row] = this.mark;
    const {left, top, width, height} = this.box;
    context.beginPath();
    const [atX, atY] = [x.to(column + 0.5), y.to(row + 0.5)];
    if (atX >= left && atX <= left + width) context.moveTo(atX, top), context.lineTo(atX, top + height);
    if (atY >= top && atY <= top + height) context.moveTo(left, atY), context.lineTo(left + width, atY);
    strokeSeen(context, 'rgb(255 255 255 / 85%)', 1);
    write(this.readout, this.read(column, row));
  }

  /** @param {number} x @param {number} y of the pixel */
  read(x, y) {
    const [row, column] = this.across ? [x, y] : [y, x];
    const [rowStep, columnStep] = this.picture.step;
    const code = this.codes[Math.floor(row / rowStep) * (this.part.shape?.[1] ?? 0) + Math.floor(column / columnStep)];
    const exact = this.exact.place === String(this.mark);
    // The daemon has the newest picture only, which is not always the one that is seen.
    const of = this.exact.interval === this.result?.interval ? '' : ` (interval ${this.exact.interval})`;
    const value = exact ? this.exact.text + of : `≈ ${formatNumber(this.values[code], 4)} ${this.part.unit}`;
    const places = [row, column].map((place, number) => {
      const axis = this.axes[number];
      if (!axis) return `${['row', 'column'][number]} ${place}`;
      return `${axis.name} ${formatNumber(axis.edges ? valueAt(axis.data, place + 0.5) : axis.data[place], 4)}`;
    });
    return `${places.join(', ')}: ${value}`;
  }

  settings() {
    const set = (/** @type {string} */ name) => this.tile.keeps(name);
    const inputs = ['low', 'high'].map((end) => element('input', {type: 'number', step: 'any', 'aria-label': end, value: this.options[end],
      onchange: (/** @type {any} */ event) => set(end)(Number(event.target.value))}));
    const by = element('span', {class: 'levels', hidden: this.options.levels !== 'by hand'}, ...inputs);
    const take = (/** @type {string} */ value) => {
      if (value === 'by hand' && this.codes.length) {
        [this.options.low, this.options.high] = this.levels();
        [inputs[0].value, inputs[1].value] = this.levels().map((level) => Number(level.toPrecision(5)));
      }
      set('levels')(value);
      by.hidden = value !== 'by hand';
    };
    const parts = this.result ? alike(this.result).map((part) => part.name) : [];
    return [
      parts.length > 1 ? choice('shows', parts, this.part.name, set('part')) : null,
      choice('colours', MAP_NAMES, this.options.map, set('map')),
      choice('scale', SCALES, this.options.scale, set('scale')),
      choice('levels', ['all', '99.8 %', '99 %', '95 %', 'by hand'], this.options.levels, take),
      by,
      choice('pixels together', ['mean', 'max'], this.options.pool, set('pool')),
      choice('marks', MARKS, this.options.marks, set('marks')),
    ];
  }

  actions() {
    return [button('▭', 'Draw a region, whose sum becomes a result, or take one by its edge', () => this.regions.begin(), {class: 'region'})];
  }

  /** The numbers themselves, which codes are not. */
  async rows() {
    const told = await ask(resultPath(this.tile.spec.name));
    const value = told.value.mean ?? told.value.counts ?? told.value;
    return {columns: value[0].map((/** @type {any} */ _, /** @type {number} */ i) => `column ${i}`), rows: value};
  }
}

/** The value of edges at a place between them. @param {ArrayLike<number>} edges @param {number} at */
function valueAt(edges, at) {
  const left = Math.min(Math.max(0, Math.floor(at)), edges.length - 2);
  return edges[left] + (edges[left + 1] - edges[left]) * (at - left);
}

/**
 * Ticks of an axis: of bins round values between their edges, of points some of them, of neither pixels.
 * @param {import('../protocol.js').Axis|undefined} axis @param {Span} span pixels that are shown @param {number} count
 * @returns {{at: number, text: string}[]}
 */
function axisTicks(axis, span, count) {
  if (axis?.edges) {
    const {data} = axis;
    const [first, last] = [data[0], data[data.length - 1]];
    const values = /** @type {Span} */ (span.map((at) => valueAt(data, at)));
    return makeTicks('linear', values, count).map(({value, text}) => ({at: ((value - first) / (last - first)) * (data.length - 1), text}));
  }
  const ticks = makeTicks('linear', span, count).filter(({value}) => !axis || Number.isInteger(value) && value < axis.data.length);
  return ticks.map(({value, text}) => (axis ? {at: value + 0.5, text: formatNumber(axis.data[value], 3)} : {at: value, text}));
}
