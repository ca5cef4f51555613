/** Turn codes into a canvas of colours, and find out where of it a tile shows what. @module */

/** @typedef {import('./scales.js').Span} Span */

/**
 * A canvas with one pixel for each code. Of a picture whose first axis goes to the right (``across``), rows of codes
 * are columns that stand on their lower end.
 */
export class Raster {
  constructor() {
    this.canvas = document.createElement('canvas');
    this.width = this.height = 0;
  }

  /** @param {Uint8Array} codes @param {number[]} shape @param {Uint32Array} table @param {boolean} across */
  paint(codes, [rows, columns], table, across) {
    const [width, height] = across ? [rows, columns] : [columns, rows];
    if (this.width !== width || this.height !== height || !this.image) {
      [this.width, this.height] = [this.canvas.width, this.canvas.height] = [width, height];
      this.context = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext('2d'));
      this.image = this.context.createImageData(width, height);
      this.pixels = new Uint32Array(this.image.data.buffer);
    }
    const pixels = /** @type {Uint32Array} */ (this.pixels);
    if (across) {
      for (let column = 0; column < columns; column++) {
        const start = (columns - 1 - column) * rows;
        for (let row = 0; row < rows; row++) pixels[start + row] = table[codes[row * columns + column]];
      }
    } else for (let i = 0; i < pixels.length; i++) pixels[i] = table[codes[i]];
    /** @type {CanvasRenderingContext2D} */ (this.context).putImageData(this.image, 0, 0);
  }
}

/**
 * The largest box of an image within room, of which each pixel is a square if it shall be.
 * @param {{left: number, top: number, width: number, height: number}} room
 * @param {{x: Span, y: Span}} shown
 * @param {boolean} square
 */
export function fitBox(room, shown, square) {
  if (!square) return room;
  const [wide, high] = [Math.abs(shown.x[1] - shown.x[0]), Math.abs(shown.y[1] - shown.y[0])];
  const scale = Math.min(room.width / wide, room.height / high);
  const [width, height] = [wide * scale, high * scale];
  return {left: room.left + (room.width - width) / 2, top: room.top + (room.height - height) / 2, width, height};
}

/**
 * The view after a change, no larger than the image, and within it.
 * @param {Span} span @param {Span} whole
 * @returns {Span}
 */
export function keepWithin([low, high], whole) {
  const width = Math.min(high - low, whole[1] - whole[0]);
  const start = Math.min(Math.max(low, whole[0]), whole[1] - width);
  return [start, start + width];
}
