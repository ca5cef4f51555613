/** Keep numbers over time: the newest so many, in the order of their times. Without a DOM. @module */

const MOST = 1 << 17; // an hour and three quarters of an interval of 50 ms each

export class Series {
  /** @param {number} [most] */
  constructor(most = MOST) {
    this.most = most;
    /** @type {number[]} seconds */
    this.times = [];
    /** @type {number[]} */
    this.values = [];
  }

  clear() {
    this.times = [];
    this.values = [];
  }

  /** Time that goes back is another recording, or this one once more: begin anew. @param {number} s @param {number} value */
  add(s, value) {
    const last = this.times[this.times.length - 1];
    if (s === last) this.values.pop(), this.times.pop();
    else if (s < last) this.clear();
    this.times.push(s);
    this.values.push(value);
    // In one go and seldom: to take one off the front each time costs as much as there are.
    if (this.times.length > this.most * 1.25) {
      this.times.splice(0, this.times.length - this.most);
      this.values.splice(0, this.values.length - this.most);
    }
  }

  /** Put before what is there what was before it. @param {{time_ns: number, value: any}[]} history oldest first */
  fill(history) {
    const first = this.times[0] ?? Infinity;
    const older = history
      .map((one) => ({s: one.time_ns / 1e9, value: one.value === null ? NaN : Number(one.value)}))
      .filter((one) => one.s < first);
    this.times.unshift(...older.map((one) => one.s));
    this.values.unshift(...older.map((one) => one.value));
  }

  /** What is newer than ``seconds`` before the newest. @param {number} seconds */
  last(seconds) {
    const from = (this.times[this.times.length - 1] ?? 0) - seconds;
    let [low, high] = [0, this.times.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.times[middle] < from) low = middle + 1;
      else high = middle;
    }
    return {times: this.times.slice(low), values: this.values.slice(low)};
  }
}
