/** Draw curves over axes on a canvas: lines, steps and points with errors, of which people choose the view. @module */

import {element, fitCanvas, inks, write} from './dom.js';
import {attachGestures} from './gestures.js';
import {formatNumber, formatTime, makeScale, makeTicks, pan, spanOf, zoom} from './scales.js';

/** @typedef {import('./scales.js').Kind} Kind */
/** @typedef {import('./scales.js').Span} Span */
/** @typedef {'line'|'steps'|'points'|'dots'|'reference'|'model'} Style */
/** @typedef {{name: string, x: ArrayLike<number>, y: ArrayLike<number>, error?: ArrayLike<number>, style: Style}} Line */
/** @typedef {{lines: Line[], xKind: Kind, yKind: Kind, xLabel: string, yLabel: string}} Content */

export class Plot {
  /** @param {HTMLElement} host @param {string} name for who does not see it */
  constructor(host, name) {
    this.canvas = element('canvas');
    this.above = element('canvas', {class: 'above'});
    this.readout = element('output', {class: 'readout', 'aria-live': 'off'});
    const label = `${name}: arrow keys move the crosshair, + and - zoom, 0 shows all`;
    this.view = element('div', {class: 'view', tabindex: 0, role: 'application', 'aria-label': label},
      this.canvas, this.above, this.readout);
    host.append(this.view);
    /** @type {Content} */
    this.content = {lines: [], xKind: 'linear', yKind: 'linear', xLabel: '', yLabel: ''};
    /** What people chose; null follows the numbers. @type {{x: Span|null, y: Span|null}} */
    this.chosen = {x: null, y: null};
    this.box = {left: 0, top: 0, width: 1, height: 1};
    /** @type {{x: Span, y: Span}} */
    this.shown = {x: [0, 1], y: [0, 1]};
    this.mark = -1;
    this.listen();
    new ResizeObserver(() => this.draw()).observe(this.view);
  }

  listen() {
    attachGestures(this.view, {
      zoom: (factor, x, y, axes) => {
        const {xKind, yKind} = this.content;
        if (axes.includes('x')) this.chosen.x = zoom(xKind, this.shown.x, factor, x);
        if (axes.includes('y')) this.chosen.y = zoom(yKind, this.shown.y, factor, 1 - y);
        this.draw();
      },
      pan: (x, y) => {
        this.chosen.x = pan(this.content.xKind, this.shown.x, x);
        if (Math.abs(y) > 0) this.chosen.y = pan(this.content.yKind, this.shown.y, -y);
        this.draw();
      },
      reset: () => { this.chosen = {x: null, y: null}; this.draw(); },
      point: (x) => this.point(makeScale(this.content.xKind, this.shown.x, [0, 1]).from(x)),
      step: (columns) => {
        this.readout.setAttribute('aria-live', 'polite'); // what one asks for is told, what comes by itself is not
        const [line] = this.content.lines;
        if (!line) return;
        this.mark = Math.min(line.y.length - 1, Math.max(0, (this.mark < 0 ? line.y.length >> 1 : this.mark) + columns));
        this.drawMark();
      },
      leave: () => { this.mark = -1; this.drawMark(); },
    }, () => this.box);
  }

  /** @param {Content} content */
  set(content) {
    if (content.xKind !== this.content.xKind) this.chosen.x = null;
    if (content.yKind !== this.content.yKind) this.chosen.y = null;
    this.content = content;
    this.readout.setAttribute('aria-live', 'off');
    this.draw();
  }

  draw() {
    const {context, width, height} = fitCanvas(this.canvas);
    if (width < 30 || height < 30) return;
    this.measure(context, width, height);
    const {x, y} = this.scales();
    this.drawAxes(context, x, y);
    context.save();
    context.beginPath();
    context.rect(this.box.left, this.box.top, this.box.width, this.box.height);
    context.clip();
    const colours = this.colours();
    this.content.lines.forEach((line, i) => drawLine(context, line, x, y, colours[i].colour, this.box));
    context.restore();
    if (this.content.lines.length > 1) this.drawLegend(context);
    this.drawMark();
  }

  /**
   * Choose what is shown, and leave as much room as the numbers at the axes need.
   * @param {CanvasRenderingContext2D} context @param {number} width @param {number} height
   */
  measure(context, width, height) {
    const {lines, xKind, yKind, xLabel, yLabel} = this.content;
    const bars = lines.filter((line) => line.error).flatMap(errorEnds);
    this.shown = {
      x: this.chosen.x ?? spanOf(lines.map((line) => line.x), xKind, lines.some((line) => /points|dots/.test(line.style)) ? 0.03 : 0),
      y: this.chosen.y ?? withZero(spanOf([...lines.map((line) => line.y), ...bars], yKind), lines, yKind),
    };
    context.font = inks().font;
    const em = Number(inks().em);
    const ticks = makeTicks(yKind, this.shown.y, height / (em * 1.8));
    const wide = Math.max(...ticks.map((tick) => context.measureText(tick.text).width), em);
    const [left, top] = [Math.ceil(wide + em * 0.6), em * (yLabel || lines.length > 1 ? 1.3 : 0.6)];
    this.box = {left, top, width: width - left - em * 0.6, height: height - top - em * (xLabel ? 2.3 : 1.3)};
  }

  /** Which line is which, from the right. @param {CanvasRenderingContext2D} context */
  drawLegend(context) {
    const {left, top, width} = this.box;
    context.textAlign = 'right';
    context.textBaseline = 'bottom';
    let at = left + width;
    for (const {name, colour} of this.colours().reverse()) {
      context.fillStyle = colour;
      context.fillText(name, at, top);
      at -= context.measureText(`${name}   `).width;
    }
  }

  colours() {
    let number = 0;
    return this.content.lines.map((line) => ({name: line.name, colour: inks()[line.style === 'reference' ? 'reference' : `series-${(number++ % 4) + 1}`]}));
  }

  scales() {
    const {left, top, width, height} = this.box;
    return {
      x: makeScale(this.content.xKind, this.shown.x, [left, left + width]),
      y: makeScale(this.content.yKind, this.shown.y, [top + height, top]),
    };
  }

  /** @param {CanvasRenderingContext2D} context @param {import('./scales.js').Scale} x @param {import('./scales.js').Scale} y */
  drawAxes(context, x, y) {
    const {left, top, width, height} = this.box;
    const {xKind, yKind, xLabel, yLabel} = this.content;
    const em = Number(inks().em);
    context.strokeStyle = inks().line;
    context.fillStyle = inks().faint;
    context.lineWidth = 1;
    context.beginPath();
    context.textAlign = 'right';
    context.textBaseline = 'middle';
    for (const {value, text} of makeTicks(yKind, this.shown.y, height / (em * 1.8))) {
      const at = Math.round(y.to(value)) + 0.5;
      context.moveTo(left, at);
      context.lineTo(left + width, at);
      context.fillText(text, left - em * 0.35, at);
    }
    context.textAlign = 'center';
    context.textBaseline = 'top';
    for (const {value, text} of makeTicks(xKind, this.shown.x, width / (em * 5))) {
      const at = Math.round(x.to(value)) + 0.5;
      context.moveTo(at, top);
      context.lineTo(at, top + height);
      const half = context.measureText(text).width / 2;
      context.fillText(text, Math.min(at, left + width + em * 0.5 - half), top + height + em * 0.3);
    }
    context.stroke();
    context.fillText(xLabel, left + width / 2, top + height + em * 1.25);
    context.textAlign = 'left';
    context.fillText(yLabel, left, em * 0.2);
  }

  /** @param {number} value of the abscissa */
  point(value) {
    const [line] = this.content.lines;
    if (!line) return;
    let best = -1;
    const length = line.y.length;
    for (let i = 0; i < length; i++) {
      const at = line.style === 'steps' ? (line.x[i] + line.x[i + 1]) / 2 : line.x[i];
      if (best < 0 || Math.abs(at - value) < Math.abs(middle(line, best) - value)) best = i;
    }
    this.mark = best;
    this.drawMark();
  }

  drawMark() {
    const {context} = fitCanvas(this.above);
    const [line] = this.content.lines;
    const shown = line && this.mark >= 0 && this.mark < line.y.length;
    write(this.readout, shown ? this.read(this.mark) : '');
    if (!shown) return;
    const {x, y} = this.scales();
    const {left, top, width, height} = this.box;
    const [at, up] = [x.to(middle(line, this.mark)), y.to(line.y[this.mark])];
    if (at < left || at > left + width) return;
    context.strokeStyle = inks().accent;
    context.beginPath();
    context.moveTo(at, top);
    context.lineTo(at, top + height);
    if (up >= top && up <= top + height) {
      context.moveTo(at + 3.5, up);
      context.arc(at, up, 3.5, 0, 7);
    }
    context.stroke();
  }

  /** @param {number} index */
  read(index) {
    const {lines, xKind, xLabel} = this.content;
    const at = middle(lines[0], index);
    const said = [`${xLabel || 'x'} ${xKind === 'time' ? formatTime(at) : formatNumber(at)}`];
    for (const line of lines) {
      if (index >= line.y.length || line.style === 'model') continue;
      const error = line.error ? ` ± ${formatNumber(line.error[index], 3)}` : '';
      said.push(`${line.name} ${formatNumber(line.y[index])}${error}`);
    }
    return said.join('   ');
  }
}

/** @param {Line} line @param {number} index */
const middle = (line, index) => (line.x.length > line.y.length ? (line.x[index] + line.x[index + 1]) / 2 : line.x[index]);

/** @param {Line} line */
function errorEnds({y, error}) {
  const ends = (/** @type {number} */ sign) => Float64Array.from(y, (value, i) => value + sign * (error?.[i] || 0));
  return [ends(-1), ends(1)];
}

/** Steps stand on zero. @param {Span} span @param {Line[]} lines @param {Kind} kind @returns {Span} */
const withZero = (span, lines, kind) => {
  const stands = kind === 'linear' && span[1] > 0 && lines.some((line) => line.style === 'steps');
  return stands && spanOf(lines.map((line) => line.y), kind, 0)[0] >= 0 ? [0, span[1]] : span;
};

/**
 * @param {CanvasRenderingContext2D} context @param {Line} line
 * @param {import('./scales.js').Scale} x @param {import('./scales.js').Scale} y @param {string} colour
 * @param {{left: number, top: number, width: number, height: number}} box
 */
function drawLine(context, line, x, y, colour, box) {
  context.strokeStyle = context.fillStyle = colour;
  context.lineWidth = Number(inks().em) / 10;
  context.setLineDash(line.style === 'reference' ? [4, 3] : []);
  if (line.x.length > line.y.length) drawSteps(context, line, x, y, box.top + box.height);
  else if (line.style === 'line' && line.y.length > box.width * 2) drawColumns(context, line, x, y);
  else if (line.style !== 'dots') drawPath(context, line, x, y);
  if (line.error && line.style === 'line') drawBand(context, line, x, y);
  else if (line.error && line.y.length <= box.width / 2) drawErrors(context, line, x, y);
  if (line.style === 'points' || line.style === 'dots') {
    const size = Number(inks().em) * (line.y.length > box.width / 6 ? 0.1 : 0.18);
    for (let i = 0; i < line.y.length; i++) {
      context.beginPath();
      context.arc(x.to(line.x[i]), y.to(line.y[i]), size, 0, 7);
      context.fill();
    }
  }
  context.setLineDash([]);
}

/** @typedef {import('./scales.js').Scale} Scale */
/** @param {CanvasRenderingContext2D} context @param {Line} line @param {Scale} x @param {Scale} y */
function drawPath(context, line, x, y) {
  context.globalAlpha = line.style === 'points' ? 0.45 : 1;
  context.beginPath();
  let pen = false;
  for (let i = 0; i < line.y.length; i++) {
    const [at, up] = [x.to(line.x[i]), y.to(line.y[i])];
    // What is no number is a gap.
    if (!Number.isFinite(at) || !Number.isFinite(up)) pen = false;
    else if (pen) context.lineTo(at, up);
    else context.moveTo(at, up), pen = true;
  }
  context.stroke();
  context.globalAlpha = 1;
}

/**
 * Of many points, the least and the greatest of each column of pixels: nothing that stands out is lost.
 * @param {CanvasRenderingContext2D} context @param {Line} line @param {Scale} x @param {Scale} y
 */
function drawColumns(context, line, x, y) {
  context.beginPath();
  let [column, low, high, pen] = [NaN, 0, 0, false];
  const put = () => {
    if (Number.isNaN(column)) return;
    context[pen ? 'lineTo' : 'moveTo'](column, low);
    context.lineTo(column, high + (low === high ? 0.5 : 0));
    pen = true;
  };
  for (let i = 0; i < line.y.length; i++) {
    const [at, up] = [Math.floor(x.to(line.x[i])), y.to(line.y[i])];
    if (!Number.isFinite(up)) {
      put();
      [column, pen] = [NaN, false];
    } else if (at === column) {
      if (up < low) low = up;
      if (up > high) high = up;
    } else {
      put();
      [column, low, high] = [at, up, up];
    }
  }
  put();
  context.stroke();
}

/** @param {CanvasRenderingContext2D} context @param {Line} line @param {Scale} x @param {Scale} y @param {number} floor */
function drawSteps(context, line, x, y, floor) {
  const {length} = line.y;
  const heights = Array.from(line.y, (value) => {
    const up = y.to(value);
    return Number.isFinite(up) ? up : floor;
  });
  context.beginPath();
  context.moveTo(x.to(line.x[0]), Math.min(floor, y.to(0) || floor));
  for (let i = 0; i < length; i++) {
    context.lineTo(x.to(line.x[i]), heights[i]);
    context.lineTo(x.to(line.x[i + 1]), heights[i]);
  }
  context.lineTo(x.to(line.x[length]), Math.min(floor, y.to(0) || floor));
  context.stroke();
  if (line.style === 'reference') return;
  context.globalAlpha = 0.18;
  context.fill();
  context.globalAlpha = 1;
}

/** Errors of a line that has a point at each pixel. @param {CanvasRenderingContext2D} context @param {Line} line @param {Scale} x @param {Scale} y */
function drawBand(context, line, x, y) {
  context.beginPath();
  const [low, high] = errorEnds(line);
  for (let i = 0; i < high.length; i++) if (Number.isFinite(y.to(high[i]))) context.lineTo(x.to(line.x[i]), y.to(high[i]));
  for (let i = low.length - 1; i >= 0; i--) if (Number.isFinite(y.to(low[i]))) context.lineTo(x.to(line.x[i]), y.to(low[i]));
  context.globalAlpha = 0.25;
  context.fill();
  context.globalAlpha = 1;
}

/** @param {CanvasRenderingContext2D} context @param {Line} line @param {Scale} x @param {Scale} y */
function drawErrors(context, line, x, y) {
  context.lineWidth = Number(inks().em) / 15;
  context.beginPath();
  for (let i = 0; i < line.y.length; i++) {
    const error = line.error?.[i];
    if (!error || !Number.isFinite(error)) continue;
    const at = middle(line, i);
    const [low, high] = [y.to(line.y[i] - error), y.to(line.y[i] + error)];
    context.moveTo(x.to(at), Number.isFinite(low) ? low : y.to(line.y[i]));
    context.lineTo(x.to(at), high);
  }
  context.stroke();
}
