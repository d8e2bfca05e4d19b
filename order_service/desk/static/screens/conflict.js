// Conflict: somebody else was faster. What changed since the order was opened, by whom, and what to do
// with the command that was refused, which nobody has to type again.

import { html, useRef, useState } from "../vendor/preact-htm.js";
import { get, newKey, send } from "../api.js";
import { Changes } from "../changes.js";
import { Preview } from "../command.js";
import { ErrorBox, Loading, Time, toast } from "../components.js";
import { settleConflict, unsent } from "../conflicts.js";
import { eventName } from "../format.js";
import { link } from "../router.js";
import { actorName, sentence } from "../sentences.js";
import { session } from "../session.js";
import { useLoad, useStore } from "../store.js";

async function readConflict(number, from, command, signal) {
  const path = `/orders/${encodeURIComponent(number)}/`;
  const order = await get(path, { signal });
  const [{ events }, diff] = await Promise.all([
    get(`${path}events/?after_version=${from}`, { signal }),
    get(`${path}diff/?from=${from}&to=${order.version}`, { signal }),
  ]);
  return { order, events, diff, preview: command && (await previewed(command, order, signal)) };
}

// What the refused command would do to the order as it is now.
function previewed({ action, body }, order, signal) {
  const options = { version: order.version, dryRun: true, signal };
  return send(action.method, action.path, body, options).catch((error) => {
    if (signal.aborted) throw error;
    return { error };
  });
}

export default function Conflict({ params: { number }, query }) {
  const command = useStore(unsent);
  const mine = command?.number === number ? command : null;
  const from = Math.max(0, Number.parseInt(query.from, 10) || 0);
  const loaded = useLoad((signal) => readConflict(number, from, mine, signal), [number, from, mine]);
  const [state, reapply] = useReapply(mine, loaded);
  if (loaded.error) return html`<${ErrorBox} error=${loaded.error} retry=${loaded.reload} />`;
  if (!loaded.data) return html`<${Loading} what="Reading what changed" />`;
  const { order, events, diff, preview } = loaded.data;

  return html`<div class="head"><h1>${number} changed since you opened it</h1>
      <span class="muted">you saw version ${from}, it is at ${order.version}</span></div>
    <div class="order"><div class="stack">
      <section class="panel stack"><h2>Meanwhile</h2><${Meanwhile} events=${events} order=${order} /></section>
      <section class="panel stack"><h2>So the order differs</h2><${Changes} diff=${diff} /></section></div>
    <aside class="stack"><section class="panel stack">
      ${mine
        ? html`<h2>You wanted: ${mine.label}</h2><${Body} body=${mine.body} />
          <${Preview} order=${order} preview=${preview} complete />
          ${state.error && html`<${ErrorBox} error=${state.error} />`}
          <button type="button" class="primary" disabled=${preview.error || state.busy} onClick=${reapply}>Apply it to version ${order.version}</button>
          <button type="button" onClick=${settleConflict}>Discard it</button>`
        : html`<p>Nothing of yours is waiting to be sent.</p>`}
      <a href=${link(["orders", number])}>See the order</a></section></aside></div>`;
}

function Meanwhile({ events, order }) {
  const { id } = session.get().user;
  if (events.length === 0) return html`<p class="muted">Nothing.</p>`;
  return html`<ol class="events">${events.map((e) => html`<li key=${e.version} class="event"><span class="version">${e.version}</span>
    <span><strong>${eventName(e.type)}</strong> <span>${sentence(e.type, e.data, order.currency)}</span>
      <span class="small muted">${actorName(e.actor, id)} · <${Time} at=${e.at} /></span></span></li>`)}</ol>`;
}

function Body({ body }) {
  const shown = Object.entries(body);
  if (shown.length === 0) return null;
  return html`<dl class="pairs">${shown.map(([name, value]) => html`<dt>${name.replaceAll("_", " ")}</dt>
    <dd>${Array.isArray(value) ? value.map((l) => `${l.quantity} of line ${l.line_id}`).join(", ") : value}</dd>`)}</dl>`;
}

function useReapply(command, loaded) {
  const [state, setState] = useState({});
  const key = useRef(newKey());
  const run = async () => {
    setState({ busy: true });
    try {
      const options = { version: loaded.data.order.version, key: key.current };
      await send(command.action.method, command.action.path, command.body, options);
      toast(`${command.number}: ${command.label}, done.`, "good");
      settleConflict();
    } catch (error) {
      setState(error.status === 412 ? {} : { error });
      if (error.status === 412) loaded.reload(); // faster once more: show what is new
    }
  };
  return [state, run];
}
