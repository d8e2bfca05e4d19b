// Projections: the progress of each read model, rebuilds and dead letters.

import { html, useState } from "../vendor/preact-htm.js";
import { get, send } from "../api.js";
import { Dialog, Empty, ErrorBox, Loading, Table, Time, toast } from "../components.js";
import { count, eventName, lag } from "../format.js";
import { usePolled } from "../polling.js";
import { link, requery } from "../router.js";

// Together within the rate limit of one user, with room for other open screens.
const SHOWN_MS = 3_000;
const REBUILDING_MS = 1_000;
const LETTERS_MS = 10_000;
const RUNNING = ["queued", "building", "comparing"];

export default function Projections({ query }) {
  const [everyMs, setEveryMs] = useState(SHOWN_MS);
  const load = async (signal) => {
    const found = await get("/ops/projections/", { signal });
    setEveryMs(found.projections.some(isRunning) ? REBUILDING_MS : SHOWN_MS);
    return found;
  };
  const { data, error, reload } = usePolled(load, [], everyMs);
  const [question, ask] = useState(null);
  if (!data) return error ? html`<${ErrorBox} error=${error} retry=${reload} />` : html`<${Loading} />`;
  return html`<div class="head"><h1>Projections</h1>
      <span class="muted small">Read models, which the workers build from the log</span></div>
    ${error && html`<${ErrorBox} error=${error} retry=${reload} />`}
    <div class="tiles wide-tiles">
      <${Relay} relay=${data.relay} />
      ${data.projections.map((one) => html`<${Projection} key=${one.name} of=${one} ask=${ask} />`)}
    </div>
    <${DeadLetters} projection=${query.projection} names=${data.projections.map(({ name }) => name)} />
    ${question && html`<${Confirm} ...${question} onClose=${() => ask(null)} onDone=${reload} />`}`;
}

function isRunning({ rebuild }) {
  return rebuild !== null && RUNNING.includes(rebuild.state);
}

function Relay({ relay }) {
  return html`<section class="tile" data-projection="relay"><h2>relay</h2>
    <p class="muted small">Publishes the log to RabbitMQ</p>
    <${Lag} of=${relay} /><${Partitions} name="relay" partitions=${relay.partitions} />
  </section>`;
}

function Projection({ of, ask }) {
  const path = `/ops/projections/${of.name}`;
  const before = of.generations.some((generation) => generation < of.generation);
  return html`<section class="tile" data-projection=${of.name}>
    <div class="row"><h2>${of.name}</h2>
      <span class="muted small">version ${of.version}, <span data-generation=${of.generation}>generation ${of.generation}</span></span></div>
    ${of.replay_needed && html`<p class="bad">The code has a new version: rebuild this projection.</p>`}
    <${Lag} of=${of} />
    <${Rebuild} rebuild=${of.rebuild} />
    <div class="row">
      <button type="button" disabled=${isRunning(of)} onClick=${() =>
        ask({ title: `Rebuild ${of.name}`, path: `${path}/rebuild/`, verb: "Rebuild",
          text: "A new generation is built from the log, while the current one keeps serving, and then replaces it." })}>Rebuild</button>
      <button type="button" disabled=${!before || isRunning(of)} title=${before ? null : "There is no previous generation"}
        onClick=${() => ask({ title: `Roll back ${of.name}`, path: `${path}/rollback/`, verb: "Roll back",
          text: "The previous generation catches up with the log and replaces the current one." })}>Roll back</button>
    </div>
    <${Partitions} name=${of.name} partitions=${of.partitions} />
  </section>`;
}

function Lag({ of }) {
  return html`<dl class="figures">
    <div><dt>Behind</dt><dd>${count(of.lag_events)} <small>events</small></dd></div>
    <div><dt>Lag</dt><dd>${lag(of.lag_s)}</dd></div>
    <div><dt>Rate</dt><dd>${of.events_per_s === null || of.events_per_s === undefined ? "–" : count(Math.round(of.events_per_s))} <small>per second</small></dd></div>
    ${of.parked !== undefined && html`<div><dt>Parked</dt><dd class=${of.parked ? "bad" : ""}>${count(of.parked)}</dd></div>`}
  </dl>`;
}

function Rebuild({ rebuild }) {
  if (rebuild === null) return null;
  const { state, done, total, message } = rebuild;
  if (state === "failed") return html`<p class="bad" data-rebuild="failed">Rebuilding failed: ${message}</p>`;
  if (state === "done") {
    return html`<p class="good" data-rebuild="done">Rebuilt <${Time} at=${rebuild.finished_at} /></p>`;
  }
  return html`<div data-rebuild=${state}>
    <progress max=${total || 1} value=${done} aria-label="Rebuild"></progress>
    <p class="small muted">${state}: ${count(done)} of ${count(total)} events</p></div>`;
}

function Partitions({ name, partitions }) {
  const columns = [
    { name: "partition", title: "Partition", numeric: true, cell: (p) => p.partition },
    { name: "head", title: "Head", numeric: true, cell: (p) => count(p.head) },
    { name: "checkpoint", title: "Checkpoint", numeric: true, cell: (p) => count(p.checkpoint) },
    { name: "lag", title: "Behind", numeric: true, cell: (p) => `${count(p.lag_events)}, ${lag(p.lag_s)}` },
    { name: "parked", title: "Parked", numeric: true, cell: (p) => p.parked ?? "–" },
  ];
  return html`<details><summary>Partitions</summary>
    <${Table} caption=${`Partitions of ${name}`} columns=${columns} rows=${partitions} rowKey=${(p) => p.partition} /></details>`;
}

function Confirm({ title, text, path, verb, onClose, onDone }) {
  const { error, busy, run } = useAction(async () => {
    await send("POST", path, {});
    toast(`${title}: started`, "good");
    onClose();
    onDone();
  });
  return html`<${Dialog} title=${title} onClose=${onClose}>
    <p>${text}</p>
    ${error && html`<${ErrorBox} error=${error} />`}
    <div class="row"><button type="button" class="primary" disabled=${busy} onClick=${run}>${verb}</button>
      <button type="button" onClick=${onClose}>Cancel</button></div>
  <//>`;
}

function useAction(action) {
  const [state, setState] = useState({ busy: false, error: null });
  const run = async (event) => {
    event?.preventDefault?.();
    setState({ busy: true, error: null });
    try {
      await action();
      setState({ busy: false, error: null });
    } catch (error) {
      setState({ busy: false, error });
    }
  };
  return { ...state, run };
}

// --- dead letters --------------------------------------------------------------------------------

function DeadLetters({ projection, names }) {
  const path = `/ops/dead-letters/${projection ? `?projection=${encodeURIComponent(projection)}` : ""}`;
  const { data, error, reload } = usePolled((signal) => get(path, { signal }), [path], LETTERS_MS);
  const [skipping, skip] = useState(null);
  return html`<section class="below"><div class="head"><h2>Dead letters</h2>
      <label class="inline">of <select value=${projection ?? ""} onChange=${(e) => requery({ projection: e.target.value })}>
        <option value="">all projections</option>${names.map((name) => html`<option key=${name}>${name}</option>`)}</select></label></div>
    ${error && html`<${ErrorBox} error=${error} retry=${reload} />`}
    ${data && (data.items.length
      ? html`<${Letters} letters=${data.items} reload=${reload} skip=${skip} />`
      : html`<${Empty} title="No dead letters"><p>Every event has been applied.</p><//>`)}
    ${skipping && html`<${Skip} letter=${skipping} onClose=${() => skip(null)} onDone=${reload} />`}
  </section>`;
}

function Letters({ letters, reload, skip }) {
  const columns = [
    { name: "order", title: "Order", cell: (l) => l.number ?? l.order_id },
    { name: "projection", title: "Projection", cell: (l) => `${l.projection}, generation ${l.generation}` },
    { name: "event", title: "Event", narrow: false, cell: (l) => `${eventName(l.event_type)}, version ${l.version}` },
    { name: "error", title: "Error", cell: (l) => html`<code class="wrap bad">${l.error}</code>` },
    { name: "waiting", title: "Events waiting", numeric: true, narrow: false, cell: (l) => count(l.events_waiting) },
    { name: "attempts", title: "Attempts", numeric: true, narrow: false, cell: (l) => l.attempts },
    { name: "at", title: "Parked", narrow: false, cell: (l) => html`<${Time} at=${l.parked_at} />` },
    { name: "actions", title: "Actions", cell: (l) => html`<${Repair} letter=${l} reload=${reload} skip=${skip} />` },
  ];
  return html`<${Table} caption="Dead letters" columns=${columns} rows=${letters} rowKey=${(l) => l.id}
    link=${(l) => link(["orders", l.number ?? l.order_id, "timeline"], { at: l.version })} />`;
}

function Repair({ letter, reload, skip }) {
  const { busy, run } = useAction(async () => {
    try {
      const { data } = await send("POST", `/ops/dead-letters/${letter.id}/retry/`, {});
      toast(data.applied ? "Applied" : `Not applied: ${data.error}`, data.applied ? "good" : "bad");
    } catch (error) {
      toast(error.message, "bad");
    }
    reload();
  });
  return html`<div class="row"><button type="button" disabled=${busy} onClick=${run}>Retry</button>
    <button type="button" class="danger" onClick=${() => skip(letter)}>Skip</button></div>`;
}

function Skip({ letter, onClose, onDone }) {
  const [reason, setReason] = useState("");
  const { error, busy, run } = useAction(async () => {
    await send("POST", `/ops/dead-letters/${letter.id}/skip/`, { reason });
    toast("Skipped", "good");
    onClose();
    onDone();
  });
  return html`<${Dialog} title=${`Skip an event of ${letter.number ?? letter.order_id}`} onClose=${onClose}>
    <form class="stack" onSubmit=${run}>
      <p>${letter.projection} leaves this event out for good, and may show the order incorrectly. Your user id and the reason are recorded.</p>
      <label>Reason <textarea required maxlength="500" value=${reason} onInput=${(e) => setReason(e.target.value)}></textarea></label>
      ${error && html`<${ErrorBox} error=${error} />`}
      <div class="row"><button class="primary" disabled=${busy || !reason.trim()}>Skip the event</button>
        <button type="button" onClick=${onClose}>Cancel</button></div>
    </form>
  <//>`;
}
