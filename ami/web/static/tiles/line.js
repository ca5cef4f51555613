/** A line or a waveform. @module */
import {CurveView} from './curve.js';

export class LineView extends CurveView {
  /** @param {import('../tile.js').Tile} tile */
  constructor(tile) { super(tile, 'line'); }
}
