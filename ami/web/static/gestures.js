/**
 * What people do to a picture or a plot, by pointer, touch or keys: the same for all.
 *
 * The wheel zooms with Ctrl, or where the view has the focus; else it scrolls the page. @module
 */

/**
 * Places are shares of the view: 0 to 1 from left to right and from top to bottom.
 * @typedef {object} Acts
 * @property {(factor: number, x: number, y: number, axes: string) => void} zoom
 * @property {(x: number, y: number) => void} pan
 * @property {() => void} reset
 * @property {(x: number, y: number) => void} point
 * @property {(columns: number, rows: number) => void} step of the crosshair
 * @property {() => void} leave
 * @property {(phase: 'down'|'move'|'up', x: number, y: number) => boolean} [drag] true: it is dealt with
 */

const STEP = 1.25;

/** @param {HTMLElement} view @param {Acts} acts @param {() => {left: number, top: number, width: number, height: number}} box of what is drawn */
export function attachGestures(view, acts, box) {
  const share = (/** @type {{clientX: number, clientY: number}} */ event) => {
    const {x, y} = view.getBoundingClientRect();
    const {left, top, width, height} = box();
    return /** @type {[number, number]} */ ([(event.clientX - x - left) / width, (event.clientY - y - top) / height]);
  };
  attachPointers(view, acts, share);
  view.addEventListener('wheel', (event) => {
    if (!event.ctrlKey && document.activeElement !== view) return;
    event.preventDefault();
    acts.zoom(event.deltaY > 0 ? STEP : 1 / STEP, ...share(event), event.shiftKey ? 'y' : event.altKey ? 'x' : 'xy');
  }, {passive: false});
  view.addEventListener('dblclick', () => acts.reset());
  view.addEventListener('keydown', (event) => pressKey(event, acts));
}

/** @param {HTMLElement} view @param {Acts} acts @param {(event: PointerEvent) => [number, number]} share */
function attachPointers(view, acts, share) {
  /** @type {Map<number, [number, number]>} */
  const down = new Map();
  let taken = false;
  view.addEventListener('pointerdown', (event) => {
    if (event.button) return;
    down.set(event.pointerId, share(event));
    view.setPointerCapture(event.pointerId);
    taken = Boolean(acts.drag?.('down', ...share(event)));
  });
  view.addEventListener('pointermove', (event) => {
    const [x, y] = share(event);
    const before = down.get(event.pointerId);
    if (!before) acts.point(x, y);
    else if (taken) acts.drag?.('move', x, y);
    else if (down.size === 1) acts.pan(before[0] - x, before[1] - y);
    else pinch([...down.values()], [...down].map(([id, place]) => (id === event.pointerId ? [x, y] : place)), acts);
    if (before) down.set(event.pointerId, [x, y]);
  });
  const up = (/** @type {PointerEvent} */ event) => {
    if (taken && down.has(event.pointerId)) acts.drag?.('up', ...share(event));
    else if (event.type === 'pointerup' && event.pointerType !== 'mouse') acts.point(...share(event));
    down.delete(event.pointerId);
    taken = false;
  };
  view.addEventListener('pointerup', up);
  view.addEventListener('pointercancel', up);
  view.addEventListener('pointerleave', (event) => { if (!down.size && event.pointerType === 'mouse') acts.leave(); });
}

/** @param {number[][]} before @param {number[][]} after of two fingers @param {Acts} acts */
function pinch(before, after, acts) {
  const apart = (/** @type {number[][]} */ [a, b]) => Math.hypot(a[0] - b[0], a[1] - b[1]) || 1e-3;
  const [a, b] = after;
  acts.zoom(apart(before) / apart(after), (a[0] + b[0]) / 2, (a[1] + b[1]) / 2, 'xy');
}

/** @param {KeyboardEvent} event @param {Acts} acts */
function pressKey(event, acts) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const far = event.shiftKey ? 10 : 1;
  /** @type {Record<string, () => void>} */
  const keys = {
    ArrowLeft: () => acts.step(-far, 0), ArrowRight: () => acts.step(far, 0),
    ArrowUp: () => acts.step(0, -far), ArrowDown: () => acts.step(0, far),
    '+': () => acts.zoom(1 / STEP, 0.5, 0.5, 'xy'), '=': () => acts.zoom(1 / STEP, 0.5, 0.5, 'xy'),
    '-': () => acts.zoom(STEP, 0.5, 0.5, 'xy'), 0: () => acts.reset(), Escape: () => acts.leave(),
  };
  const act = keys[event.key];
  if (!act) return;
  act();
  event.preventDefault();
  if (event.key !== 'Escape') event.stopPropagation();
}
