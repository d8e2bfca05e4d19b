// Order: its current state, and the actions on it. Follows the order's stream, so that it is always up
// to date.

import { html, useEffect, useMemo, useState } from "../vendor/preact-htm.js";
import { isDangerous, labelOf } from "../actions.js";
import { get } from "../api.js";
import { CommandDialog } from "../command.js";
import { Age, ErrorBox, Loading, Time, toast } from "../components.js";
import { useKeys } from "../keys.js";
import { Flags, Holds, Lines, Payments, Refunds, Returns, Shipments, Statement, Statuses } from "../order_parts.js";
import { link, navigate } from "../router.js";
import { actorName } from "../sentences.js";
import { session } from "../session.js";
import { useLoad } from "../store.js";
import { openStream } from "../stream.js";
import { words } from "../format.js";

const RELOAD_MS = 300; // several events of one command are one reload

async function readOrder(number, signal) {
  const below = (rest) => get(`/orders/${encodeURIComponent(number)}/${rest}`, { signal });
  const [order, { actions }, notes] = await Promise.all([below(""), below("actions/"), below("notes/")]);
  return { order, actions, notes };
}

export default function Order({ params }) {
  const { number } = params;
  const loaded = useLoad((signal) => readOrder(number, signal), [number]);
  const [command, setCommand] = useState(null);
  const id = loaded.data?.order.id;
  useFollowing(id, loaded);
  useKeys({
    t: ["Timeline", () => navigate(["orders", number, "timeline"])],
    r: ["Reload", loaded.reload],
  });
  if (loaded.error && !loaded.data) return html`<${ErrorBox} error=${loaded.error} retry=${loaded.reload} />`;
  if (!loaded.data) return html`<${Loading} what=${`Loading ${number}`} />`;
  const { order } = loaded.data;
  const onDone = (changed) => {
    setCommand(null);
    loaded.set({ ...loaded.data, order: changed });
    loaded.reload();
  };
  return html`<${Shown} ...${loaded.data} busy=${loaded.loading} onCommand=${(action, part) => setCommand({ action, part })} />
    ${loaded.error && html`<${ErrorBox} error=${loaded.error} retry=${loaded.reload} />`}
    ${command && html`<${CommandDialog} order=${order} ...${command} onDone=${onDone} onClose=${() => setCommand(null)} />`}`;
}

// Reloads the order when it changes.
function useFollowing(id, { data, reload }) {
  useEffect(() => {
    if (!id) return undefined;
    let timer;
    const stream = openStream(`/orders/${id}/stream`, {
      since: String(data.order.version),
      onMessage: () => {
        clearTimeout(timer);
        timer = setTimeout(reload, RELOAD_MS);
      },
    });
    return () => (clearTimeout(timer), stream.close());
  }, [id]);
}

function Shown({ order, actions, notes, busy, onCommand }) {
  const groups = useMemo(() => grouped(actions, order.id), [actions, order.id]);
  const buttons = (prefix, part) => html`<${Buttons} actions=${groups.get(prefix) ?? []} part=${part} onCommand=${onCommand} />`;
  return html`<div class="head"><h1>${order.number}</h1>
      <span class="muted" aria-busy=${busy}>version ${order.version} · placed <${Time} at=${order.created_at} /> · changed <${Age} at=${order.updated_at} /> ago</span>
      <span class="row end"><a class="button" href=${link(["orders", order.number, "timeline"])}>Timeline</a></span></div>
    <div class="order">
      <div class="stack">
        <section class="panel"><${Statuses} order=${order} /><${Flags} order=${order} /></section>
        <section class="panel"><h2 class="hidden">Money</h2><${Statement} order=${order} /></section>
        <${Lines} order=${order} buttons=${buttons} />
        <div class="parts"><${Payments} order=${order} buttons=${buttons} /><${Shipments} order=${order} buttons=${buttons} />
          <${Refunds} order=${order} buttons=${buttons} /><${Returns} order=${order} buttons=${buttons} /><${Holds} order=${order} buttons=${buttons} /></div>
        <${Notes} notes=${notes} />
      </div>
      <aside class="stack" aria-label="Actions and customer">
        <section class="panel actions"><h2>Actions</h2><${OrderActions} actions=${groups.get("")} onCommand=${onCommand} /></section>
        <${Customer} order=${order} />
        <${About} order=${order} />
      </aside>
    </div>`;
}

// Actions by the part that they are about; "" is the order itself. Setting the status CANCELED is left
// out: "Cancel the order" does the same.
function grouped(actions, id) {
  const groups = new Map([["", []]]);
  for (const action of actions) {
    if (action.body?.status === "CANCELED") continue;
    const rest = action.path.slice(`/orders/${id}/`.length);
    const prefix = rest.match(/^(lines|payments|shipments|refunds|returns|holds)\/[^/]+\//)?.[0] ?? "";
    groups.set(prefix, [...(groups.get(prefix) ?? []), action]);
  }
  return groups;
}

// What can be done now; the rest is behind one disclosure, each with its reason.
function OrderActions({ actions, onCommand }) {
  const listed = (some) => html`<div class="stack">${some.map((action) => html`<div key=${`${action.name} ${JSON.stringify(action.body)}`}>
    <${Action} action=${action} onCommand=${() => onCommand(action)} />
    ${!action.allowed && html`<p class="small muted">${action.reason.detail}</p>`}
    ${action.until && html`<p class="small muted">until <${Time} at=${action.until} /></p>`}</div>`)}</div>`;
  const [allowed, refused] = [true, false].map((wanted) => actions.filter((action) => action.allowed === wanted));
  return html`${allowed.length ? listed(allowed) : html`<p class="muted">Nothing at the moment.</p>`}
    ${refused.length > 0 && html`<details><summary>Not now (${refused.length})</summary>${listed(refused)}</details>`}`;
}

// Of a part: the tooltip says why an action is not allowed.
function Buttons({ actions, part, onCommand }) {
  const sorted = [...actions].sort((a, b) => Number(b.allowed) - Number(a.allowed));
  return html`<div class="row tight">${sorted.map((action) => html`<${Action} key=${`${action.name} ${JSON.stringify(action.body)}`}
    action=${action} onCommand=${() => onCommand(action, part)} />`)}</div>`;
}

// A refused action keeps its button, which says why on focus and click: a disabled one could not.
function Action({ action, onCommand }) {
  const tone = isDangerous(action) ? "danger" : "";
  if (action.allowed) return html`<button type="button" class=${tone} onClick=${onCommand}>${labelOf(action)}</button>`;
  const { detail } = action.reason;
  return html`<button type="button" aria-disabled="true" title=${detail} aria-label=${`${labelOf(action)}, not allowed: ${detail}`}
    onClick=${() => toast(detail, "bad")}>${labelOf(action)}</button>`;
}

const TEXTS = [["contact", "Contact"], ["shipping-address", "Shipping address"], ["billing-address", "Billing address"]];

// Contact and addresses are loaded on request only, since they are personal data.
function Customer({ order }) {
  const [{ found, error }, setFound] = useState({});
  const read = (path) => get(`/orders/${order.id}/${path}/`).catch((error) => (error.status === 404 ? {} : Promise.reject(error)));
  const show = () =>
    Promise.all(TEXTS.map(([path]) => read(path))).then((found) => setFound({ found }), (error) => setFound({ error }));
  return html`<section class="panel stack"><h2>Customer</h2>
    <p>${order.user_id ? html`<a href=${link(["orders"], { user_id: order.user_id })}>${order.user_id}</a>` : "Guest, without an account"}</p>
    ${!found && html`<button type="button" onClick=${show}>Show contact and addresses</button>`}
    ${error && html`<${ErrorBox} error=${error} />`}
    ${found && TEXTS.map(([path, title], n) => html`<div key=${path}><h3>${title}</h3><${Text} of=${found[n]} /></div>`)}</section>`;
}

function Text({ of: { email, name, company, line1, line2, postal_code, city, region, country, phone } }) {
  const lines = [name, company, line1, line2, [postal_code, city].filter(Boolean).join(" "), region, country, email, phone].filter(Boolean);
  if (!lines.length) return html`<p class="muted">None.</p>`;
  return html`<address>${lines.map((one, n) => html`<span key=${n}>${one}<br /></span>`)}</address>`;
}

function About({ order }) {
  const metadata = Object.entries(order.metadata);
  return html`<section class="panel stack"><h2>About</h2><dl class="pairs">
      <dt>Reference</dt><dd>${order.external_reference ?? "–"}</dd>
      ${metadata.map(([key, value]) => html`<dt key=${`${key} key`}>${key}</dt><dd key=${key}>${value || "–"}</dd>`)}
      ${order.cancel_reason && html`<dt>Canceled</dt><dd>${words(order.cancel_reason)}</dd>`}
      <dt>Id</dt><dd><code>${order.id}</code></dd></dl></section>`;
}

function Notes({ notes }) {
  const mine = session.get().user.id;
  return html`<section class="part"><h2>Notes</h2>
    ${notes.length === 0 ? html`<p class="muted">None.</p>` : html`<ul>${notes.map((note) => html`<li key=${note.id} class="note" data-visibility=${note.visibility}>
      <p>${note.text ?? html`<em class="muted">erased</em>`}</p>
      <p class="small muted">${note.visibility}${note.kind && note.kind !== "note" ? `, ${words(note.kind).toLowerCase()}` : ""} · ${actorName(note.actor, mine)} · <${Time} at=${note.at} /></p></li>`)}</ul>`}
  </section>`;
}
