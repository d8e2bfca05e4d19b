// Sales by currency: revenue, order progress, processing times, refunds and cancellations.

import { html } from "../vendor/preact-htm.js";
import { get } from "../api.js";
import { Bars, Chart, Empty, ErrorBox, Loading } from "../components.js";
import { count, duration, money, time, words } from "../format.js";
import { usePolled } from "../polling.js";
import { link, requery } from "../router.js";

const SHOWN_MS = 10_000;
const HOUR_MS = 3_600_000;
const SPANS = { day: [24, "hour", "24 hours"], week: [24 * 7, "hour", "7 days"], month: [24 * 30, "day", "30 days"] };
const STEPS = [["placed", "pending"], ["paid", "paid"], ["shipped", "shipped"], ["delivered", "delivered"], ["canceled", "canceled"]];

export default function Sales({ query }) {
  const span = SPANS[query.span] ? query.span : "day";
  const load = (signal) => {
    const { from, to } = limits(span);
    return get(`/ops/sales/?${new URLSearchParams({ from, to, by: SPANS[span][1] })}`, { signal });
  };
  const { data, error, reload } = usePolled(load, [span], SHOWN_MS);
  return html`<div class="head"><h1>Sales</h1>
      <span class="row end">${Object.entries(SPANS).map(([name, [, , text]]) => html`<button key=${name} type="button"
        aria-pressed=${name === span} onClick=${() => requery({ span: name })}>${text}</button>`)}</span></div>
    ${error && html`<${ErrorBox} error=${error} retry=${reload} />`}
    ${!data && !error && html`<${Loading} />`}
    ${data && !data.currencies.length && html`<${Empty} title="No orders in this period" />`}
    ${data?.currencies.map((one) => html`<${Currency} key=${one.currency} of=${one} span=${data} />`)}`;
}

// Up to the end of the current hour, so that responses within an hour cover the same period.
function limits(span) {
  const to = Math.ceil((Date.now() + 1) / HOUR_MS) * HOUR_MS;
  return { from: instant(to - SPANS[span][0] * HOUR_MS), to: instant(to) };
}

function instant(milliseconds) {
  return new Date(milliseconds).toISOString().replace(".000Z", "Z");
}

function Currency({ of, span }) {
  const { currency, funnel } = of;
  const series = allSteps(of.series, span);
  const list = (filters) => link(["orders"], { currency, created_from: span.from, created_to: span.to, ...filters });
  const labels = [time(span.from), time(span.to)];
  const digits = of.series[0]?.revenue.split(".")[1]?.length ?? 0;
  const revenue = series.map((step) => Number(step.revenue)); // for the chart only
  return html`<section class="below" data-currency=${currency}>
    <div class="head"><h2>${currency}</h2><a href=${list({})}>${count(funnel.placed)} orders</a></div>
    <div class="tiles charts">
      <${Chart} title=${`Revenue per ${span.by}`} labels=${labels}
        format=${(value) => money(value.toFixed(digits), currency)} series=${[{ name: "revenue", values: revenue, tone: "accent" }]} />
      <${Chart} title=${`Orders per ${span.by}`} labels=${labels} format=${count}
        series=${[{ name: "orders", values: series.map((step) => step.orders), tone: "shipped" }]} />
    </div>
    <div class="tiles wide-tiles">
      <${Funnel} funnel=${funnel} list=${list} />
      <${Times} of=${of} />
      <${Reasons} of=${of} list=${list} />
    </div></section>`;
}

// Adds the steps without orders, which the service leaves out. A day of the shop may have 23 or 25 hours, so its
// number is rounded.
function allSteps(series, { from, to, by }) {
  const step = by === "hour" ? HOUR_MS : 24 * HOUR_MS;
  const nth = (at) => Math.round((Date.parse(at) - Date.parse(from)) / step);
  const steps = Array.from({ length: Math.max(1, nth(to)) }, () => ({ orders: 0, revenue: "0" }));
  for (const one of series) steps[Math.min(nth(one.at), steps.length - 1)] = one;
  return steps;
}

function Funnel({ funnel, list }) {
  return html`<section class="tile"><h3>From placed to delivered</h3>
    <ul class="plain-list">${STEPS.map(([name, tone]) => html`<li key=${name} class="step">
      <span>${words(name)}</span><${Bars} total=${funnel.placed} parts=${[{ name, value: funnel[name], tone }]} />
      <span class="number">${name === "canceled" ? html`<a href=${list({ status: "CANCELED" })}>${count(funnel[name])}</a>` : count(funnel[name])}
        <small class="muted"> ${share(funnel[name], funnel.placed)}</small></span></li>`)}</ul></section>`;
}

function share(part, whole) {
  return whole ? `${Math.round((100 * part) / whole)} %` : "–";
}

function Times({ of }) {
  const text = (seconds) => (seconds === null ? "–" : duration(seconds));
  return html`<section class="tile"><h3>Processing times</h3><dl class="figures">
    ${[["Placed to paid", of.place_to_pay_s], ["Paid to shipped", of.pay_to_ship_s]].map(([name, { p50, p90 }]) => html`<div key=${name}>
      <dt>${name}</dt><dd>${text(p50)} <small>median, </small>${text(p90)} <small>90th percentile</small></dd></div>`)}
  </dl></section>`;
}

function Reasons({ of, list }) {
  const total = of.cancel_reasons.reduce((sum, { orders }) => sum + orders, 0);
  return html`<section class="tile"><h3>Refunds and cancellations</h3>
    <p>Refunded or taken back <strong>${of.refund_rate === null ? "–" : `${Math.round(of.refund_rate * 1000) / 10} %`}</strong></p>
    ${total > 0 && html`<ul class="plain-list">${of.cancel_reasons.map(({ reason, orders }) => html`<li key=${reason} class="step">
      <a href=${list({ status: "CANCELED" })}>${words(reason ?? "no reason")}</a>
      <${Bars} total=${total} parts=${[{ name: "orders", value: orders, tone: "canceled" }]} /><span class="number">${count(orders)}</span></li>`)}</ul>`}
  </section>`;
}
