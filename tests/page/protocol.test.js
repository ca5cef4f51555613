// What the daemon says, by messages that are put together here byte by byte.
import assert from 'node:assert/strict';
import {test} from 'node:test';
import {codeValues, decodeMessage, ProtocolError, sayDrawn, sayShow, toPicture} from '../../ami/web/static/protocol.js';

const pad = (bytes) => [...bytes, ...new Array((8 - (bytes.length % 8)) % 8).fill(0)];
const word = (number) => [...new Uint8Array(new Uint32Array([number]).buffer)];

function chunk(head, body = []) {
  const text = [...new TextEncoder().encode(JSON.stringify(head))];
  return [...word(text.length), ...word(body.length), ...pad(text), ...pad(body)];
}

const message = (number, ...chunks) => new Uint8Array([...word(number), ...word(chunks.length), ...chunks.flat()]).buffer;

test('a message is its chunks, each with its arrays', () => {
  const floats = [...new Uint8Array(new Float64Array([1.5, NaN, -2]).buffer)];
  const bytes = [7, 8, 9];
  const first = {name: 'ä', parts: [{name: 'v', axes: [], dtype: 'f8', shape: [3], at: 0, bytes: 24}, {name: 'n', axes: [], value: 4}],
    axes: [{name: 'x', dtype: 'u1', shape: [3], at: 24, bytes: 3}]};
  const {number, results} = decodeMessage(message(41, chunk(first, [...floats, ...bytes]), chunk({name: 'b', parts: [], axes: []})), 12);
  assert.equal(number, 41);
  assert.deepEqual(results.map((one) => one.name), ['ä', 'b']);
  assert.deepEqual([...results[0].parts[0].data], [1.5, NaN, -2]);
  assert.equal(results[0].parts[1].value, 4);
  assert.deepEqual([...results[0].axes[0].data], bytes);
  assert.equal(results[1].receivedMs, 12);
});

test('a message that ends anywhere too early is refused, and never read beyond its end', () => {
  const whole = message(1, chunk({name: 'a', parts: [{name: 'v', axes: [], dtype: 'u2', shape: [4], at: 0, bytes: 8}], axes: []}, [1, 0, 2, 0, 3, 0, 4, 0]));
  for (let bytes = 0; bytes < whole.byteLength; bytes++) {
    assert.throws(() => decodeMessage(whole.slice(0, bytes), 0), ProtocolError, `${bytes} bytes`);
  }
});

test('an array that is not what its header says is refused', () => {
  for (const wrong of [{dtype: 'f2'}, {shape: [5]}, {at: 8}, {bytes: 16}]) {
    const part = {name: 'v', axes: [], dtype: 'u2', shape: [4], at: 0, bytes: 8, ...wrong};
    assert.throws(() => decodeMessage(message(1, chunk({name: 'a', parts: [part], axes: []}, new Array(8).fill(0))), 0), ProtocolError);
  }
});

test('codes become the values of the formula in the protocol', () => {
  const linear = codeValues({low: -10, high: 244, scale: 'linear', soft: 0});
  assert.ok(Number.isNaN(linear[0]));
  assert.deepEqual([linear[1], linear[2], linear[255]], [-10, -9, 244]);
  const [low, high, soft] = [5, 1005, 1];
  const spread = codeValues({low, high, scale: 'asinh', soft});
  assert.equal(spread[1], low);
  assert.ok(Math.abs(spread[255] - high) < 1e-9);
  // sinh and asinh by exponentials.
  const reach = Math.log(1000 + Math.sqrt(1000 * 1000 + 1));
  const t = 127 / 254;
  assert.ok(Math.abs(spread[128] - (low + (Math.exp(t * reach) - Math.exp(-t * reach)) / 2)) < 1e-9);
});

test('an array that came whole has codes, too: of each value the nearest one, of none 0', () => {
  const values = new Float64Array([0, 254, 100.4, NaN, Infinity, -Infinity]);
  const {codes, picture} = toPicture(values, [2, 3]);
  assert.deepEqual([...codes], [1, 255, 101, 0, 255, 1]);
  assert.deepEqual([picture.low, picture.high, picture.whole], [0, 254, [2, 3]]);
  assert.deepEqual([...toPicture(new Float32Array([3, 3]), [1, 2]).codes], [1, 1]);
});

test('what the page says', () => {
  assert.deepEqual(JSON.parse(sayShow({a: {size: 512}})), {show: {a: {size: 512}}});
  assert.deepEqual(JSON.parse(sayDrawn(3)), {ack: 3});
});
