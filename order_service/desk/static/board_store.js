// The board's cards: read once, then updated by the stream. Changes are batched until the next frame,
// so that hundreds per second cost one render. Everything in memory is bounded.

import { get } from "./api.js";
import { SortedColumns } from "./board_columns.js";
import { addAmounts } from "./format.js";
import { openStream } from "./stream.js";

const CLOSED = new Set(["DELIVERED", "RETURNED", "CANCELED"]);
const CARDS_MAX = 10_000;
const SURPLUS_MAX = 500; // cards over CARDS_MAX before the oldest go, since that sorts all of them
const BATCH_MAX = 2_000; // changes; a hidden page has no frames, so it applies them at this number
const CLOSED_KEPT_MS = 24 * 3600 * 1000;
const TIDY_MS = 60_000;

// `onChange()` is called at most once per frame. Holds `cards` (id to card), `columns` (status to
// {count, totals}), `more` (the service has further cards), `state` and `error` of the connection.
export class Board {
  constructor(onChange) {
    Object.assign(this, { onChange, cards: new Map(), columns: new Map(), newest: "", more: false, state: "connecting" });
    this.batch = new Map();
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
      onMessage: ({ event, data }) => event === "cards" && this.receive(data.cards),
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

  receive(cards) {
    for (const card of cards) this.batch.set(card.id, card);
    if (this.batch.size >= BATCH_MAX) this.apply();
    this.soon();
  }

  soon() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.apply();
      this.onChange();
    });
  }

  apply() {
    const now = Date.now();
    const changed = new Map();
    for (const card of this.batch.values()) {
      if (this.put(card, now)) changed.set(card.id, this.cards.get(card.id));
    }
    this.batch.clear();
    if (changed.size > 0) this.sorted.merge(changed);
    if (this.cards.size > CARDS_MAX + SURPLUS_MAX) this.dropSurplus();
  }

  // Ignores a card of the same or an older version: messages may come twice.
  put(card, now) {
    const before = this.cards.get(card.id);
    if (before && before.version >= card.version) return false;
    if (before) this.count(before, -1);
    // Unless the order is new, the column that counted a card which is not here is unknown.
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

  // Shows the response to a command before the stream sends the change.
  show(order) {
    const before = this.cards.get(order.id);
    if (!before) return;
    const { status, payment_status, fulfillment_status, total_price, version, updated_at } = order;
    this.receive([{ ...before, status, payment_status, fulfillment_status, total_price, version, updated_at }]);
  }

  // Once a minute. Reads the board again if the counts have drifted.
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
