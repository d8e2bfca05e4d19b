// Each event as one plain sentence.

import { eventName, money, words } from "./format.js";

// `data`: the event's `data` in the API. `currency`: the order's.
export function sentence(type, data, currency) {
  if (!data) return `${eventName(type)}: this version of the service cannot read it.`;
  const say = SENTENCES[type];
  return say ? say(data, (text) => money(text, currency)) : eventName(type);
}

// An event's actor as "staff", "the customer", "you" ... `mine`: the viewer's user id.
export function actorName(actor, mine) {
  if (!actor) return "unknown";
  if (actor.id && actor.id === mine) return "you";
  if (actor.type === "system") return "the service";
  const name = { user: "the customer", key: "an API key" }[actor.type] ?? actor.type;
  return actor.id ? `${name} ${actor.id.slice(-8)}` : name;
}

function units(lines) {
  const all = lines.reduce((sum, line) => sum + line.quantity, 0);
  return `${all} ${all === 1 ? "unit" : "units"} (${lines.map((l) => `${l.quantity} of line ${l.line_id}`).join(", ")})`;
}

function because(reason) {
  return reason ? `: ${words(reason).toLowerCase()}` : "";
}

function by({ carrier, tracking_number: number }) {
  return `${carrier ? ` by ${carrier}` : ""}${number ? `, tracking ${number}` : ""}`;
}

const SENTENCES = {
  OrderPlaced: (d, m) =>
    `Placed: ${d.lines.map((l) => `${l.quantity} × ${l.name ?? l.sku}`).slice(0, 5).join(", ")}${d.lines.length > 5 ? ", …" : ""} for ${m(d.total)}.`,
  OrderLineAdded: (d, m) => `Line ${d.line.line_id} added: ${d.line.quantity} × ${d.line.name ?? d.line.sku}. Total now ${m(d.total)}.`,
  OrderLineQuantityChanged: (d, m) => `Line ${d.line_id} changed from ${d.from_quantity} to ${d.to_quantity} units. Total now ${m(d.total)}.`,
  OrderLineRemoved: (d, m) => `Line ${d.line_id} removed. Total now ${m(d.total)}.`,
  ShippingAddressChanged: () => "The shipping address was changed.",
  BillingAddressChanged: () => "The billing address was changed.",
  ContactChanged: () => "The contact was changed.",
  OrderMetadataChanged: (d) => `Metadata changed: ${[...Object.entries(d.set).map(([key, value]) => `${key} = ${value}`), ...d.removed.map((key) => `${key} removed`)].join(", ")}.`,
  OrderTagged: (d) => (d.tags.length ? `Tags: ${d.tags.join(", ")}.` : "All tags were removed."),
  OrderNoteAdded: (d) => `${d.visibility === "internal" ? "An internal" : "A"} note was added.`,
  PaymentAuthorized: (d, m) => `${m(d.amount)} authorized${d.method ? ` by ${d.method}` : ""}.`,
  PaymentAuthorizationVoided: (d) => `An authorization was voided${because(d.reason)}.`,
  PaymentCaptured: (d, m) => `${m(d.amount)} captured${d.source === "provider" ? ", reported by the provider" : d.source === "self_service" ? ", set by the customer" : ", recorded by hand"}.`,
  OrderHeld: (d) => `The order is on hold: ${words(d.reason).toLowerCase()}.`,
  OrderHoldReleased: () => "A hold was released.",
  OrderEdited: (d, m) => `The shop edited the order: ${m(d.total_before)} became ${m(d.total)}.`,
  PaymentAuthorizationExpired: () => "An authorization expired.",
  PaymentReversed: (d, m) => `${m(d.amount)} taken back by the provider: ${words(d.kind).toLowerCase()}.`,
  PaymentReversalUndone: (d, m) => `${m(d.amount)} came back: the reversal is undone.`,
  PaymentFailed: (d) => `A payment failed: ${d.code}.`,
  OrderPaid: (d, m) => `Paid: ${m(d.captured)} of ${m(d.total)} captured.`,
  ShipmentDispatched: (d) => `${units(d.lines)} shipped${by(d)}.`,
  ShipmentTrackingUpdated: (d) => `Tracking of a shipment is now${by(d) || " unknown"}.`,
  ShipmentVoided: (d) => `A shipment was voided${because(d.reason)}.`,
  OrderShipped: () => "Everything has been shipped.",
  ShipmentDelivered: () => "A shipment was delivered.",
  OrderDelivered: () => "Everything has been delivered.",
  OrderUnitsCanceled: (d, m) => `${d.quantity} of line ${d.line_id} canceled${because(d.reason)}. Total now ${m(d.total)}.`,
  OrderCanceled: (d) => `Canceled${because(d.reason)}.`,
  RefundRequested: (d, m) => `Refund of ${m(d.amount)} requested${because(d.reason)}.`,
  RefundCompleted: (d, m) => `${m(d.amount)} refunded.`,
  RefundFailed: (d, m) => `Refund of ${m(d.amount)} failed: ${d.code}.`,
  ReturnRequested: (d) => `Return of ${units(d.lines)} requested${because(d.reason)}.`,
  ReturnApproved: () => "A return was approved.",
  ReturnRejected: () => "A return was rejected.",
  ReturnCanceled: () => "A return was canceled.",
  ReturnReceived: (d) => `${units(d.lines)} received back.`,
  OrderReturned: () => "Everything has been returned.",
};
