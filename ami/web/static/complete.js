/** What may stand where somebody types in a definition, and a definition out of a form. Without a DOM. @module */

import {quote} from './definitions.js';

/** @typedef {{name: string, type: string, default: any}} Parameter */
/** @typedef {{name: string, usage: string, help: string, sort: string, inputs: string[], parameters: Parameter[]}} Operation */
/** @typedef {{values: {name: string, hint: string}[], operations: Operation[]}} Known */
/** @typedef {{text: string, hint: string}} Option */

const MOST = 8;
export const WINDOWS = ['run', 'interval', '"last 20"', '"10 s"', '"100 events"'];

/**
 * The call around a place: its operation, what is given to it already, and which argument stands there.
 * @param {string} before what stands before the place
 */
export function callAt(before) {
  const plain = before.replace(/"[^"\n]*"|'[^'\n]*'|`[^`\n]*`/g, (quoted) => '_'.repeat(quoted.length));
  let [depth, at] = [0, plain.length - 1];
  for (; at >= 0; at--) {
    if (')]'.includes(plain[at])) depth++;
    else if ('(['.includes(plain[at]) && depth-- === 0) break;
  }
  const name = plain[at] === '(' ? /([A-Za-z_]\w*)$/.exec(plain.slice(0, at))?.[1] : undefined;
  if (!name) return null;
  let level = 0;
  let [given, start] = [/** @type {string[]} */ ([]), at + 1];
  for (let i = at + 1; i < plain.length; i++) {
    if ('(['.includes(plain[i])) level++;
    else if (')]'.includes(plain[i])) level--;
    else if (plain[i] === ',' && !level) given.push(before.slice(start, i)), start = i + 1;
  }
  return {name, given, argument: before.slice(start).trimStart()};
}

/**
 * @param {string} text @param {number} caret @param {Known} known
 * @returns {{from: number, options: Option[], usage: string}} what is replaced from there to the caret
 */
export function completeAt(text, caret, known) {
  const before = text.slice(0, caret);
  const line = before.slice(before.lastIndexOf('\n') + 1);
  const word = /`[^`\n]*$|[A-Za-z_]\w*$/.exec(line)?.[0] ?? '';
  const inQuotes = (line.replace(/`[^`]*`?/g, '').match(/["']/g)?.length ?? 0) % 2 === 1;
  const call = callAt(line);
  const operation = known.operations.find((one) => one.name === call?.name);
  const usage = operation ? `${operation.usage}: ${operation.help.split('\n\n')[0]}` : '';
  const nothing = {from: caret, options: [], usage};
  // A name stands before the first sign of equality; a number is nobody's beginning.
  if (inQuotes || (!/[=:]/.test(line) && !call) || /[\d.]\w*$/.test(line.slice(0, line.length - word.length) + word.slice(0, 1))) return nothing;
  const from = caret - word.length;
  const set = /^(\w+)\s*=\s*\w*$/.exec(call?.argument ?? '');
  if (set?.[1] === 'window') return {from, usage, options: choose(WINDOWS.map((one) => ({text: one, hint: 'window'})), word)};
  if (!word && !/[(,=+\-*/<>&|]\s*$/.test(line)) return nothing;
  const taken = (call?.given ?? []).map((one) => /^\s*(\w+)\s*=[^=]/.exec(one)?.[1]);
  const parameters = set || !operation || (call?.given.length ?? 0) < operation.inputs.length ? []
    : operation.parameters.filter((one) => !taken.includes(one.name)).map((one) => ({text: `${one.name}=`, hint: sayType(one)}));
  const values = known.values.map(({name, hint}) => ({text: quote(name), hint}));
  const operations = set ? [] : known.operations.map((one) => ({text: `${one.name}(`, hint: one.sort}));
  return {from, usage, options: choose([...parameters, ...values, ...operations], word)};
}

/** @param {Option[]} options @param {string} word */
function choose(options, word) {
  const wanted = word.replaceAll('`', '').toLowerCase();
  const rank = ({text = ''}) => text.replaceAll('`', '').toLowerCase().indexOf(wanted);
  const found = options.filter((one) => rank(one) >= 0).sort((a, b) => Math.sign(rank(a)) - Math.sign(rank(b))).slice(0, MOST);
  return found.length === 1 && found[0].text === word ? [] : found;
}

/** @type {Record<string, string>} */
const TYPES = {int: 'whole number', float: 'number', str: 'text', Slice: 'range', Range: 'range', Point: '[row, column]'};

/** @param {Parameter} parameter */
export const sayType = ({type, default: usual}) =>
  (TYPES[type.split(' |')[0]] ?? type) + (usual === undefined ? '' : usual === null ? ', or nothing' : `, ${usual}`);

/**
 * A definition of what was filled in; what is empty is not said.
 * @param {Operation} operation @param {Record<string, string>} given by the names of inputs and parameters
 */
export function writeCall(operation, given) {
  const said = (/** @type {Parameter} */ {name, type}) => {
    const text = given[name].trim();
    return type.startsWith('str') && !/^[A-Za-z_]\w*$|^["']/.test(text) ? JSON.stringify(text) : text;
  };
  const parameters = operation.parameters.filter(({name, default: usual}) => given[name]?.trim() && given[name].trim() !== String(usual ?? ''));
  const values = operation.inputs.map((name) => given[name]?.trim() || name);
  return `${operation.name}(${[...values, ...parameters.map((one) => `${one.name}=${said(one)}`)].join(', ')})`;
}
