/** A scan: points with their errors, by key. @module */
import {CurveView} from './curve.js';

export class ScanView extends CurveView {
  /** @param {import('../tile.js').Tile} tile */
  constructor(tile) { super(tile, 'points'); }
}
