// Orders: filters, saved views, pages, and commands on many orders.

import { html, useEffect, useState } from "../vendor/preact-htm.js";
import { download, get, Problem } from "../api.js";
import { Bulk } from "../bulk.js";
import { Age, Empty, ErrorBox, Loading, Status, Table, Time, toast } from "../components.js";
import { amount, count, isZero, words } from "../format.js";
import { link, requery } from "../router.js";
import { useKeys } from "../keys.js";
import { useLoad } from "../store.js";

const STUCK_AFTER_MS = 24 * 3600 * 1000;
const SELECTED_MAX = 200;
const FIELDS = ["q", "status", "payment_status", "fulfillment_status", "currency", "created_from", "created_to", "sort", "user_id"];
const AXES = [
  ["status", "Order", ["PENDING", "PAID", "PARTIALLY_SHIPPED", "SHIPPED", "DELIVERED", "RETURNED", "CANCELED"]],
  ["payment_status", "Payment", ["UNPAID", "AUTHORIZED", "PARTIALLY_PAID", "PAID", "OVERPAID", "PARTIALLY_REFUNDED", "REFUNDED"]],
  ["fulfillment_status", "Fulfillment", ["UNFULFILLED", "PARTIALLY_SHIPPED", "SHIPPED", "PARTIALLY_DELIVERED", "DELIVERED", "PARTIALLY_RETURNED", "RETURNED", "CANCELED"]],
];
const SORTS = [["", "Newest first"], ["created_at", "Oldest first"], ["-updated_at", "Latest change first"], ["updated_at", "Longest unchanged first"]];
const VIEWS = {
  "to-ship": ["To ship", () => ({ status: "PAID,PARTIALLY_SHIPPED", sort: "created_at" })],
  "to-refund": ["To refund", () => ({ has_credit_due: "true" })],
  "refund-failed": ["Refund failed", () => ({ refund_failed: "true" })],
  returns: ["Returns", () => ({ return_open: "true" })],
  stuck: ["Stuck", (now) => ({
    status: "PENDING,PAID,PARTIALLY_SHIPPED", sort: "updated_at",
    updated_to: new Date(now - STUCK_AFTER_MS).toISOString(),
  })],
};
const CLEARED = Object.fromEntries([...FIELDS, "view", "cursor"].map((name) => [name, null]));

// The filters for the API. `at`: when the screen was opened; all pages of a view use the same time.
function filtersOf(query, at) {
  const given = Object.fromEntries(FIELDS.filter((name) => query[name]).map((name) => [name, query[name]]));
  return { ...VIEWS[query.view]?.[1](at), ...given };
}

export default function List({ query }) {
  const [opened, setOpened] = useState(Date.now());
  const [selected, setSelected] = useState(new Map());
  const [bulk, setBulk] = useState(null);
  const filters = filtersOf(query, opened);
  const address = new URLSearchParams({ ...filters, include: "total", ...(query.cursor && { cursor: query.cursor }) }).toString();
  const page = useLoad((signal) => get(`/orders/?${address}`, { signal, fresh: true }), [address]);
  useEffect(() => setSelected(new Map()), [JSON.stringify(filters)]);
  const reload = () => (query.view === "stuck" && setOpened(Date.now()), page.reload());
  useKeys({
    n: ["Next page", () => page.data?.next_cursor && requery({ cursor: page.data.next_cursor })],
    p: ["Previous page", () => page.data?.prev_cursor && requery({ cursor: page.data.prev_cursor })],
    r: ["Reload", reload],
    x: ["Select the order", () => toggleFocused(page.data, toggle)],
  });
  const rows = page.data?.items ?? [];
  const toggle = (number) => setSelected(toggled(selected, rows, [number], !selected.has(number)));
  const selection = {
    has: (number) => selected.has(number),
    toggle,
    toggleAll: (numbers) => setSelected(toggled(selected, rows, numbers, !numbers.every((n) => selected.has(n)))),
  };

  return html`<${Filters} query=${query} total=${page.data?.total} filters=${filters} />
    <${Selected} selected=${selected} onBulk=${setBulk} onClear=${() => setSelected(new Map())} />
    <div aria-busy=${page.loading}>${body(page, selection, query, reload)}</div>
    ${page.data && html`<${Pages} page=${page.data} />`}
    ${bulk && html`<${Bulk} kind=${bulk} orders=${[...selected.values()]}
      onClose=${() => (setBulk(null), setSelected(new Map()), reload())} />`}`;
}

function body(page, selection, query, reload) {
  if (page.error?.slug === "invalid-cursor") {
    return html`<${Empty} title="This page no longer exists"><a href="#/orders" onClick=${(e) => (e.preventDefault(), requery({ cursor: null }))}>Go to the first page</a><//>`;
  }
  if (page.error) return html`<${ErrorBox} error=${page.error} retry=${reload} />`;
  if (!page.data) return html`<${Loading} what="Loading orders" />`;
  if (page.data.items.length === 0) {
    return html`<${Empty} title="No orders match"><p>${query.q ? "Search for the beginning of a number, or an exact e-mail address, SKU or tracking number." : "Remove a filter."}</p><//>`;
  }
  return html`<${Table} caption="Orders" columns=${COLUMNS} rows=${page.data.items} rowKey=${(row) => row.number}
    link=${(row) => link(["orders", row.number])} selection=${selection} />`;
}

const COLUMNS = [
  { name: "number", title: "Number", cell: (o) => o.number },
  { name: "status", title: "Order", cell: (o) => html`<${Status} of=${o.status} />` },
  { name: "payment", title: "Payment", narrow: false, cell: (o) => html`<${Status} of=${o.payment_status} axis="payment" />` },
  { name: "fulfillment", title: "Fulfillment", narrow: false, cell: (o) => html`<${Status} of=${o.fulfillment_status} axis="fulfillment" />` },
  { name: "total", title: "Total", numeric: true, cell: (o) => html`${amount(o.total_price)} <small class="muted">${o.currency}</small>` },
  { name: "due", title: "Due", numeric: true, narrow: false, cell: (o) => (isZero(o.amount_due) ? "–" : amount(o.amount_due)) },
  { name: "credit", title: "Credit", numeric: true, narrow: false, cell: (o) => (isZero(o.credit_due) ? "–" : html`<strong class="bad">${amount(o.credit_due)}</strong>`) },
  { name: "units", title: "Units", numeric: true, narrow: false, cell: (o) => o.units },
  { name: "placed", title: "Placed", narrow: false, cell: (o) => html`<${Time} at=${o.created_at} />` },
  { name: "changed", title: "Changed", cell: (o) => html`<${Age} at=${o.updated_at} />` },
];

function toggled(selected, rows, numbers, on) {
  const next = new Map(selected);
  for (const number of numbers) {
    if (!on) next.delete(number);
    else if (next.size < SELECTED_MAX) next.set(number, rows.find((row) => row.number === number));
    else toast(`Select at most ${SELECTED_MAX} orders.`, "bad");
  }
  return next;
}

function toggleFocused(page, toggle) {
  const row = document.activeElement?.closest("tr")?.querySelector("[data-row]");
  if (page && row) toggle(row.textContent);
}

// --- above and below the table -------------------------------------------------------------------

function Filters({ query, total, filters }) {
  const set = (name) => (event) => requery({ [name]: event.target.value.trim(), cursor: null });
  return html`<div class="head"><h1>Orders</h1>
    <span class="muted" role="status">${total && `${total.relation === "gte" ? "more than " : ""}${count(total.count)}`}</span>
    <div class="row" role="group" aria-label="Saved views">
      <button type="button" aria-pressed=${!query.view} onClick=${() => requery(CLEARED)}>All</button>
      ${Object.entries(VIEWS).map(([name, [title]]) => html`<button key=${name} type="button" aria-pressed=${query.view === name}
        onClick=${() => requery({ ...CLEARED, view: name })}>${title}</button>`)}
    </div>
    <span class="row end"><${Export} filters=${filters} /></span></div>
  <div class="row filters">
    <input data-search type="search" aria-label="Search" placeholder="Number, e-mail, SKU, tracking" value=${query.q ?? ""} onChange=${set("q")} maxlength="200" />
    ${AXES.map(([name, title, values]) => html`<select key=${name} aria-label=${`${title} status`} onChange=${set(name)}>
      <option value="">${title}: any</option>
      ${values.map((value) => html`<option key=${value} value=${value} selected=${query[name] === value}>${title}: ${words(value).toLowerCase()}</option>`)}
      ${query[name]?.includes(",") && html`<option value=${query[name]} selected>${title}: ${query[name].split(",").map(words).join(", ").toLowerCase()}</option>`}
    </select>`)}
    <select aria-label="Sort by" onChange=${set("sort")}>${SORTS.map(([value, title]) => html`<option key=${value} value=${value}
      selected=${(query.sort ?? filters.sort ?? "") === value}>${title}</option>`)}</select>
  </div>`;
}

function Export({ filters }) {
  const [busy, setBusy] = useState(false);
  const save = async (format) => {
    const { sort, ...narrowed } = filters;
    setBusy(true);
    try {
      await download(`/orders/export/?${new URLSearchParams({ ...narrowed, format })}`, `orders.${format}`);
    } catch (error) {
      toast(error instanceof Problem ? `${error.title}: ${error.message}` : "The export failed.", "bad");
    }
    setBusy(false);
  };
  return html`<button type="button" disabled=${busy} onClick=${() => save("csv")}>Export CSV</button>
    <button type="button" disabled=${busy} onClick=${() => save("ndjson")}>NDJSON</button>`;
}

function Selected({ selected, onBulk, onClear }) {
  if (selected.size === 0) return null;
  return html`<div class="row selected" role="region" aria-label="Selected orders"><strong>${selected.size} selected</strong>
    <button type="button" onClick=${() => onBulk("PAID")}>Pay</button>
    <button type="button" onClick=${() => onBulk("SHIPPED")}>Ship</button>
    <button type="button" class="danger" onClick=${() => onBulk("CANCELED")}>Cancel</button>
    <button type="button" class="plain" onClick=${onClear}>Clear</button></div>`;
}

function Pages({ page }) {
  return html`<nav class="row pages" aria-label="Pages">
    <button type="button" disabled=${!page.prev_cursor} onClick=${() => requery({ cursor: page.prev_cursor })}>← Previous</button>
    <button type="button" disabled=${!page.next_cursor} onClick=${() => requery({ cursor: page.next_cursor })}>Next →</button></nav>`;
}
