// Health: the parts of the service, whether they work, and the last hour.

import { html } from "../vendor/preact-htm.js";
import { get } from "../api.js";
import { Age, Chart, Empty, ErrorBox, Loading, Table, Time } from "../components.js";
import { count, time } from "../format.js";
import { usePolled } from "../polling.js";
import { requery } from "../router.js";

const SHOWN_MS = 5_000;
const CHARTS_MS = 10_000; // a step of the history
const SPANS = [["15", "15 minutes"], ["60", "Hour"]];
const rate = (value) => `${count(Math.round(value * 10) / 10)} /s`;
const ms = (value) => `${count(Math.round(value * 10) / 10)} ms`;
const seconds = (value) => `${count(Math.round(value * 100) / 100)} s`;
const percent = (value) => `${Math.round(value * 1000) / 10} %`;

export default function Health({ query }) {
  const { data, error, reload } = usePolled((signal) => get("/ops/health/", { signal }), [], SHOWN_MS);
  if (!data) return error ? html`<${ErrorBox} error=${error} retry=${reload} />` : html`<${Loading} />`;
  return html`<div class="head"><h1>Health</h1>
      <span class="live" data-state=${data.status} role="status">${data.status}</span>
      ${data.flower_url && html`<a class="end" href=${data.flower_url} target="_blank" rel="noopener">Flower</a>`}</div>
    ${error && html`<${ErrorBox} error=${error} retry=${reload} />`}
    <div class="tiles">${data.checks.map((check) => html`<${Check} key=${check.name} of=${check} />`)}</div>
    <${History} minutes=${query.minutes ?? "60"} />
    <${Lists} of=${data} />`;
}

function Check({ of }) {
  return html`<section class="tile" data-check=${of.name}>
    <div class="row"><h2>${of.name}</h2><span class="live" data-state=${of.status}>${of.status}</span></div>
    <p class="small">${of.detail}</p>
    ${of.latency_ms !== null && of.latency_ms !== undefined && html`<p class="small muted">latency ${ms(of.latency_ms)}</p>`}
  </section>`;
}

function History({ minutes }) {
  const path = `/ops/history/?minutes=${encodeURIComponent(minutes)}`;
  const { data, error, reload } = usePolled((signal) => get(path, { signal }), [path], CHARTS_MS);
  if (!data) return error ? html`<${ErrorBox} error=${error} retry=${reload} />` : html`<${Loading} />`;
  const { series } = data;
  const labels = [time(data.from), time(data.to)];
  return html`<section class="below"><div class="head"><h2>The last ${minutes === "60" ? "hour" : `${minutes} minutes`}</h2>
      <span class="row end">${SPANS.map(([value, text]) => html`<button key=${value} type="button" aria-pressed=${value === minutes}
        onClick=${() => requery({ minutes: value })}>${text}</button>`)}</span></div>
    <div class="tiles charts">
      <${Chart} title="Requests" labels=${labels} format=${rate} series=${[
        { name: "all", values: series.requests, tone: "accent" }, { name: "errors", values: series.errors, tone: "bad" }]} />
      <${Chart} title="Latency" labels=${labels} format=${ms} series=${[
        { name: "p50", values: series.p50_ms, tone: "accent" }, { name: "p99", values: series.p99_ms, tone: "part" }]} />
      <${Chart} title="Commands and events" labels=${labels} format=${rate} series=${[
        { name: "commands", values: series.commands, tone: "accent" }, { name: "events", values: series.events, tone: "shipped" }]} />
      <${Chart} title="Lag of the read models" labels=${labels} format=${seconds} series=${[
        { name: "lag", values: series.lag_s, tone: "pending" }]} />
      <${Chart} title="Cache hit ratio" labels=${labels} format=${percent} series=${[
        { name: "hits", values: series.cache_hit_ratio, tone: "good" }]} />
    </div></section>`;
}

function Lists({ of }) {
  const processes = [
    { name: "role", title: "Role", cell: (p) => p.role },
    { name: "host", title: "Host", narrow: false, cell: (p) => p.host },
    { name: "pid", title: "Process", numeric: true, cell: (p) => p.pid },
    { name: "memory", title: "Memory", numeric: true, cell: (p) => `${count(Math.round(p.memory_mb))} MB` },
    { name: "started", title: "Started", narrow: false, cell: (p) => html`<${Time} at=${p.started_at} />` },
    { name: "seen", title: "Last seen", cell: (p) => html`<${Age} at=${p.seen_at} now=${Date.now()} /> ago` },
  ];
  const queues = [
    { name: "name", title: "Queue", cell: (q) => html`<code>${q.name}</code>` },
    { name: "messages", title: "Messages", numeric: true, cell: (q) => count(q.messages) },
    { name: "consumers", title: "Consumers", numeric: true, cell: (q) => html`<span class=${q.consumers ? "" : "bad"}>${count(q.consumers)}</span>` },
  ];
  const workers = [
    { name: "name", title: "Worker", cell: (w) => html`<code>${w.name}</code>` },
    { name: "active", title: "Active tasks", numeric: true, cell: (w) => count(w.active) },
    { name: "processed", title: "Finished tasks", numeric: true, cell: (w) => count(w.processed) },
  ];
  return html`<div class="tiles lists">
    <${List} title="Processes" columns=${processes} rows=${of.processes} rowKey=${(p) => `${p.host} ${p.pid}`} />
    <${List} title="RabbitMQ queues" columns=${queues} rows=${of.queues} rowKey=${(q) => q.name} />
    <${List} title="Celery workers" columns=${workers} rows=${of.workers} rowKey=${(w) => w.name} />
  </div>`;
}

function List({ title, rows, ...table }) {
  return html`<section class="stack"><h2>${title}</h2>
    ${rows.length ? html`<${Table} caption=${title} rows=${rows} ...${table} />` : html`<${Empty} title="None" />`}</section>`;
}
