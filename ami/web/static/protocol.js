/**
 * Read what the daemon says, and write what the page says to it (docs/page-protocol.md). Without a DOM.
 *
 * Arrays are views of the message, not copies: all of them lie at multiples of 8 bytes, and every machine with a
 * browser is little endian.
 * @module
 */

/**
 * How codes of a picture become values.
 * @typedef {object} Picture
 * @property {[number, number]} whole rows and columns of the image itself
 * @property {[number, number]} step how many of them fall together
 * @property {string} pool
 * @property {string} scale
 * @property {number} low
 * @property {number} high
 * @property {number} soft
 */
/** @typedef {Float64Array|Float32Array|Int32Array|Uint32Array|Int16Array|Uint16Array|Int8Array|Uint8Array} Numbers */
/** @typedef {{name: string, unit: string, axes: string[], value?: any, left_out?: string, stack?: {axis: string, at: number, of: number},
 *   data?: Numbers, shape?: number[], picture?: Picture}} Part */
/** @typedef {{name: string, unit: string, edges: boolean, data: Numbers, shape: number[]}} Axis */
/**
 * A result as the page has it: the envelope's fields as the daemon names them, and its arrays.
 * @typedef {object} Result
 * @property {string} name
 * @property {string|null} error
 * @property {Part[]} parts
 * @property {Axis[]} axes
 * @property {{expected: number, used: number, dropped: number, set_aside: number}} events
 * @property {string} window
 * @property {number} run
 * @property {number} interval
 * @property {number} interval_s
 * @property {[number, number]} time
 * @property {string[]} missing_nodes
 * @property {Record<string, number>} late
 * @property {number} graph_version
 * @property {boolean} complete
 * @property {number} published_ns
 * @property {number} now_ns
 * @property {number} every_s
 * @property {number} one_in
 * @property {number} receivedMs by performance.now()
 */

const KINDS = {
  f8: Float64Array, f4: Float32Array, i4: Int32Array, u4: Uint32Array, i2: Int16Array, u2: Uint16Array,
  i1: Int8Array, u1: Uint8Array,
};
const MOST_CODE = 254;

/** What came is not in this protocol. */
export class ProtocolError extends Error {}

/**
 * @param {ArrayBuffer} buffer
 * @param {number} receivedMs
 * @returns {{number: number, results: Result[]}}
 */
export function decodeMessage(buffer, receivedMs) {
  if (buffer.byteLength < 8) throw new ProtocolError(`a message of ${buffer.byteLength} bytes`);
  const view = new DataView(buffer);
  const results = [];
  let at = 8;
  for (let left = view.getUint32(4, true); left > 0; left--) {
    if (at + 8 > buffer.byteLength) throw new ProtocolError('a message ends within a chunk');
    const headBytes = view.getUint32(at, true);
    const bodyBytes = view.getUint32(at + 4, true);
    const body = at + 8 + pad(headBytes);
    if (body + bodyBytes > buffer.byteLength) throw new ProtocolError('a message ends within a chunk');
    results.push(decodeChunk(buffer, at + 8, headBytes, body, bodyBytes, receivedMs));
    at = body + pad(bodyBytes);
  }
  return {number: view.getUint32(0, true), results};
}

/** @param {number} bytes */
const pad = (bytes) => Math.ceil(bytes / 8) * 8;

/**
 * @param {ArrayBuffer} buffer @param {number} at @param {number} bytes
 * @param {number} body @param {number} bodyBytes @param {number} receivedMs
 * @returns {Result}
 */
function decodeChunk(buffer, at, bytes, body, bodyBytes, receivedMs) {
  let head;
  try {
    head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, at, bytes)));
  } catch (error) {
    throw new ProtocolError(`a header is no JSON: ${error}`);
  }
  for (const one of [...head.parts, ...head.axes]) {
    if (one.dtype !== undefined) one.data = readArray(buffer, body, bodyBytes, one);
  }
  head.receivedMs = receivedMs;
  return head;
}

/**
 * @param {ArrayBuffer} buffer @param {number} body @param {number} bodyBytes
 * @param {{dtype: string, shape: number[], at: number, bytes: number}} told
 * @returns {Numbers}
 */
function readArray(buffer, body, bodyBytes, told) {
  const Kind = KINDS[/** @type {keyof typeof KINDS} */ (told.dtype)];
  const count = told.shape.reduce((product, length) => product * length, 1);
  if (!Kind || count * Kind.BYTES_PER_ELEMENT !== told.bytes || told.at + told.bytes > bodyBytes) {
    throw new ProtocolError(`an array of ${told.dtype} ${told.shape} in ${told.bytes} bytes`);
  }
  return new Kind(buffer, body + told.at, count);
}

/**
 * The value of each of the 256 codes; NaN of code 0.
 * @param {Picture} picture
 */
export function codeValues(picture) {
  const {low, high, soft} = picture;
  const values = new Float64Array(256).fill(NaN);
  const reach = picture.scale === 'asinh' && soft > 0 ? Math.asinh((high - low) / soft) : 0;
  for (let code = 1; code < 256; code++) {
    const t = (code - 1) / MOST_CODE;
    values[code] = reach ? low + soft * Math.sinh(t * reach) : low + t * (high - low);
  }
  return values;
}

/**
 * Codes of an array that came as it is, so that small images are drawn as large ones are.
 * @param {Numbers} data @param {number[]} shape
 * @returns {{codes: Uint8Array, picture: Picture}}
 */
export function toPicture(data, shape) {
  let low = Infinity;
  let high = -Infinity;
  for (const value of data) {
    if (value < low && value !== -Infinity) low = value;
    if (value > high && value !== Infinity) high = value;
  }
  if (low > high) low = high = 0;
  const codes = new Uint8Array(data.length);
  const scale = high > low ? MOST_CODE / (high - low) : 0;
  for (let i = 0; i < codes.length; i++) {
    const value = data[i];
    codes[i] = Number.isNaN(value) ? 0 : Math.round((Math.min(high, Math.max(low, value)) - low) * scale) + 1;
  }
  const [rows, columns] = shape;
  return {codes, picture: {whole: [rows, columns], step: [1, 1], pool: 'mean', scale: 'linear', low, high, soft: 0}};
}

/**
 * @param {Record<string, {size?: number, pool?: string, scale?: string}>} shown by name
 * @returns {string}
 */
export const sayShow = (shown) => JSON.stringify({show: shown});

/** @param {number} number of a message that is drawn */
export const sayDrawn = (number) => JSON.stringify({ack: number});
