// The parts of an order: with buttons on the order's screen, without on the timeline.

import { html } from "./vendor/preact-htm.js";
import { Bars, Status, Time } from "./components.js";
import { addAmounts, amount, isZero, money, partOf, words } from "./format.js";

// `buttons(prefix, part)`: the buttons of the actions below `/orders/{id}/{prefix}`; none by default.
const none = () => null;

export function Statuses({ order }) {
  return html`<dl class="facts">
    <div><dt>Order</dt><dd><${Status} of=${order.status} /></dd></div>
    <div><dt>Payment</dt><dd><${Status} of=${order.payment_status} axis="payment" /></dd></div>
    <div><dt>Fulfillment</dt><dd><${Status} of=${order.fulfillment_status} axis="fulfillment" /></dd></div>
  </dl>`;
}

// What the operator should not overlook.
const FLAGS = [
  ["On hold", (order) => order.holds.some((hold) => !hold.released) && order.status !== "CANCELED"],
  ["Prices set by the customer", (order) => !order.prices_trusted],
  ["Paid by the customer's own word", (order) => order.payments.some((payment) => payment.source === "self_service")],
  ["Refund failed", (order) => order.refunds.at(-1)?.status === "FAILED"],
  ["Return open", (order) => order.returns.some((one) => ["REQUESTED", "APPROVED"].includes(one.status))],
];

export function Flags({ order }) {
  const raised = FLAGS.filter(([, applies]) => applies(order)).map(([text]) => text);
  if (!raised.length && !order.tags.length) return null;
  return html`<div class="row tight" role="group" aria-label="Flags">${raised.map((text) => html`<span key=${text} class="tag warn">${text}</span>`)}
    ${order.tags.map((tag) => html`<span key=${`#${tag}`} class="tag">${tag}</span>`)}</div>`;
}

// The order's money as a statement: each amount is added to the one above it or taken from it.
export function Statement({ order }) {
  return html`<table class="statement"><caption class="hidden">Money in ${order.currency}</caption>
    <tbody>${statementRows(order).map(({ title, text, sign, sum }) => html`<tr key=${title} data-sum=${Boolean(sum)}>
      <th scope="row">${title}</th><td class="number">${sign < 0 ? "− " : ""}${amount(text)}</td></tr>`)}</tbody></table>`;
}

function statementRows(order) {
  const rows = [];
  let balance = "0";
  const step = (title, text, sign = 1, always = false) => {
    if (isZero(text) && !always) return;
    balance = addAmounts(balance, text, sign);
    rows.push({ title, text, sign });
  };
  const { goods, discounts, taxes } = sumsOfLines(order);
  step("Goods", goods, 1, true);
  step("Discounts", discounts, -1);
  step("Taxes", taxes);
  step("Shipping", order.shipping_fee);
  if (!order.tax_included) step("Tax on shipping", order.shipping_tax);
  rows.push({ title: "Total", text: order.total_price, sum: true });
  balance = order.total_price;
  step("Canceled", order.status === "CANCELED" ? order.total_price : "0", -1);
  if (order.status !== "CANCELED") step("Returned", order.returned, -1);
  for (const [n, payment] of order.payments.entries()) {
    step(["Payment", n + 1, payment.provider_reference].filter(Boolean).join(" "), payment.captured, -1);
    step(`Payment ${n + 1} taken back`, payment.reversed);
  }
  for (const [n, refund] of order.refunds.entries()) {
    if (refund.status === "COMPLETED") step(`Refund ${n + 1}, ${words(refund.reason).toLowerCase()}`, refund.amount);
  }
  if (balance.startsWith("-")) step("Refund pending", smaller(order.refund_pending, balance.slice(1)));
  const credit = !isZero(order.credit_due);
  rows.push({ title: credit ? "Credit of the customer" : "Due", text: credit ? order.credit_due : order.amount_due, sum: true });
  if (!isZero(order.authorized)) rows.push({ title: "Authorized, not captured", text: order.authorized });
  return rows;
}

// Of the units that are not canceled. What the discounts are is what is missing from goods and taxes.
function sumsOfLines(order) {
  const priced = order.items.filter((item) => item.value !== null);
  if (priced.length === 0) {
    const fees = order.tax_included ? order.shipping_fee : addAmounts(order.shipping_fee, order.shipping_tax);
    return { goods: addAmounts(order.total_price, fees, -1), discounts: "0", taxes: "0" };
  }
  const sum = (amounts) => amounts.reduce((whole, one) => addAmounts(whole, one), "0");
  const active = (item) => item.quantity - item.canceled;
  const digits = order.total_price.split(".")[1]?.length ?? 0;
  const goods = sum(priced.map((item) => partOf(item.unit_price, active(item), 1, digits)));
  const taxes = order.tax_included ? "0" : sum(priced.map((item) => partOf(item.tax, active(item), item.quantity, digits)));
  return { goods, taxes, discounts: addAmounts(addAmounts(goods, taxes), sum(priced.map((item) => item.value)), -1) };
}

function smaller(one, other) {
  return addAmounts(one, other, -1).startsWith("-") ? one : other;
}

// A line's units by where they are now.
function unitStates(item) {
  const waiting = item.quantity - item.canceled - item.shipped;
  return [
    { name: "returned", value: item.returned, tone: "returned" },
    { name: "delivered", value: item.delivered - item.returned, tone: "delivered" },
    { name: "shipped", value: item.shipped - item.delivered, tone: "shipped" },
    { name: "waiting", value: waiting, tone: "pending" },
    { name: "canceled", value: item.canceled, tone: "canceled" },
  ];
}

// What lies between a line's price and its value.
function deductions(item) {
  return ["discount", "share", "tax"].filter((name) => !isZero(item[name])).map((name) => ` · ${DEDUCTIONS[name]} ${amount(item[name])}`).join("");
}

const DEDUCTIONS = { discount: "discount", share: "of the order's discount", tax: "tax" };

export function Lines({ order, buttons = none }) {
  return html`<div class="table" role="region" aria-label="Lines" tabindex="0"><table class="lines">
    <thead><tr><th scope="col">Line</th><th scope="col" class="number">Price</th><th scope="col" class="number">Value</th><th scope="col" class="number">Ordered</th>
      <th scope="col">Units</th><th scope="col" class="number">Canceled</th><th scope="col" class="number">Shipped</th>
      <th scope="col" class="number">Delivered</th><th scope="col" class="number">Returned</th>
      ${buttons !== none && html`<th scope="col"><span class="hidden">Actions</span></th>`}</tr></thead>
    <tbody>${order.items.map((item) => html`<tr key=${item.line_id}>
      <td><strong>${item.name ?? item.sku ?? "Item"}</strong><br /><span class="muted small">${[item.line_id, item.sku].filter(Boolean).join(" · ")}
        ${deductions(item)}${Object.entries(item.attributes).map(([k, v]) => ` · ${k} ${v}`)}</span></td>
      <td class="number">${item.unit_price === null ? "–" : amount(item.unit_price)}</td>
      <td class="number">${item.value === null ? "–" : amount(item.value)}</td>
      <td class="number">${item.quantity}${item.unit ? ` ${item.unit}` : ""}</td>
      <td><${Bars} parts=${unitStates(item)} total=${item.quantity} /></td>
      ${["canceled", "shipped", "delivered", "returned"].map((name) => html`<td key=${name} class="number" data-zero=${item[name] === 0}>${item[name]}</td>`)}
      ${buttons !== none && html`<td>${buttons(`lines/${item.line_id}/`, item)}</td>`}
    </tr>`)}</tbody></table></div>`;
}

function Part({ title, empty, children }) {
  return html`<section class="part"><h2>${title}</h2>${children.length ? html`<ul>${children}</ul>` : html`<p class="muted">${empty}</p>`}</section>`;
}

export function Payments({ order, buttons = none }) {
  return html`<${Part} title="Payments" empty="None.">${order.payments.map((p) => html`<li key=${p.id}>
    <strong>${money(p.kind === "authorization" ? p.authorized : p.captured, order.currency)}</strong>
    <span>${p.kind === "authorization" ? `authorized, ${p.captured} captured, ${p.open} open` : "captured"}${p.closed ? `, ${p.closed}` : ""}</span>
    ${!isZero(p.reversed) && html`<span class="bad">${p.reversed} taken back</span>`}
    ${p.to_void && html`<span class="bad">void it: the order is canceled</span>`}
    <span class="muted">${[p.source, p.method, p.provider_reference].filter(Boolean).join(" · ")}</span>
    ${p.failure_code && html`<span class="bad">failed: ${p.failure_code}</span>`}
    ${p.expires_at && html`<span class="muted">until <${Time} at=${p.expires_at} /></span>`}
    ${buttons(`payments/${p.id}/`, p)}</li>`)}<//>`;
}

export function Holds({ order, buttons = none }) {
  return html`<${Part} title="Holds" empty="None.">${order.holds.map((h) => html`<li key=${h.id}>
    <strong>${words(h.reason)}</strong> <span class=${h.released ? "muted" : "bad"}>${h.released ? "released" : "stands"}</span>
    ${buttons(`holds/${h.id}/`, h)}</li>`)}<//>`;
}

export function Shipments({ order, buttons = none }) {
  return html`<${Part} title="Shipments" empty="None.">${order.shipments.map((s) => html`<li key=${s.id}>
    <strong>${s.lines.map((l) => `${l.quantity} of line ${l.line_id}`).join(", ")}</strong>
    <span class="muted">${[s.carrier, s.tracking_number].filter(Boolean).join(" · ")}</span>
    <span>${s.voided ? "voided" : s.delivered_at ? html`delivered <${Time} at=${s.delivered_at} />` : html`shipped <${Time} at=${s.dispatched_at} />`}</span>
    ${buttons(`shipments/${s.id}/`, s)}</li>`)}<//>`;
}

export function Refunds({ order, buttons = none }) {
  return html`<${Part} title="Refunds" empty="None.">${order.refunds.map((r) => html`<li key=${r.id}>
    <strong>${money(r.amount, order.currency)}</strong> <${Status} of=${r.status} axis="refund" />
    <span class="muted">${words(r.reason)}, ${words(r.cause).toLowerCase()}${r.provider_reference ? ` · ${r.provider_reference}` : ""}</span>
    ${r.failure_code && html`<span class="bad">failed: ${r.failure_code}</span>`}
    ${buttons(`refunds/${r.id}/`, r)}</li>`)}<//>`;
}

export function Returns({ order, buttons = none }) {
  return html`<${Part} title="Returns" empty="None.">${order.returns.map((r) => html`<li key=${r.id}>
    <strong>${r.lines.map((l) => `${l.quantity} of line ${l.line_id}`).join(", ")}</strong> <${Status} of=${r.status} axis="return" />
    <span class="muted">${words(r.reason)}, received ${r.lines.reduce((sum, l) => sum + l.received, 0)}</span>
    ${buttons(`returns/${r.id}/`, r)}</li>`)}<//>`;
}
