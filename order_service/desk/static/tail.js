// The newest events of a stream that match a filter. Their number is bounded, and the page is drawn a
// few times per second, not once per event.

export const KEPT_MAX = 100;
const DRAW_MS = 300;

// `onChange()` is called when `events` (newest first) has changed.
export class Tail {
  constructor(onChange) {
    Object.assign(this, { events: [], arrived: [], seen: 0, wanted: () => true, timer: null, onChange });
  }

  add(event) {
    this.seen += 1;
    if (this.wanted(event)) this.arrived.push(event);
    if (this.arrived.length > 2 * KEPT_MAX) this.arrived = this.arrived.slice(-KEPT_MAX);
    this.timer ??= setTimeout(() => this.draw(), DRAW_MS);
  }

  // Keeps only events that `wanted` accepts, now and from now on.
  filter(wanted) {
    this.wanted = wanted;
    this.arrived = this.arrived.filter(wanted);
    this.events = this.events.filter(wanted);
    this.onChange();
  }

  draw() {
    this.timer = null;
    // Events are in order within each partition only, so they are sorted by time.
    this.events = [...this.arrived.reverse(), ...this.events].sort(newestFirst).slice(0, KEPT_MAX);
    this.arrived = [];
    this.onChange();
  }

  clear() {
    this.arrived = [];
    this.events = [];
    this.onChange();
  }

  close() {
    clearTimeout(this.timer);
  }
}

function newestFirst(a, b) {
  return a.at === b.at ? b.version - a.version : a.at < b.at ? 1 : -1;
}
