// The graph as layers, and what each definition costs.
import assert from 'node:assert/strict';
import {test} from 'node:test';
import {costsOf, layGraph} from '../../ami/web/static/layers.js';

const one = (uses, result = false) => ({text: '', owners: ['anna'], result, uses});
const definitions = {ratio: one(['spot', 'monitor']), spot: one(['camera']), mean: one(['ratio'], true), shots: one(['monitor'], true), '__proto__x': one([], true)};

test('each stands right of all that it uses, fields first', () => {
  const {nodes, layers} = layGraph(definitions);
  assert.deepEqual(layers.map((names) => [...names].sort()), [['camera', 'monitor'], ['__proto__x', 'shots', 'spot'], ['ratio'], ['mean']]);
  assert.deepEqual([nodes.get('monitor').kind, nodes.get('spot').kind, nodes.get('mean').kind], ['field', 'value', 'result']);
  assert.deepEqual(nodes.get('monitor').users, ['ratio', 'shots']);
});

test('of a name that is looked for there is what it is made of and what is made of it', () => {
  assert.deepEqual([...layGraph(definitions, 'SPOT').nodes.keys()].sort(), ['camera', 'mean', 'ratio', 'spot']);
  assert.deepEqual(layGraph(definitions, 'nothing').layers, []);
});

test('large graphs drawn at random are laid in order, also a circle that no manager would take', () => {
  const many = {};
  for (let n = 0; n < 600; n++) many[`v${n}`] = one(Array.from({length: 1 + n % 3}, () => (n ? `v${Math.floor(Math.random() * n)}` : 'camera')), n % 2 === 0);
  const {nodes, layers} = layGraph(many);
  const layer = new Map(layers.flatMap((names, i) => names.map((name) => [name, i])));
  assert.equal(layer.size, 601);
  for (const {name, uses} of nodes.values()) for (const used of uses) assert.ok(layer.get(used) < layer.get(name));
  assert.equal(layGraph({a: one(['b']), b: one(['a'])}).nodes.size, 2);
});

test('the parts of a definition are added up, and what several share is told of each', () => {
  const operations = [
    {names: ['spot/1'], events_hz: 100, us_per_event: 2, errors: 0}, {names: ['spot', 'mean'], events_hz: 90, us_per_event: 3, errors: 4},
    {names: ['a/1'], events_hz: 5, us_per_event: 1, errors: 0}];
  assert.deepEqual(costsOf(operations, {spot: {}, mean: {}, 'a/1': {}}),
    {spot: {hz: 100, us: 5, errors: 4}, mean: {hz: 90, us: 3, errors: 4}, 'a/1': {hz: 5, us: 1, errors: 0}});
});
