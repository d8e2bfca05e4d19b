// Server-sent events by `fetch`: EventSource can send neither the token nor, after a reload, the last
// id. A stream resumes after the last id that it received, so that no event is missed or repeated.

import { Problem, request } from "./api.js";

const RETRY_MS = 500;
const RETRY_MAX_MS = 15_000;
const SILENCE_MS = 40_000; // the service sends something every 15 s; a silent connection is dead
const MESSAGE_MAX = 16 * 1024 * 1024; // characters

// Calls `onMessage({event, data, id})` for each message, with `data` parsed, and
// `onState(state, problem)` with "connecting" | "live" | "offline" | "refused". Returns {close, id()}.
export function openStream(path, { since = null, onMessage, onState = () => {} }) {
  const stream = new Stream(path, since, onMessage, onState);
  stream.run();
  return { close: () => stream.close(), id: () => stream.lastId };
}

class Stream {
  constructor(path, since, onMessage, onState) {
    Object.assign(this, { path, lastId: since, onMessage, onState, closed: false, failures: 0 });
    this.wake = () => {};
    this.onVisible = () => document.visibilityState === "visible" && this.wake();
    this.onOnline = () => this.wake();
    this.onOffline = () => this.controller?.abort(); // a dead connection may look open for long
    addEventListener("online", this.onOnline);
    addEventListener("offline", this.onOffline);
    document.addEventListener("visibilitychange", this.onVisible);
  }

  close() {
    this.closed = true;
    removeEventListener("online", this.onOnline);
    removeEventListener("offline", this.onOffline);
    document.removeEventListener("visibilitychange", this.onVisible);
    this.controller?.abort();
    this.wake();
  }

  async run() {
    while (!this.closed) {
      this.onState(this.failures ? "offline" : "connecting");
      try {
        await this.listen();
        this.failures = 0; // the stream's lifetime is over: reconnect at once
      } catch (error) {
        if (this.closed) return;
        if (error instanceof Problem && isFinal(error)) return this.onState("refused", error);
        this.failures += 1;
        this.onState("offline", error);
        await this.pause(error.retryAfterS);
      }
    }
  }

  async listen() {
    this.controller = new AbortController();
    const headers = { Accept: "text/event-stream" };
    if (this.lastId) headers["Last-Event-ID"] = this.lastId;
    this.listenForSilence();
    try {
      const answer = await request("GET", this.path, { headers, signal: this.controller.signal });
      this.failures = 0;
      this.onState("live");
      await this.read(answer.body.getReader());
    } finally {
      clearTimeout(this.silence);
    }
  }

  async read(reader) {
    const decoder = new TextDecoder();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      this.listenForSilence();
      const messages = (rest + decoder.decode(value, { stream: true })).split("\n\n");
      rest = messages.pop();
      if (rest.length > MESSAGE_MAX) throw new Error("A message is too long.");
      for (const message of messages) this.take(message);
    }
  }

  take(text) {
    const fields = { event: "message", data: "" };
    for (const line of text.split("\n")) {
      const colon = line.indexOf(":");
      if (colon <= 0) continue; // a comment
      const value = line.slice(colon + 1).replace(/^ /, "");
      const name = line.slice(0, colon);
      fields[name] = name === "data" && fields.data ? `${fields.data}\n${value}` : value;
    }
    if (fields.id !== undefined) this.lastId = fields.id;
    if (fields.data) this.onMessage({ ...fields, data: JSON.parse(fields.data) });
  }

  listenForSilence() {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => this.controller.abort(), SILENCE_MS);
  }

  // Exponential backoff with jitter. A page that becomes visible or comes online reconnects at once.
  pause(retryAfterS) {
    const doubled = Math.min(RETRY_MAX_MS, RETRY_MS * 2 ** Math.min(this.failures - 1, 10));
    const ms = Math.max(doubled * (0.5 + Math.random() / 2), (retryAfterS ?? 0) * 1000);
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.wake = () => (clearTimeout(timer), resolve());
    });
  }
}

// Repeating the request would get the same response.
function isFinal(problem) {
  return problem.status >= 400 && problem.status < 500 && problem.status !== 429 && problem.status !== 408;
}
