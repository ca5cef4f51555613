// Regions: what a drag makes of them, what is at a place, and about what comes of them.
import assert from 'node:assert/strict';
import {test} from 'node:test';
import {findRegions, writeRegion} from '../../ami/web/static/definitions.js';
import {beginRegion, gripAt, handlesOf, moveRegion, previewOf, SHAPES} from '../../ami/web/static/shapes.js';

const drawn = (low, high) => low + Math.random() * (high - low);
const SIZE = [80, 120];

/** A region of a shape that somebody drew from a place to another, in some steps. */
function draw(shape) {
  const [x, y] = [Math.floor(drawn(10, 90)), Math.floor(drawn(10, 60))];
  const {region, grip} = beginRegion(shape, x, y);
  for (let step = 1; step < 6; step++) moveRegion(region, grip, [x + 4 * step, y + 3 * step], [4, 3], SIZE);
  return region;
}

test('a region that is drawn and dragged at random stays one that its own text says', () => {
  for (const shape of Object.keys(SHAPES)) {
    for (let n = 0; n < 60; n++) {
      const region = draw(shape);
      for (let step = 0; step < 8; step++) {
        const grips = [...Object.keys(handlesOf(region)), 'all'];
        moveRegion(region, grips[Math.floor(drawn(0, grips.length))], [drawn(-50, 200), drawn(-50, 200)], [Math.round(drawn(-40, 40)), Math.round(drawn(-40, 40))], SIZE);
      }
      const {text} = writeRegion('one', 'camera', region);
      const [found] = findRegions({one: {text: text.split('\n')[0].slice(6)}}, 'camera');
      assert.deepEqual(found, {...region, name: 'one', isWhole: true});
      const {rows, columns, start, end, radii, angles, width} = region;
      if (rows) assert.ok(rows[0] >= 0 && rows[0] < rows[1] && rows[1] <= 80 && columns[0] >= 0 && columns[0] < columns[1] && columns[1] <= 120, text);
      if (start) assert.ok(width >= 1 && String(start) !== String(end), text);
      if (radii) assert.ok(radii[0] >= 0 && radii[0] < radii[1], text);
      if (angles) assert.ok(angles[0] < angles[1] && angles[1] - angles[0] <= 360, text);
    }
  }
});

test('each handle is found at its place, the middle moves all, and far away is nothing', () => {
  for (const shape of Object.keys(SHAPES)) {
    const region = draw(shape);
    for (const [name, [x, y]] of Object.entries(handlesOf(region))) assert.equal(gripAt(region, x, y, 1.5), name, `${shape} ${name}`);
    assert.equal(gripAt(region, 900, 900, 1.5), '');
  }
  assert.equal(gripAt({kind: 'line', start: [10, 10], end: [10, 50], width: 5}, 20.5, 12, 1), 'all');
  const arc = {kind: 'radial', center: [40, 60], radii: [10, 20], angles: [-30, 30]};
  assert.deepEqual([[75, 40], [45, 40], [80.5, 40.5], [60.5, 60.5]].map(([x, y]) => gripAt(arc, x, y, 1)), ['all', '', 'outer', '']);
});

test('what is shown of a region while it moves is its sum, or its profile, counted pixel by pixel', () => {
  const valueAt = (row, column) => 3 * row - 2 * column;
  assert.deepEqual(previewOf({kind: 'sum', rows: [2, 4], columns: [1, 3]}, valueAt, SIZE, [1, 1]), [(6 - 2) + (6 - 4) + (9 - 2) + (9 - 4)]);
  assert.deepEqual(previewOf({kind: 'line', start: [5, 5], end: [5, 8], width: 3}, valueAt, SIZE, [1, 1]), [5, 3, 1, -1]);
  assert.deepEqual(previewOf({kind: 'line', start: [-2, 0], end: [1, 0], width: 1}, valueAt, SIZE, [1, 1]), [NaN, NaN, 0, 3]);
  // A plane is even around each center.
  for (const value of previewOf({kind: 'radial', center: [40, 60], radii: [3, 9]}, valueAt, SIZE, [1, 1])) assert.ok(Math.abs(value) < 1e-9);
  assert.equal(previewOf({kind: 'azimuthal', center: [40, 60], radii: [3, 9], angles: [-30, 30]}, valueAt, SIZE, [1, 1]).length, 12);
});
