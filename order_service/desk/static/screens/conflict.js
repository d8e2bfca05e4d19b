// Conflict: the order changed before the command. Shows what changed and who changed it, and offers to
// apply or discard the refused command.

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

// The preview of the refused command on the current order.
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
  if (!loaded.data) return html`<${Loading} what="Loading the changes" />`;
  const { order, events, diff, preview } = loaded.data;

  return html`<div class="head"><h1>${number} changed since you opened it</h1>
      <span class="muted">you opened version ${from}; it is now at version ${order.version}</span></div>
    <div class="order"><div class="stack">
      <section class="panel stack"><h2>New events</h2><${NewEvents} events=${events} order=${order} /></section>
      <section class="panel stack"><h2>Changed fields</h2><${Changes} diff=${diff} /></section></div>
    <aside class="stack"><section class="panel stack">
      ${mine
        ? html`<h2>Your command: ${mine.label}</h2><${Body} body=${mine.body} />
          <${Preview} order=${order} preview=${preview} complete />
          ${state.error && html`<${ErrorBox} error=${state.error} />`}
          <button type="button" class="primary" disabled=${preview.error || state.busy} onClick=${reapply}>Apply to version ${order.version}</button>
          <button type="button" onClick=${settleConflict}>Discard</button>`
        : html`<p>You have no unsent command.</p>`}
      <a href=${link(["orders", number])}>Open the order</a></section></aside></div>`;
}

function NewEvents({ events, order }) {
  const { id } = session.get().user;
  if (events.length === 0) return html`<p class="muted">None.</p>`;
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
      toast(`${command.number}: ${command.label}: done.`, "good");
      settleConflict();
    } catch (error) {
      setState(error.status === 412 ? {} : { error });
      if (error.status === 412) loaded.reload(); // changed once more: show the new events
    }
  };
  return [state, run];
}
