// Colours, scales, ticks, series and layouts: all that is computed before something is drawn.
import assert from 'node:assert/strict';
import {test} from 'node:test';
import {arrange, move, readLayout, resize, writeLayout} from '../../ami/web/static/arrange.js';
import {colourAt, countCodes, makeTable, MAP_NAMES, percentile, placeOf, SCALES} from '../../ami/web/static/colours.js';
import {formatAge, formatNumber, makeScale, makeTicks, pan, roundStep, spanOf, zoom} from '../../ami/web/static/scales.js';
import {Series} from '../../ami/web/static/series.js';

const draws = 200;
const drawn = (low, high) => low + Math.random() * (high - low);
const near = (a, b, share = 1e-9) => assert.ok(Math.abs(a - b) <= share * Math.max(1, Math.abs(a), Math.abs(b)), `${a} ${b}`);

test('each map begins and ends with its colour, and has no jump', () => {
  assert.deepEqual(colourAt('viridis', 0), [0x44, 0x01, 0x54]);
  assert.deepEqual(colourAt('viridis', 1), [0xfd, 0xe7, 0x25]);
  assert.deepEqual(colourAt('grey', 0.5), [128, 128, 128]);
  for (const map of MAP_NAMES) {
    for (let i = 0; i < 255; i++) {
      const [a, b] = [colourAt(map, i / 255), colourAt(map, (i + 1) / 255)];
      assert.ok(a.every((part, k) => Math.abs(part - b[k]) <= 8), `${map} at ${i}`);
    }
  }
});

test('what has no value is clear, what is beyond the levels has their colours, on each scale', () => {
  const values = Float64Array.from({length: 256}, (_, code) => (code ? code : NaN));
  for (const scale of SCALES) {
    const table = makeTable(values, {map: 'grey', scale, low: 50, high: 200});
    assert.equal(table[0], 0);
    assert.deepEqual([table[1], table[50], table[200], table[255]], [0xff000000, 0xff000000, 0xffffffff, 0xffffffff]);
    for (let code = 51; code <= 200; code++) assert.ok(table[code] >= table[code - 1]);
  }
  assert.equal(placeOf(25, 0, 100, 'sqrt'), 0.5);
  near(placeOf(10, 0, 100, 'log'), Math.log(101) / Math.log(1001));
});

test('percentiles by codes are those of the sorted values, to the code', () => {
  for (let draw = 0; draw < 20; draw++) {
    const codes = Uint8Array.from({length: 500}, () => Math.floor(drawn(0, 256)));
    const values = Float64Array.from({length: 256}, (_, code) => (code ? code * 3 - 100 : NaN));
    const sorted = [...codes].filter(Boolean).map((code) => values[code]).sort((a, b) => a - b);
    const percent = drawn(1, 99);
    assert.equal(percentile(countCodes(codes), values, percent), sorted[Math.max(0, Math.ceil(sorted.length * percent / 100 - 1e-9) - 1)]);
  }
});

test('a place on an axis leads back to its value; zoom keeps the place under the pointer, pan the width', () => {
  for (let draw = 0; draw < draws; draw++) {
    const kind = draw % 2 ? 'log' : 'linear';
    const low = drawn(0.01, 100);
    const domain = [low, low * drawn(1.5, 1e4)];
    const scale = makeScale(kind, domain, [drawn(0, 50), drawn(100, 900)]);
    const value = drawn(...domain);
    near(scale.from(scale.to(value)), value);
    const at = Math.random();
    const still = makeScale(kind, domain, [0, 1]).from(at);
    near(makeScale(kind, zoom(kind, domain, 0.3, at), [0, 1]).from(at), still, 1e-6);
    near(makeScale(kind, pan(kind, domain, 0.25), [0, 1]).from(0), makeScale(kind, domain, [0, 1]).from(0.25), 1e-6);
  }
});

test('ticks are round numbers within the span, some of them, evenly, and each reads as its value', () => {
  for (let draw = 0; draw < draws; draw++) {
    const width = 10 ** drawn(-6, 8);
    const low = drawn(-5, 5) * width;
    const ticks = makeTicks('linear', [low, low + width], 6);
    assert.ok(ticks.length >= 2 && ticks.length <= 13, `${ticks.length} of ${low} ${width}`);
    const step = ticks[1].value - ticks[0].value;
    near(step, roundStep(step * 0.9999), 1e-6);
    for (const {value, text} of ticks) {
      assert.ok(value >= low - width * 1e-6 && value <= low + width * (1 + 1e-6));
      assert.ok(Math.abs(Number(text) - value) < step * 0.01 + 1e-12, `${text} is not ${value}`);
    }
    assert.equal(new Set(ticks.map((tick) => tick.text)).size, ticks.length);
  }
});

test('ticks of a logarithmic axis are 1, 2 or 5 times powers of ten', () => {
  for (let draw = 0; draw < draws; draw++) {
    const low = 10 ** drawn(-9, 5);
    const ticks = makeTicks('log', [low, low * 10 ** drawn(2, 9)], 5);
    assert.ok(ticks.length >= 1 && ticks.length <= 10);
    for (const {value} of ticks) assert.ok([1, 2, 5].some((digit) => Math.abs((Math.log10(value / digit) + 50) % 1 - 0.5) > 0.499));
  }
});

test('a span holds all numbers that can be drawn, and is never empty', () => {
  assert.deepEqual(spanOf([[NaN, Infinity]], 'linear'), [0, 1]);
  const [low, high] = spanOf([[-3, 0, 5], [7, NaN]], 'log');
  assert.ok(low > 4 && low < 5 && high > 7);
  for (const same of [0, 5, -5]) {
    const span = spanOf([[same, same]], 'linear');
    assert.ok(span[0] < same && span[1] > same);
  }
});

test('numbers and ages as people read them', () => {
  assert.deepEqual([0, 1234567, -2, 0.5, 1e-7, 123.456, NaN, null, Infinity, 1.5e9].map((value) => formatNumber(value)),
    ['0', '1,234,567', '-2', '0.50000', '1.0000e-7', '123.46', '–', '–', '∞', '1,500,000,000']);
  assert.deepEqual([0.04, 9.96, 119, 600, 7300, 260000].map(formatAge), ['0.0 s', '10 s', '119 s', '10 min', '2 h', '3 d']);
});

test('a series keeps the newest, in order, and what was before it', () => {
  const series = new Series(100);
  for (let i = 0; i < 1000; i++) series.add(i, i * 2);
  assert.ok(series.times.length >= 100 && series.times.length <= 126);
  assert.equal(series.times.at(-1), 999);
  assert.deepEqual(series.last(3).times, [996, 997, 998, 999]);
  series.add(999, 5);
  assert.deepEqual(series.last(1).values, [1996, 5]);
  series.add(10, 1);
  assert.deepEqual(series.times, [10]);
  series.fill([{time_ns: 8e9, value: 3}, {time_ns: 9e9, value: null}, {time_ns: 10e9, value: 4}]);
  assert.deepEqual([series.times, series.values], [[8, 9, 10], [3, NaN, 1]]);
});

test('what nobody laid out has images first and numbers last, otherwise in the order of the catalogue', () => {
  const kinds = {n: 'number', a: 'scan', camera: 'image', b: 'scan'};
  assert.deepEqual(arrange(Object.keys(kinds), (name) => kinds[name]).map(({name}) => name), ['camera', 'a', 'b', 'n']);
});

test('a layout is read as it was written; what is wrong in one is as usual', () => {
  const specs = arrange(['a', 'b'], () => 'scan');
  resize(specs[0], 99, -3);
  specs[1].options.y = 'log';
  assert.deepEqual(readLayout(JSON.parse(JSON.stringify(writeLayout(specs)))), specs);
  assert.deepEqual([specs[0].w, specs[0].h], [12, 1]);
  for (const wrong of [null, {}, {tiles: 3}, {tiles: [null, 4, {name: 5}]}]) assert.deepEqual(readLayout(wrong), []);
  assert.deepEqual(readLayout({tiles: [{name: 'x', w: 'wide', h: 1e9}]})[0].h, 24);
});

test('a tile that is moved stands where it was put', () => {
  const list = ['a', 'b', 'c'];
  move(list, 'a', 2);
  assert.deepEqual(list, ['b', 'c', 'a']);
  move(list, 'a', -1);
  assert.deepEqual(list, ['a', 'b', 'c']);
});
