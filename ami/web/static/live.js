/**
 * Hold the connection: say what is shown, hand on what comes, acknowledge it when it is drawn, and come back.
 *
 * There is no queue here: the daemon has two messages under way at most. A tab that nobody sees acknowledges at
 * once, for it draws nothing.
 * @module
 */

import {token} from './api.js';
import {decodeMessage, sayDrawn, sayShow} from './protocol.js';

const FIRST_MS = 500;
const LONGEST_MS = 5_000;
const TICK_MS = 1_000;
// A machine that slept longer has a connection that only looks like one.
const SLEPT_MS = 15_000;
// Of silence, after which the daemon is asked whether it is there.
const SILENT_MS = 20_000;

/** @typedef {'connecting'|'here'|'away'|'refused'} State */
/** @typedef {{results: (results: import('./protocol.js').Result[]) => void, text: (said: any) => void, state: () => void}} Hearers */

export class Live {
  /** @param {Hearers} hearers @param {(draw: () => void) => void} whenDrawn calls back after the next drawing */
  constructor(hearers, whenDrawn) {
    this.hearers = hearers;
    this.whenDrawn = whenDrawn;
    /** @type {State} */
    this.state = 'connecting';
    this.since = Date.now();
    this.because = '';
    /** @type {WebSocket|null} */
    this.socket = null;
    this.wait_ms = FIRST_MS;
    this.shown = '';
    this.received = 0;
    this.heard = this.ticked = Date.now();
    this.timer = 0;
  }

  start() {
    setInterval(() => this.tick(), TICK_MS);
    const now = () => { if (!document.hidden && this.state === 'away') this.connect(); };
    addEventListener('online', now);
    document.addEventListener('visibilitychange', now);
    this.connect();
  }

  /** @param {Record<string, object>} shown by name */
  show(shown) {
    const text = sayShow(shown);
    if (text === this.shown) return;
    this.shown = text;
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(text);
  }

  connect() {
    clearTimeout(this.timer);
    this.drop();
    const socket = new WebSocket(`${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/live`);
    this.socket = socket;
    this.because = '';
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => {
      if (token()) socket.send(JSON.stringify({token: token()}));
      if (this.shown) socket.send(this.shown);
      this.heard = Date.now();
    };
    socket.onmessage = (event) => this.hear(socket, event.data);
    socket.onclose = () => this.leave();
  }

  /** Let go of a connection without waiting for its end. */
  drop() {
    if (!this.socket) return;
    this.socket.onopen = this.socket.onmessage = this.socket.onclose = null;
    this.socket.close();
    this.socket = null;
  }

  leave() {
    this.drop();
    this.become(this.because ? 'refused' : 'away');
    // Not all at once, when a daemon comes back to a hundred pages.
    this.timer = window.setTimeout(() => this.connect(), this.wait_ms * (0.5 + Math.random()));
    this.wait_ms = Math.min(LONGEST_MS, this.wait_ms * 2);
  }

  /** @param {WebSocket} socket @param {string|ArrayBuffer} said */
  hear(socket, said) {
    this.heard = Date.now();
    try {
      if (typeof said === 'string') this.hearText(JSON.parse(said));
      else {
        this.become('here');
        this.received += said.byteLength;
        const {number, results} = decodeMessage(said, performance.now());
        this.hearers.results(results);
        const acknowledge = () => { if (socket.readyState === WebSocket.OPEN) socket.send(sayDrawn(number)); };
        if (document.hidden) acknowledge();
        else this.whenDrawn(acknowledge);
      }
    } catch (error) {
      console.error(error);
      this.leave();
    }
  }

  /** @param {any} said */
  hearText(said) {
    if (said.error) this.because = String(said.error);
    else {
      this.become('here');
      this.hearers.text(said);
    }
  }

  /** @param {State} state */
  become(state) {
    if (state === 'here') this.wait_ms = FIRST_MS;
    if (state === this.state) return;
    this.state = state;
    this.since = Date.now();
    this.hearers.state();
  }

  tick() {
    const now = Date.now();
    const slept = now - this.ticked > SLEPT_MS && !document.hidden;
    this.ticked = now;
    if (slept) this.connect();
    else if (this.state === 'here' && now - this.heard > SILENT_MS) {
      this.heard = now;
      fetch('/healthz', {signal: AbortSignal.timeout(5_000)}).catch(() => this.leave());
    }
  }
}
