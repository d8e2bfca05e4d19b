// Events: the newest events of the log, as they are written.

import { html, useEffect, useMemo, useRef, useState } from "../vendor/preact-htm.js";
import { get } from "../api.js";
import { Dialog, Empty, ErrorBox, Loading, Table, Time, toast } from "../components.js";
import { copy, curl } from "../curl.js";
import { count, eventName } from "../format.js";
import { useKeys } from "../keys.js";
import { link, requery } from "../router.js";
import { openStream } from "../stream.js";
import { KEPT_MAX, Tail } from "../tail.js";

const BEGIN_WITH = 25; // events per partition, so that the screen does not open empty
const STREAM = "/events/stream";
const STATES = {
  connecting: "Connecting",
  live: "Live",
  offline: "No connection; will resume where it stopped",
  refused: "Refused",
  paused: "Paused; will resume where it stopped",
};

export default function Events({ query }) {
  const [paused, setPaused] = useState(false);
  const { tail, state, problem } = useTail(paused);
  const [chosen, choose] = useState(null);
  useFilter(tail, query);
  useKeys({
    p: [paused ? "Resume" : "Pause", () => setPaused(!paused)],
    c: ["Clear", () => tail.clear()],
  });
  return html`<div class="head"><h1>Events</h1>
      <span class="live" data-state=${state} role="status">${STATES[state]}</span>
      <span class="muted small">${count(tail.seen)} received; shows the newest ${count(KEPT_MAX)}</span>
      <span class="row end">
        <button type="button" aria-pressed=${paused} onClick=${() => setPaused(!paused)}>${paused ? "Resume" : "Pause"}</button>
        <button type="button" onClick=${() => tail.clear()}>Clear</button>
        <button type="button" onClick=${() => copy(curl(STREAM, "-N "))}>Copy as curl</button>
      </span></div>
    <${Filters} query=${query} seen=${tail.events} />
    ${problem && html`<${ErrorBox} error=${problem} />`}
    ${tail.events.length ? html`<${Rows} events=${tail.events} choose=${choose} />` : html`<${NoEvents} state=${state} />`}
    ${chosen && html`<${Event} event=${chosen} onClose=${() => choose(null)} />`}`;
}

// Pausing closes the stream and keeps its last id; resuming brings all events since then.
function useTail(paused) {
  const [, draw] = useState();
  const tail = useMemo(() => new Tail(() => draw({})), []);
  const [connection, setConnection] = useState({ state: "connecting" });
  const since = useRef(null);
  useEffect(() => () => tail.close(), []);
  useEffect(() => {
    if (paused) return setConnection({ state: "paused" });
    let stream = null;
    const controller = new AbortController();
    const open = async () => {
      since.current ??= await recent(controller.signal);
      if (controller.signal.aborted) return;
      stream = openStream(STREAM, {
        since: since.current,
        onMessage: ({ data }) => tail.add(data),
        onState: (state, problem) => setConnection({ state, problem: state === "refused" ? problem : null }),
      });
    };
    open();
    return () => {
      controller.abort();
      stream?.close();
      since.current = stream?.id() ?? since.current;
    };
  }, [paused]);
  return { tail, ...connection };
}

// An id shortly before the log's end; null if it cannot be read: the stream then starts from now.
async function recent(signal) {
  try {
    const { relay } = await get("/ops/projections/", { signal });
    const partitions = [...relay.partitions].sort((a, b) => a.partition - b.partition);
    return partitions.map(({ head }) => Math.max(0, head - BEGIN_WITH)).join(".");
  } catch {
    return null;
  }
}

function useFilter(tail, { type, actor, order }) {
  // Events have the order's id, not its number. Until the id is known, no event is filtered out.
  const [orderId, setOrderId] = useState("");
  useEffect(() => {
    setOrderId("");
    if (!order) return undefined;
    if (!/^A-/i.test(order)) return setOrderId(order.toLowerCase());
    const controller = new AbortController();
    get(`/orders/${encodeURIComponent(order)}/`, controller).then(
      ({ id }) => setOrderId(id),
      (error) => error.name !== "AbortError" && toast(`${order}: ${error.message}`, "bad"),
    );
    return () => controller.abort();
  }, [order]);
  useEffect(() => {
    tail.filter(
      (event) =>
        (!type || event.type === type) &&
        (!actor || `${event.actor?.type} ${event.actor?.id ?? ""}`.includes(actor.toLowerCase())) &&
        event.order_id.startsWith(orderId),
    );
  }, [type, actor, orderId]);
}

function Filters({ query, seen }) {
  const known = useRef(new Set());
  for (const { type } of seen) known.current.add(type);
  if (query.type) known.current.add(query.type);
  const set = (name) => (event) => requery({ [name]: event.target.value.trim() });
  return html`<form class="row filters" onSubmit=${(event) => event.preventDefault()}>
    <label>Type <select value=${query.type ?? ""} onChange=${set("type")}>
      <option value="">All</option>
      ${[...known.current].sort().map((type) => html`<option key=${type} value=${type}>${eventName(type)}</option>`)}
    </select></label>
    <label>Actor <input value=${query.actor ?? ""} onChange=${set("actor")} placeholder="user, staff, key, system or an id" /></label>
    <label>Order <input data-search value=${query.order ?? ""} onChange=${set("order")} placeholder="Number or id" /></label>
  </form>`;
}

function NoEvents({ state }) {
  if (state === "connecting") return html`<${Loading} what="Connecting to the log" />`;
  if (state === "refused") return null;
  return html`<${Empty} title="No events yet"><p>New events appear here.</p><//>`;
}

function Rows({ events, choose }) {
  const columns = [
    { name: "type", title: "Event", cell: (e) => html`<button type="button" class="plain row-button" data-row
        onClick=${() => choose(e)}>${eventName(e.type)}</button>` },
    { name: "at", title: "Time", cell: (e) => html`<${Time} at=${e.at} />` },
    { name: "order", title: "Order", cell: (e) => html`<a href=${link(["orders", e.order_id])}><code>${e.order_id.slice(0, 13)}…</code></a>` },
    { name: "version", title: "Version", numeric: true, narrow: false, cell: (e) => e.version },
    { name: "actor", title: "Actor", narrow: false, cell: (e) => html`${e.actor?.type ?? "–"} <code>${e.actor?.id?.slice(0, 8) ?? ""}</code>` },
  ];
  return html`<${Table} caption="The newest events" columns=${columns} rows=${events} rowKey=${(e) => e.event_id} />`;
}

function Event({ event, onClose }) {
  const path = `/orders/${event.order_id}/events/?after_version=${event.version - 1}&limit=1`;
  return html`<${Dialog} title=${eventName(event.type)} onClose=${onClose} wide>
    <p class="row"><${Time} at=${event.at} /> <span class="muted">version ${event.version}</span>
      <a href=${link(["orders", event.order_id])}>Open the order</a>
      <a href=${link(["orders", event.order_id, "timeline"], { at: event.version })}>Show it in the timeline</a>
      <button type="button" onClick=${() => copy(curl(path))}>Copy as curl</button></p>
    <pre class="json" tabindex="0">${JSON.stringify(event, null, 2)}</pre>
  <//>`;
}
