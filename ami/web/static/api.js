/** Ask the daemon over HTTP. The token of who edits is in the link, and is kept as long as the tab lives. @module */

const TOKEN = 'ami.token';
const WAIT_MS = 15_000;

/** The daemon said no; ``status`` is HTTP's, 0 where it said nothing. */
export class Refusal extends Error {
  /** @param {string} text @param {number} status */
  constructor(text, status) {
    super(text);
    this.status = status;
  }
}

/** What stands behind ``#`` in the address; a token is taken out of it, so that nobody reads it there. */
export function readAddress() {
  const said = new URLSearchParams(location.hash.slice(1));
  const token = said.get('token');
  if (token) {
    sessionStorage.setItem(TOKEN, token);
    said.delete('token');
    history.replaceState(null, '', said.size ? `#${said}` : location.pathname);
  }
  return said;
}

export const token = () => sessionStorage.getItem(TOKEN) ?? '';

/**
 * @param {string} path behind ``/api/``
 * @param {{method?: string, body?: any, as?: 'json'|'blob'}} [how]
 * @returns {Promise<any>}
 */
export async function ask(path, {method = 'GET', body, as = 'json'} = {}) {
  const headers = new Headers();
  if (token()) headers.set('authorization', `Bearer ${token()}`);
  if (body !== undefined) headers.set('content-type', 'application/json');
  let response;
  try {
    response = await fetch(`/api/${path}`, {
      method, headers, body: body === undefined ? undefined : JSON.stringify(body), signal: AbortSignal.timeout(WAIT_MS),
    });
  } catch {
    throw new Refusal('the daemon does not answer', 0);
  }
  /** @type {any} cut short, it is no answer, whatever its status was */
  const said = await response[response.ok ? as : 'json']().catch(() => ({error: `${response.status} ${response.statusText}: no JSON`, cut: true}));
  if (response.ok && !said?.cut) return said;
  const hint = response.status === 401 ? '; open the link that `ami web` prints' : '';
  throw new Refusal((said.error ?? `${response.status}`) + (/link/.test(said.error) ? '' : hint), response.status);
}

/** Ask for an edit of the graph, in the name that the viewer gave. @param {Record<string, any>} edit @returns {Promise<any>} */
export const edit = (edit) => ask('graph', {method: 'POST', body: {name: editor(), ...edit}});

export const editor = () => localStorage.getItem('ami.name') || 'page';
/** @param {string} name */
export const setEditor = (name) => localStorage.setItem('ami.name', name.trim());

/** @param {string} name @param {string} [what] */
export const resultPath = (name, what) => `results/${encodeURIComponent(name)}${what ? `/${what}` : ''}`;
