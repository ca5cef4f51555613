// What a result is shown as, what is drawn and written of it; definitions of regions.
import assert from 'node:assert/strict';
import {test} from 'node:test';
import {compareDefinitions, findRegions, freeName, imageSource, quote, writeRegion} from '../../ami/web/static/definitions.js';
import {ageOf, curveOf, isStale, kindsOf, rowsOf, sayEvents, sayValue, toCsv} from '../../ami/web/static/describe.js';

const array = (name, numbers, axes = [], shape = [numbers.length]) => ({name, unit: '', axes, data: Float64Array.from(numbers), shape});
const axis = (name, numbers, edges = false) => ({name, unit: 'ps', edges, data: Float64Array.from(numbers), shape: [numbers.length]});
const result = (parts, axes = []) => ({name: 'r', parts, axes, error: null, events: {used: 1200, expected: 2400, dropped: 0, set_aside: 0}, window: 'run', one_in: 1});

const number = result([{name: 'value', unit: 'mJ', axes: [], value: 2.5}]);
const histogram = result([array('counts', [1, 5, 2], ['e']), {name: 'nan', unit: '', axes: [], value: 0}], [axis('e', [0, 1, 2, 3], true)]);
const scan = result([array('means', [1, 2], ['delay']), array('errors', [0.1, 0.2], ['delay']), array('counts', [7, 8], ['delay'])], [axis('delay', [-1, 3])]);
const waveform = result([array('value', [3, 4, 5])]);
const image = result([array('value', [1, 2, 3, 4], [], [2, 2])]);
const pairs = result([array('value', [1, 2, 3, 4, 5, 6], [], [3, 2])]);
const plane = result([array('counts', [1, 2, 3, 4], ['x', 'y'], [2, 2])], [axis('x', [0, 1, 2], true), axis('y', [0, 1, 2], true)]);

test('each result has the tile that suits it', () => {
  const first = [number, histogram, scan, waveform, image, pairs, plane, result([]), result([{name: 'value', axes: [], value: 'on'}])].map((one) => kindsOf(one)[0]);
  assert.deepEqual(first, ['number', 'histogram', 'scan', 'line', 'image', 'scatter', 'histogram2d', 'text', 'text']);
  assert.ok(kindsOf(number).includes('strip') && kindsOf(scan).includes('table'));
});

test('a curve has its abscissa, its errors and its labels', () => {
  assert.deepEqual(curveOf(scan), {x: scan.axes[0].data, edges: false, y: scan.parts[0].data, error: scan.parts[1].data, xLabel: 'delay [ps]', yLabel: 'means'});
  assert.equal(curveOf(scan, 'counts').error, undefined);
  assert.equal(curveOf(histogram).edges, true);
  assert.deepEqual([...curveOf(waveform).x], [0, 1, 2]);
  assert.equal(curveOf(image), null);
});

test('a file has a column for each array and quotes what needs it', () => {
  assert.equal(toCsv(rowsOf(scan)), 'delay [ps],means,errors,counts\n-1,1,0.1,7\n3,2,0.2,8\n');
  assert.equal(toCsv(rowsOf(histogram)), 'e from [ps],to [ps],counts\n0,1,1\n1,2,5\n2,3,2\n');
  assert.equal(toCsv({columns: ['a"b', '=1+1'], rows: [[NaN, 'x,y'], [null, -1]]}), '"a""b",\'=1+1\n,"x,y"\n,-1\n');
});

test('a value, its events and its age are told in words', () => {
  assert.equal(sayValue(number), '2.5000 mJ');
  assert.match(sayValue(scan), /greatest, 2, at delay 3 ps/);
  assert.deepEqual(sayEvents(result([])), ['1,200 of 2,400 events']);
  const old = {...number, now_ns: 5e9, published_ns: 3e9, receivedMs: 1000, every_s: 0, interval_s: 0.05};
  assert.equal(ageOf(old, 2500), 3.5);
  assert.ok(isStale(old, 3.5) && !isStale({...old, every_s: 1}, 3.5));
});

test('the image behind a result is its reduction without the rest', () => {
  const found = ['last(camera)', 'mean_events(camera, window=interval)', ' last( roi(camera, rows=1:2, cols=3:4) ) ', 'mean_events(f(a, b) - c, window="10 s")', 'a - b', 'f(a) - g(b)'].map(imageSource);
  assert.deepEqual(found, ['camera', 'camera', 'roi(camera, rows=1:2, cols=3:4)', 'f(a, b) - c', '', '']);
});

test('a region that is written is found again, and only of its image', () => {
  const region = {kind: 'sum', rows: [22, 43], columns: [30, 51]};
  const {text, yaml, python} = writeRegion('spot', 'camera', region);
  assert.equal(text, 'spot = sum(roi(camera, rows=22:43, cols=30:51))\nspot_now = mean_events(spot, window=interval)');
  assert.equal(yaml, 'spot: sum(roi(camera, rows=22:43, cols=30:51))');
  assert.equal(python, 'spot = g.value("spot", camera.roi(rows=(22, 43), cols=(30, 51)).sum())');
  const definitions = {spot: {text: text.split('\n')[0].slice(7)}, other: {text: 'sum(roi(front, rows=1:2, cols=3:4))'}, ratio: {text: 'sum(roi(camera, rows=1:2, cols=3:4)) / 2'}};
  assert.deepEqual(findRegions(definitions, 'camera'), [
    {name: 'spot', ...region, isWhole: true}, {name: 'ratio', kind: 'sum', rows: [1, 2], columns: [3, 4], isWhole: false}]);
  assert.equal(freeName('spot', (name) => ['spot', 'spot2'].includes(name)), 'spot3');
});

test('what is written in another way is read as it is meant, or not at all', () => {
  const read = (text) => findRegions({one: {text}}, 'camera')[0];
  assert.deepEqual(read('line(camera,start=[-1, 2.5],  end=[1e1,4])'), {name: 'one', kind: 'line', start: [-1, 2.5], end: [10, 4], width: 1, isWhole: false});
  assert.equal(read('radial(camera, center=[3, 4], radii=1:9, angles=-30:45)').isWhole, true);
  for (const text of ['roi(camera, rows=:3, cols=1:2)', 'roi(camera, rows=1:9:2, cols=1:2)', 'roi(camera, rows=-9:-2, cols=1:2)', 'radial(camera, center=[3, 4])',
    'line(camera, start=[1, 2], end=x)', 'radial(other, center=[3, 4], radii=1:9)', 'roi(camera, rows=1:2', '"roi(camera, '.repeat(400)]) assert.equal(read(text), undefined, text);
});

test('a diff has what came, went and is another, with names as a definition says them', () => {
  const one = (text) => ({text});
  assert.deepEqual(compareDefinitions({a: one('count(x)'), b: one('y'), c: one('z')}, {a: one('count(y)'), c: one('z'), 'd.e': one('w')}),
    ['- a = count(x)', '+ a = count(y)', '- b = y', '+ `d.e` = w']);
  assert.deepEqual(['a_1', 'a b', 'where', '1a'].map(quote), ['a_1', '`a b`', '`where`', '`1a`']);
});
