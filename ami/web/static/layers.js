/** The graph as layers, from the fields to what is computed last, and what each definition costs. Without a DOM. @module */

/** @typedef {{text: string, owners: string[], result: boolean, uses: string[]}} Definition */
/** @typedef {{name: string, kind: 'field'|'value'|'result', uses: string[], users: string[]}} Node */

/**
 * Each node stands right of all that it uses, near the middle of these.
 * @param {Record<string, Definition>} definitions
 * @param {string} [wanted] part of a name: only what has it, what that is made of, and what is made of it
 * @returns {{nodes: Map<string, Node>, layers: string[][]}}
 */
export function layGraph(definitions, wanted = '') {
  /** @type {Map<string, Node>} */
  const nodes = new Map();
  const put = (/** @type {string} */ name) => {
    const one = Object.hasOwn(definitions, name) ? definitions[name] : null;
    if (!nodes.has(name)) nodes.set(name, {name, kind: !one ? 'field' : one.result ? 'result' : 'value', uses: one?.uses ?? [], users: []});
    return /** @type {Node} */ (nodes.get(name));
  };
  for (const [name, {uses}] of Object.entries(definitions)) for (const used of put(name).uses.length ? uses : []) put(used).users.push(name);
  if (wanted) keepRelated(nodes, [...nodes.keys()].filter((name) => name.toLowerCase().includes(wanted.toLowerCase())));
  const depths = /** @type {Map<string, number>} */ (new Map());
  const depth = (/** @type {string} */ name) => {
    if (!depths.has(name)) {
      depths.set(name, 0);
      const below = (nodes.get(name)?.uses ?? []).filter((used) => nodes.has(used)).map(depth);
      depths.set(name, nodes.get(name)?.kind === 'field' ? 0 : 1 + Math.max(0, ...below));
    }
    return /** @type {number} */ (depths.get(name));
  };
  /** @type {string[][]} */
  const layers = [];
  for (const name of nodes.keys()) (layers[depth(name)] ??= []).push(name);
  const places = /** @type {Map<string, number>} */ (new Map());
  const middle = (/** @type {string} */ name) => {
    const near = (nodes.get(name)?.uses ?? []).map((used) => places.get(used)).filter((place) => place !== undefined);
    return near.length ? near.reduce((sum, place) => /** @type {number} */ (sum) + /** @type {number} */ (place), 0) / near.length : 0;
  };
  for (const layer of layers.filter(Boolean)) {
    const middles = new Map(layer.map((name) => [name, middle(name)]));
    layer.sort((a, b) => Number(middles.get(a)) - Number(middles.get(b)));
    layer.forEach((name, i) => places.set(name, (i + 0.5) / layer.length));
  }
  return {nodes, layers: layers.filter(Boolean)};
}

/** @param {Map<string, Node>} nodes @param {string[]} names */
function keepRelated(nodes, names) {
  const kept = new Set(names);
  for (const way of /** @type {const} */ (['uses', 'users'])) {
    const next = [...names];
    for (let name = next.pop(); name !== undefined; name = next.pop()) {
      kept.add(name);
      next.push(...(nodes.get(name)?.[way] ?? []).filter((one) => !kept.has(one)));
    }
  }
  for (const name of nodes.keys()) if (!kept.has(name)) nodes.delete(name);
}

/**
 * Of each definition, all its operations together.
 * @param {{names: string[], events_hz: number, us_per_event: number, errors: number}[]} operations as `ami top --json` has them
 * @param {Record<string, any>} definitions
 */
export function costsOf(operations, definitions) {
  /** @type {Record<string, {hz: number, us: number, errors: number}>} */
  const costs = {};
  for (const {names, events_hz: hz, us_per_event: us, errors} of operations) {
    // signal/1 is a part of signal, unless somebody called a definition so. What several share, each of them needs.
    for (const name of new Set(names.map((one) => (Object.hasOwn(definitions, one) ? one : one.replace(/\/\d+$/, ''))))) {
      const sum = (costs[name] ??= {hz: 0, us: 0, errors: 0});
      Object.assign(sum, {hz: Math.max(sum.hz, hz), us: sum.us + us, errors: sum.errors + errors});
    }
  }
  return costs;
}
