/** What a number was over time: from the daemon's history, then as it comes. Shared by strips and numbers. @module */

import {ask, resultPath} from './api.js';
import {Series} from './series.js';

const MOST = 20_000;

export class Trend {
  /** @param {string} name of the result */
  constructor(name) {
    this.name = name;
    this.series = new Series();
    this.asked = false;
  }

  /** @param {import('./protocol.js').Result} result */
  add(result) {
    const s = result.time[1] / 1e9;
    const last = this.series.times[this.series.times.length - 1];
    // While nobody looked, or the connection was gone, there were others: the history has them.
    if (!this.asked || (s - last > Math.max(5, 20 * result.interval_s))) this.ask();
    this.series.add(s, result.parts[0]?.value ?? NaN);
  }

  async ask() {
    this.asked = true;
    const history = await ask(resultPath(this.name, `history?limit=${MOST}`)).catch(() => []);
    const {series} = this;
    const newest = history.length ? history[history.length - 1].time_ns / 1e9 : -Infinity;
    const {times, values} = series;
    series.clear();
    for (const [i, s] of times.entries()) if (s > newest) series.add(s, values[i]);
    series.fill(history);
  }
}
