// The board's cards: read once, then kept up to date by the stream. Whatever comes is gathered until
// the next frame, so that hundreds of changes a second are one render; all that is kept is bounded.

import { get } from "./api.js";
import { SortedColumns } from "./board_columns.js";
import { addAmounts } from "./format.js";
import { openStream } from "./stream.js";

const CLOSED = new Set(["DELIVERED", "RETURNED", "CANCELED"]);
const CARDS_MAX = 10_000;
const SURPLUS_MAX = 500; // above it, before the oldest go: sorting all of them for each one is dear
const GATHERED_MAX = 2_000; // a page out of sight has no frames: then they are taken in at once
const CLOSED_KEPT_MS = 24 * 3600 * 1000;
const TIDY_MS = 60_000;

// `onChange()`: at most once a frame. Holds `cards` (id to card), `columns` (status to {count, totals}),
// `more` (there are cards that are not here), `state` and `error` of the connection.
export class Board {
  constructor(onChange) {
    Object.assign(this, { onChange, cards: new Map(), columns: new Map(), newest: "", more: false, state: "connecting" });
    this.gathered = new Map();
    this.sorted = new SortedColumns();
    this.frame = null;
    this.tidying = setInterval(() => this.tidy(), TIDY_MS);
  }

  async start(signal) {
    this.signal = signal;
    const board = await this.read();
    if (signal.aborted) return;
    this.stream = openStream("/ops/board/stream", {
      since: board.token,
      onMessage: ({ event, data }) => event === "cards" && this.gather(data.cards),
      onState: (state, error) => (Object.assign(this, { state, error }), this.soon()),
    });
    this.soon();
  }

  async read() {
    const board = await get("/ops/board/", { signal: this.signal });
    this.cards = new Map(board.cards.map((card) => [card.id, newest(this.cards.get(card.id), card)]));
    this.columns = new Map(board.columns.map(({ status, count, totals }) => [status, { count, totals: byCurrency(totals) }]));
    this.newest = board.cards.reduce((last, card) => (card.created_at > last ? card.created_at : last), "");
    this.sorted.all(this.cards.values());
    this.more = board.more;
    this.loaded = true;
    this.drifted = false;
    return board;
  }

  stop() {
    this.stream?.close();
    clearInterval(this.tidying);
    cancelAnimationFrame(this.frame);
  }

  gather(cards) {
    for (const card of cards) this.gathered.set(card.id, card);
    if (this.gathered.size >= GATHERED_MAX) this.takeIn();
    this.soon();
  }

  soon() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.takeIn();
      this.onChange();
    });
  }

  takeIn() {
    const now = Date.now();
    const changed = new Map();
    for (const card of this.gathered.values()) {
      if (this.put(card, now)) changed.set(card.id, this.cards.get(card.id));
    }
    this.gathered.clear();
    if (changed.size > 0) this.sorted.merge(changed);
    if (this.cards.size > CARDS_MAX + SURPLUS_MAX) this.dropSurplus();
  }

  // What was here already in this version or a later one changes nothing: messages may come twice.
  put(card, now) {
    const before = this.cards.get(card.id);
    if (before && before.version >= card.version) return false;
    if (before) this.count(before, -1);
    // Of an order that is none of the cards nobody knows which column had counted it, unless it is new.
    if (before || !this.more || card.created_at > this.newest) this.count(card, 1);
    else this.drifted = true;
    this.cards.set(card.id, { ...card, changedAt: now });
    return true;
  }

  count({ status, currency, total_price }, sign) {
    const column = this.columns.get(status) ?? { count: 0, totals: new Map() };
    column.count += sign;
    column.totals.set(currency, addAmounts(column.totals.get(currency) ?? "0", total_price, sign));
    this.columns.set(status, column);
  }

  // A command's answer, before the stream brings it.
  show(order) {
    const before = this.cards.get(order.id);
    if (!before) return;
    const { status, payment_status, fulfillment_status, total_price, version, updated_at } = order;
    this.gather([{ ...before, status, payment_status, fulfillment_status, total_price, version, updated_at }]);
  }

  // Once a minute. Counts that went astray are read anew; if that fails, a minute later.
  tidy() {
    this.dropOld();
    if (this.drifted) this.read().then(() => this.soon(), () => {});
  }

  dropOld() {
    const until = new Date(Date.now() - CLOSED_KEPT_MS).toISOString();
    for (const card of this.cards.values()) {
      if (!isClosed(card) || card.updated_at >= until) continue;
      this.cards.delete(card.id);
      this.count(card, -1);
    }
    this.sorted.all(this.cards.values());
    this.soon();
  }

  dropSurplus() {
    const worth = (card) => `${isClosed(card) ? 0 : 1}${card.updated_at}`;
    const sorted = [...this.cards.values()].sort((a, b) => (worth(a) < worth(b) ? -1 : 1));
    for (const card of sorted.slice(0, this.cards.size - CARDS_MAX)) {
      this.cards.delete(card.id);
      this.more = true;
    }
    this.sorted.all(this.cards.values());
  }
}

function isClosed({ status, flags }) {
  return CLOSED.has(status) && flags.length === 0;
}

function newest(before, card) {
  return before && before.version > card.version ? before : card;
}

function byCurrency(totals) {
  return new Map(totals.map(({ currency, amount }) => [currency, amount]));
}
