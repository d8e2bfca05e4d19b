// Timeline: all events of an order, and the order as it was at any version.

import { html, useEffect, useRef, useState } from "../vendor/preact-htm.js";
import { get } from "../api.js";
import { Changes } from "../changes.js";
import { ErrorBox, Loading, Time } from "../components.js";
import { eventName } from "../format.js";
import { useKeys } from "../keys.js";
import { Flags, Holds, Lines, Payments, Refunds, Returns, Shipments, Statement, Statuses } from "../order_parts.js";
import { link, requery } from "../router.js";
import { actorName, sentence } from "../sentences.js";
import { session } from "../session.js";
import { useLoad } from "../store.js";

const PAGE = 500;
const PAGES_MAX = 10; // more than an order may have
const SLIDE_MS = 120; // how long the slider rests before its version is loaded
const KEPT_MAX = 200; // versions and differences in memory

async function readEvents(number, signal) {
  const events = [];
  let after = 0;
  for (let page = 0; page < PAGES_MAX && after !== null; page += 1) {
    const address = `/orders/${encodeURIComponent(number)}/events/?after_version=${after}&limit=${PAGE}`;
    const found = await get(address, { signal });
    events.push(...found.events);
    after = found.next_after_version;
  }
  return events;
}

export default function Timeline({ params: { number }, query }) {
  const loaded = useLoad((signal) => readEvents(number, signal), [number]);
  if (loaded.error) return html`<${ErrorBox} error=${loaded.error} retry=${loaded.reload} />`;
  if (!loaded.data) return html`<${Loading} what="Loading the timeline" />`;
  return html`<${Travel} number=${number} events=${loaded.data} query=${query} reload=${loaded.reload} />`;
}

function Travel({ number, events, query, reload }) {
  const last = events.at(-1).version;
  const at = bounded(query.at, 1, last, last);
  const from = bounded(query.from, 0, at, at - 1);
  const rested = useRested(at);
  const go = (version) => requery({ at: version === last ? null : version, from: null });
  const step = (by) => go(Math.min(last, Math.max(1, at + by)));
  useKeys({
    j: ["Next version", () => step(1)], k: ["Previous version", () => step(-1)],
    "0": ["First version", () => go(1)], $: ["Last version", () => go(last)], r: ["Reload", reload],
  });
  const kept = useRef(new Map()).current;
  const path = `/orders/${encodeURIComponent(number)}/`;
  const order = useLoad((signal) => remembered(kept, `${path}?version=${rested}`, signal), [number, rested]);
  const compared = Math.min(from, rested);
  const diff = useLoad((signal) => remembered(kept, `${path}diff/?from=${compared}&to=${rested}`, signal), [number, compared, rested]);

  return html`<div class="head"><h1><a href=${link(["orders", number])}>${number}</a> at version ${at}</h1>
      <span class="muted"><${Time} at=${events.find((e) => e.version === at)?.at} /></span></div>
    <${Slider} at=${at} last=${last} events=${events} onChange=${go} />
    <div class="travel">
      <${Events} events=${events} at=${at} currency=${events[0].data?.currency} onSelect=${go} />
      <div class="stack">
        <${Compare} from=${from} at=${at} events=${events} diff=${diff} />
        <${AsOf} order=${order} />
      </div>
    </div>`;
}

function bounded(text, least, most, otherwise) {
  const number = Number(text);
  return text !== undefined && Number.isInteger(number) ? Math.min(most, Math.max(least, number)) : otherwise;
}

// The value, once it has not changed for SLIDE_MS.
function useRested(value) {
  const [rested, setRested] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setRested(value), SLIDE_MS);
    return () => clearTimeout(timer);
  }, [value]);
  return rested;
}

// Past versions never change, so each is loaded once.
async function remembered(kept, address, signal) {
  if (kept.has(address)) return kept.get(address);
  const found = await get(address, { signal });
  kept.set(address, found);
  if (kept.size > KEPT_MAX) kept.delete(kept.keys().next().value);
  return found;
}

function Slider({ at, last, events, onChange }) {
  const here = events.find((event) => event.version === at);
  return html`<div class="slider"><button type="button" aria-label="Previous version" disabled=${at <= 1} onClick=${() => onChange(at - 1)}>←</button>
    <input type="range" min="1" max=${last} value=${at} aria-label="Version" onInput=${(e) => onChange(Number(e.target.value))}
      aria-valuetext=${`Version ${at} of ${last}${here ? `, ${eventName(here.type)}` : ""}`} />
    <button type="button" aria-label="Next version" disabled=${at >= last} onClick=${() => onChange(at + 1)}>→</button>
    <output>${at} of ${last}</output></div>`;
}

// --- events --------------------------------------------------------------------------------------

function Events({ events, at, currency, onSelect }) {
  const mine = session.get().user.id;
  const list = useRef();
  useEffect(() => {
    list.current.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest" });
  }, [at]);
  return html`<ol class="events" ref=${list} aria-label="Events">${events.map((event) => html`<li key=${event.version}
      data-past=${event.version <= at}>
    <button type="button" class="plain event" aria-current=${event.version === at ? "step" : null} onClick=${() => onSelect(event.version)}>
      <span class="version">${event.version}</span>
      <span><strong>${eventName(event.type)}</strong> <span>${sentence(event.type, event.data, currency)}</span>
        <span class="small muted">${actorName(event.actor, mine)} · <${Time} at=${event.at} /></span></span>
    </button>
    ${event.version === at && html`<${Details} event=${event} />`}
  </li>`)}</ol>`;
}

// The event's origin: its actor, its request (by the id in the log lines) and its trace, if any.
function Details({ event }) {
  return html`<div class="details small"><dl class="pairs">
      <dt>Actor</dt><dd>${event.actor?.type ?? "unknown"} <code>${event.actor?.id}</code></dd>
      <dt>Request</dt><dd><code>${event.correlation_id ?? "–"}</code></dd>
      <dt>Trace</dt><dd><code>${event.trace_id ?? "–"}</code></dd>
      <dt>Event</dt><dd><code>${event.event_id}</code></dd></dl>
    <details><summary>JSON</summary><pre tabindex="0">${JSON.stringify(event, null, 2)}</pre></details></div>`;
}

// --- the order at a version ----------------------------------------------------------------------

function Compare({ from, at, events, diff }) {
  const earlier = [0, ...events.map((event) => event.version).filter((version) => version < at)];
  return html`<section class="panel stack"><div class="row"><h2>What changed</h2>
      <label class="inline">since <select aria-label="Compare with version" onChange=${(e) => requery({ from: e.target.value })}>
        ${earlier.map((version) => html`<option key=${version} value=${version} selected=${version === from}>${version === 0 ? "before it was placed" : `version ${version}`}</option>`)}
      </select></label></div>
    ${diff.error ? html`<${ErrorBox} error=${diff.error} retry=${diff.reload} />` : diff.data ? html`<${Changes} diff=${diff.data} />` : html`<${Loading} />`}
  </section>`;
}

function AsOf({ order }) {
  if (order.error) return html`<${ErrorBox} error=${order.error} retry=${order.reload} />`;
  if (!order.data) return html`<${Loading} />`;
  const { data } = order;
  return html`<section class="stack" aria-label=${`The order at version ${data.version}`} data-version=${data.version} aria-busy=${order.loading}>
    <section class="panel"><${Statuses} order=${data} /><${Flags} order=${data} /></section><section class="panel"><${Statement} order=${data} /></section>
    <${Lines} order=${data} />
    <div class="parts"><${Payments} order=${data} /><${Shipments} order=${data} /><${Refunds} order=${data} /><${Returns} order=${data} /></div>
  </section>`;
}
