// The board's cards, sorted in columns. Changes are merged in: sorting ten thousand cards for each of
// some hundred changes per second would leave the page no time for anything else.

export const STATUSES = ["PENDING", "PAID", "PARTIALLY_SHIPPED", "SHIPPED", "DELIVERED", "RETURNED", "CANCELED"];
// Whether the first card stands before the second.
const ORDERS = {
  changed: (a, b) => a.updated_at > b.updated_at,
  waiting: (a, b) => a.created_at < b.created_at,
};

export class SortedColumns {
  constructor() {
    this.order = "changed";
    this.all([]);
  }

  // Replaces all cards.
  all(cards) {
    this.columns = Object.fromEntries(STATUSES.map((status) => [status, []]));
    for (const card of cards) this.columns[card.status]?.push(card);
    for (const column of Object.values(this.columns)) this.sort(column);
  }

  sortBy(order) {
    if (order === this.order || !ORDERS[order]) return;
    this.order = order;
    this.all(Object.values(this.columns).flat());
  }

  // `changed`: id to the card as it is now. A column without a changed card stays the same array.
  merge(changed) {
    for (const [status, column] of Object.entries(this.columns)) {
      const stay = column.filter((card) => !changed.has(card.id));
      const enter = [...changed.values()].filter((card) => card.status === status);
      if (enter.length === 0 && stay.length === column.length) continue;
      this.columns[status] = this.merged(stay, this.sort(enter));
    }
  }

  sort(cards) {
    const before = ORDERS[this.order];
    return cards.sort((a, b) => (before(a, b) ? -1 : before(b, a) ? 1 : 0));
  }

  merged(first, second) {
    const before = ORDERS[this.order];
    const merged = [];
    let at = 0;
    for (const card of first) {
      while (at < second.length && before(second[at], card)) merged.push(second[at++]);
      merged.push(card);
    }
    return merged.concat(second.slice(at));
  }
}

// The cards of each column that match the filter.
export function fitting(columns, { olderThanMs, text }, now) {
  const wanted = text.trim().toLowerCase();
  if (!olderThanMs && !wanted) return columns;
  const until = olderThanMs ? new Date(now - olderThanMs).toISOString() : "~";
  const fits = (card) =>
    card.created_at <= until && `${card.number} ${card.customer ?? ""}`.toLowerCase().includes(wanted);
  return Object.fromEntries(Object.entries(columns).map(([status, cards]) => [status, cards.filter(fits)]));
}
