/** Make elements, and give people files. @module */

/**
 * @param {string} tag
 * @param {Record<string, any>} [facts] attributes; ``text``, ``class``, and ``on…`` for what to do
 * @param {...(Node|string|null|undefined)} children
 * @returns {any}
 */
export function element(tag, facts = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, fact] of Object.entries(facts)) {
    if (fact === undefined || fact === false || fact === null) continue;
    if (name === 'text') made.textContent = fact;
    else if (name.startsWith('on')) made.addEventListener(name.slice(2), fact);
    else if (name === 'value' || name === 'checked') /** @type {any} */ (made)[name] = fact;
    else made.setAttribute(name, fact === true ? '' : String(fact));
  }
  made.append(...children.filter((child) => child !== null && child !== undefined).map((child) => /** @type {Node|string} */ (child)));
  return made;
}

/**
 * A button: its title says more than its sign. That is its name, too, unless the sign is another word: who speaks to
 * a page says what is written there.
 * @param {string} sign @param {string} title @param {(event: Event) => void} act
 */
export function button(sign, title, act, facts = {}) {
  const isWord = /^[a-z ]{3,}$/i.test(sign) && !title.toLowerCase().startsWith(sign.toLowerCase());
  return element('button', {type: 'button', title, 'aria-label': isWord ? undefined : title, onclick: act, ...facts}, sign);
}

/** @param {string} name @param {readonly string[]} options @param {string} chosen @param {(value: string) => void} act */
export function choice(name, options, chosen, act) {
  const select = element('select', {'aria-label': name, onchange: () => act(select.value)},
    ...options.map((one) => element('option', {value: one, text: one})));
  select.value = chosen;
  return element('label', {}, element('span', {text: name}), select);
}

/** Change a text only where it is another: what did not change is not laid out again. @param {Element} where @param {string} text */
export function write(where, text) {
  if (where.textContent !== text) where.textContent = text;
}

/** @param {string} name @param {Blob} content */
export function download(name, content) {
  const url = URL.createObjectURL(content);
  element('a', {href: url, download: name}).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** Sizes of canvases: to read one after a text was written lays the page out anew, for each tile. @type {WeakMap<Element, [number, number]>} */
const sizes = new WeakMap();
// Made before all others, so that it hears of a size before who draws at it.
const sizer = new ResizeObserver((changed) => {
  for (const {target, contentRect} of changed) sizes.set(target, [contentRect.width, contentRect.height]);
});

/**
 * Clear a canvas, and make it as sharp as the screen.
 * @param {HTMLCanvasElement} canvas
 * @returns {{context: CanvasRenderingContext2D, width: number, height: number}} in pixels of the page
 */
export function fitCanvas(canvas) {
  if (!sizes.has(canvas)) {
    sizes.set(canvas, [canvas.clientWidth, canvas.clientHeight]);
    sizer.observe(canvas);
  }
  const [width, height] = sizes.get(canvas) ?? [0, 0];
  const ratio = window.devicePixelRatio || 1;
  const [w, h] = [Math.max(1, Math.round(width * ratio)), Math.max(1, Math.round(height * ratio))];
  if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return {context, width, height};
}

/** Light over dark: a line that is seen on every colour. @param {CanvasRenderingContext2D} context @param {string} colour @param {number} width */
export function strokeSeen(context, colour, width) {
  context.strokeStyle = 'rgb(0 0 0 / 60%)';
  context.lineWidth = width + 1.5;
  context.stroke();
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.stroke();
}

/** @type {Record<string, string>|null} */
let ink = null;
const INKS = ['ink', 'faint', 'line', 'edge', 'paper', 'accent', 'series-1', 'series-2', 'series-3', 'series-4', 'reference'];

/** Colours and letters of the style sheet, for canvases. */
export function inks() {
  if (!ink) {
    const style = getComputedStyle(document.documentElement);
    ink = Object.fromEntries(INKS.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
    ink.font = `${parseFloat(style.fontSize) * 0.72}px ${style.fontFamily}`;
    ink.em = String(parseFloat(style.fontSize));
  }
  return ink;
}

/** @param {'dark'|'light'|''} theme "" is what the system says */
export function setTheme(theme) {
  ink = null;
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
}

export const isDark = () => {
  const {theme} = document.documentElement.dataset;
  return theme ? theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
};
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => { ink = null; });
