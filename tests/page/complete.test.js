// What may stand where somebody types, and definitions out of forms.
import assert from 'node:assert/strict';
import {test} from 'node:test';
import {callAt, completeAt, writeCall} from '../../ami/web/static/complete.js';

const run = {name: 'window', type: 'str', default: 'run'};
const operations = [
  {name: 'mean_events', usage: 'mean_events(value, window=)', help: 'Mean.', sort: 'over events', inputs: ['value'], parameters: [run]},
  {name: 'histogram', usage: 'histogram(value, bins=, low=, high=, window=)', help: 'Bins.\n\nMore.', sort: 'over events', inputs: ['value'],
    parameters: [{name: 'bins', type: 'int'}, {name: 'low', type: 'float'}, {name: 'high', type: 'float'}, run]},
  {name: 'roi', usage: 'roi(value, rows=, cols=)', help: 'Region.', sort: 'within an event', inputs: ['value'],
    parameters: [{name: 'rows', type: 'Slice | None', default: null}, {name: 'cols', type: 'Slice | None', default: null}]},
];
const known = {operations, values: [{name: 'camera', hint: 'field'}, {name: 'lab:stage', hint: 'field'}, {name: 'bright', hint: 'result of anna'}]};
/** The place is where | stands. */
const at = (text) => completeAt(text.replace('|', ''), text.indexOf('|'), known);
const texts = (text) => at(text).options.map((one) => one.text);

test('values, operations and parameters are offered where each may stand', () => {
  assert.deepEqual(texts('a = mea|'), ['mean_events(']);
  assert.deepEqual(texts('a = mean_events(cam|'), ['camera']);
  assert.deepEqual(texts('a = histogram(camera, |').slice(0, 4), ['bins=', 'low=', 'high=', 'window=']);
  assert.deepEqual(texts('a = histogram(camera, bins=10, low=1, h|').slice(0, 1), ['high=']);
  assert.deepEqual(texts('a = histogram(roi(camera, rows=1:2, c|'), ['cols=', 'camera']);
  assert.deepEqual(texts('a = mean_events(camera, window=int|'), ['interval']);
  assert.deepEqual(texts('a = stage|'), ['`lab:stage`']);
  assert.deepEqual(texts('a = last(`lab|'), ['`lab:stage`']);
  assert.equal(at('a = histogram(camera, bins=|').usage, 'histogram(value, bins=, low=, high=, window=): Bins.');
});

test('nothing is offered in names, numbers, texts, or of what is written already', () => {
  for (const text of ['mea|', 'a = 1e|', 'a = 12|', 'a = "mea|', 'a = camera|', 'a = camera |', '|', '`'.repeat(5000) + '|', 'a = ' + '('.repeat(5000) + '|)']) {
    assert.ok(!texts(text).some((one) => one === 'mean_events(') || text.includes('('), text.slice(0, 20));
  }
  assert.deepEqual([texts('a = camera|'), texts('mea|'), texts('a = 1e|'), texts('a = mean_events(x, window="la|')], [[], [], [], []]);
});

test('what is taken replaces the word before it, whatever stands behind', () => {
  const text = 'b = 1\na = mean_events(cam + bright)';
  const caret = text.indexOf('cam') + 3;
  const {from, options} = completeAt(text, caret, known);
  assert.equal(text.slice(0, from) + options[0].text + text.slice(caret), 'b = 1\na = mean_events(camera + bright)');
});

test('the call around a place is the innermost, its arguments those before it', () => {
  assert.deepEqual(callAt('f(a, g(b, [1, 2], c'), {name: 'g', given: ['b', ' [1, 2]'], argument: 'c'});
  assert.deepEqual(callAt('f(g(b), "x, (", '), {name: 'f', given: ['g(b)', ' "x, ("'], argument: ''});
  assert.equal(callAt('f(a) + (b'), null);
});

test('a form says what was filled in, a text in quotes, and nothing that is usual', () => {
  assert.equal(writeCall(operations[1], {value: 'camera', bins: '10', low: '0', high: ' 2.5 ', window: 'run'}), 'histogram(camera, bins=10, low=0, high=2.5)');
  assert.equal(writeCall(operations[0], {value: '', window: '10 s'}), 'mean_events(value, window="10 s")');
  assert.equal(writeCall(operations[0], {value: 'x', window: '"last 20"'}), 'mean_events(x, window="last 20")');
  assert.equal(writeCall(operations[2], {value: 'camera', rows: '1:3', cols: ''}), 'roi(camera, rows=1:3)');
});
