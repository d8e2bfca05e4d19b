// The parts of an order: with buttons on the order's screen, without on the timeline.

import { html } from "./vendor/preact-htm.js";
import { Bars, Status, Time } from "./components.js";
import { addAmounts, amount, isZero, money, words } from "./format.js";

// `buttons(prefix, part)`: the buttons of the actions below `/orders/{id}/{prefix}`; none by default.
const none = () => null;

export function Statuses({ order }) {
  return html`<dl class="facts">
    <div><dt>Order</dt><dd><${Status} of=${order.status} /></dd></div>
    <div><dt>Payment</dt><dd><${Status} of=${order.payment_status} axis="payment" /></dd></div>
    <div><dt>Fulfillment</dt><dd><${Status} of=${order.fulfillment_status} axis="fulfillment" /></dd></div>
  </dl>`;
}

const MONEY = [
  ["goods", "Goods, discounts off"], ["shipping_fee", "Shipping"], ["added_tax", "Tax on shipping"],
  ["total_price", "Total"], ["authorized", "Authorized"], ["captured", "Captured"], ["refunded", "Refunded"],
  ["refund_pending", "Refund pending"], ["reversed", "Taken back"], ["amount_due", "Due"], ["credit_due", "Credit"],
];
const ALWAYS = ["total_price", "captured", "refunded", "amount_due", "credit_due"];

// A statement that adds up: goods, shipping and its tax make the total.
export function MoneyBox({ order }) {
  const priced = order.items.filter((item) => item.value !== null);
  const amounts = {
    ...order,
    goods: priced.reduce((sum, item) => addAmounts(sum, item.value), "0"),
    added_tax: order.tax_included ? "0" : order.shipping_tax,
  };
  const shown = MONEY.filter(([name]) => ALWAYS.includes(name) || !isZero(amounts[name]));
  return html`<dl class="facts money">${shown.map(([name, title]) => html`<div key=${name} data-zero=${isZero(amounts[name])}
      data-alert=${name === "credit_due" && !isZero(amounts[name])}>
    <dt>${title}</dt><dd>${amount(amounts[name])} <small>${order.currency}</small></dd></div>`)}</dl>`;
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
