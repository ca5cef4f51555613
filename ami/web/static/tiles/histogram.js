/** A histogram: steps, which stand on zero. @module */
import {CurveView} from './curve.js';

export class HistogramView extends CurveView {
  /** @param {import('../tile.js').Tile} tile */
  constructor(tile) { super(tile, 'steps'); }
}
