// The commands on an order as forms: the fields of each command, and the body that they make. Which
// commands are allowed is not decided here: `/actions/` and dry runs of the service say so.

import { words } from "./format.js";

const CANCEL_REASONS = ["CUSTOMER_REQUEST", "PAYMENT_DECLINED", "FRAUD", "OUT_OF_STOCK", "STAFF_ERROR", "DUPLICATE", "OTHER"];
const RETURN_REASONS = ["DAMAGED", "WRONG_ITEM", "NOT_AS_DESCRIBED", "NO_LONGER_NEEDED", "OTHER"];
const REFUND_REASONS = ["CUSTOMER_REQUEST", "DAMAGED", "WRONG_ITEM", "NOT_AS_DESCRIBED", "LATE_DELIVERY", "OVERPAYMENT", "GOODWILL", "STAFF_ERROR", "OTHER"];
const HOLD_REASONS = ["FRAUD_REVIEW", "PAYMENT_REVIEW", "AWAITING_STOCK", "ADDRESS_CHECK", "OTHER"];
const VOID_REASONS = ["NOT_HANDED_OVER", "LOST", "WRONG_LABEL", "STAFF_ERROR", "OTHER"];
const UNRESERVE_REASONS = ["CUSTOMER_REQUEST", "EXPIRED", "STAFF_ERROR", "OTHER"];

// --- fields --------------------------------------------------------------------------------------

const text = (name, label, more) => ({ name, label, kind: "text", ...more });
const choice = (name, label, options, value = options[0]) => ({ name, label, kind: "choice", options, value });
const amount = (hint) => ({ name: "amount", label: "Amount", kind: "text", hint, numeric: true });
const reason = (options) => choice("reason", "Reason", options);
const note = { name: "note", label: "Note", kind: "note" };
const tracking = [text("carrier", "Carrier"), text("tracking_number", "Tracking number")];
const whole = (name, label, value) => ({ name, label, kind: "text", numeric: true, required: true, value: String(value), integer: true });
const reference = text("provider_reference", "Provider's reference");

function unitsOf(order, most, label) {
  const lines = order.items?.map((item) => ({ ...item, most: most(item) })).filter((item) => item.most > 0);
  return { name: "lines", label, kind: "units", lines: lines ?? [] };
}

const outstanding = (item) => item.quantity - item.canceled - item.shipped;

// By the operation's name in the API. `part`: the line, payment, shipment ... that the action is about.
const addressFields = () => [
  text("name", "Name", { required: true }), text("company", "Company"),
  text("line1", "Street", { required: true }), text("line2", "Second line"),
  text("postal_code", "Postal code"), text("city", "City", { required: true }),
  text("region", "Region"), text("country", "Country (two letters)", { required: true }), text("phone", "Phone"),
];

const FORMS = {
  orders_change_status: (order, action) =>
    ({
      SHIPPED: [text("tracking_number", "Tracking number")],
      CANCELED: [choice("reason", "Reason", CANCEL_REASONS), note],
    })[action.body.status] ?? [],
  orders_cancel: () => [reason(CANCEL_REASONS), note],
  orders_change_shipping_address: addressFields,
  orders_change_billing_address: addressFields,
  orders_change_contact: () => [text("email", "E-mail address", { required: true }), text("name", "Name"), text("phone", "Phone")],
  orders_set_tags: (order) => [
    text("tags", "Tags", { kind: "tags", value: (order.tags ?? []).join(", "), hint: "With commas between them." }),
  ],
  orders_set_metadata: (order) => [
    { name: "metadata", label: "Metadata", kind: "entries", present: order.metadata ?? {}, hint: "One entry a line: key = value.",
      value: Object.entries(order.metadata ?? {}).map(([key, value]) => `${key} = ${value}`).join("\n") },
  ],
  orders_edit: (order) => [
    { name: "change", label: "Lines", kind: "edits", lines: order.items ?? [] },
    { name: "add", label: "A further line", kind: "item" },
    text("shipping_fee", "Shipping fee", { numeric: true, hint: `Now ${order.shipping_fee}.` }),
    text("discount", "Discount of the whole order", { numeric: true, hint: `Now ${order.discount}.` }),
    { name: "keep_credit", label: "Keep what is overpaid as credit: refund nothing", kind: "flag" },
    choice("reason", "Reason, if money goes back", REFUND_REASONS, "OTHER"), note,
  ],
  notes_add: () => [
    { name: "text", label: "Note", kind: "note", required: true },
    choice("visibility", "Visible to", ["internal", "public"]),
  ],
  lines_add: () => [
    text("sku", "SKU", { required: true }), text("name", "Name"), whole("quantity", "Units", 1),
    text("unit_price", "Unit price", { numeric: true, required: true }),
  ],
  lines_change_quantity: (order, action, part) => [whole("quantity", "Units", part.quantity)],
  lines_cancel_units: (order, action, part) => [whole("quantity", "Units", outstanding(part)), reason(CANCEL_REASONS), note],
  payments_add: (order, action) => [
    amount(`Leave empty for all that is due, ${order.amount_due} ${order.currency}.`),
    ...(action.body.kind === "authorization" ? [text("method", "Method")] : []),
    reference,
  ],
  payments_capture: (order, action, part) => [amount(`Leave empty for all that is open, ${part.open} ${order.currency}.`)],
  payments_void: () => [reason(UNRESERVE_REASONS)],
  holds_add: () => [reason(HOLD_REASONS), note],
  holds_release: () => [note],
  payments_reverse: () => [choice("kind", "What happened", ["CHARGEBACK", "BOUNCE"]), amount("Leave empty for all that was captured."), reference],
  payments_restore: () => [amount("Leave empty for all that was reversed."), reference],
  payments_fail: () => [text("code", "Provider's error code", { required: true })],
  shipments_dispatch: (order) => [unitsOf(order, outstanding, "Units"), ...tracking],
  shipments_update_tracking: () => tracking,
  shipments_void: () => [reason(VOID_REASONS), note],
  refunds_request: () => [amount("Leave empty for all that can be refunded."), reason(REFUND_REASONS), note],
  refunds_settle: () => [reference],
  refunds_fail: () => [text("code", "Provider's error code", { required: true })],
  returns_request: (order) => [unitsOf(order, (item) => item.delivered - item.returned, "Units"), reason(RETURN_REASONS), note],
  returns_reject: () => [note],
};

export function fieldsOf(order, action, part) {
  return FORMS[action.name]?.(order, action, part) ?? [];
}

// --- the body ------------------------------------------------------------------------------------

export function initialValues(fields) {
  return Object.fromEntries(fields.map((field) => [field.name, INITIAL[field.kind]?.(field) ?? field.value ?? ""]));
}

const byLine = (lines, value) => Object.fromEntries(lines.map((line) => [line.line_id, value(line)]));
const INITIAL = {
  units: (field) => byLine(field.lines, (line) => String(line.most)),
  edits: (field) => byLine(field.lines, editable),
  item: () => ({ sku: "", name: "", quantity: "", unit_price: "" }),
  flag: () => false,
};

// What of a line can be edited, as text. `removed`: the whole line goes.
function editable(line) {
  return { quantity: String(line.quantity), unit_price: line.unit_price ?? "", discount: line.discount, removed: false };
}

// Empty fields are left out.
export function bodyOf(action, fields, values) {
  const body = { ...action.body };
  for (const field of fields) {
    const value = values[field.name];
    if (BODIES[field.kind]) Object.assign(body, BODIES[field.kind](field, value));
    else if (value.trim() !== "") body[field.name] = field.integer ? toInteger(value) : value.trim();
  }
  return body;
}

// The members of the body that a field makes, by its kind; of other kinds: its text.
const BODIES = {
  units: (field, values) => ({ lines: unitsBody(field, values) }),
  edits: editsBody,
  item: (field, value) => {
    const given = withoutEmpty(value);
    return Object.keys(given).length ? { [field.name]: [given] } : {};
  },
  flag: (field, value) => (value ? { [field.name]: true } : {}),
  tags: (field, value) => ({ [field.name]: value.split(",").map((tag) => tag.trim()).filter(Boolean) }),
  entries: entriesBody,
};

function unitsBody(field, values) {
  return field.lines
    .map(({ line_id }) => ({ line_id, quantity: toInteger(values[line_id] || "0") }))
    .filter(({ quantity }) => quantity !== 0);
}

// Only what was changed: the rest stays as it is.
function editsBody(field, values) {
  const remove = field.lines.filter(({ line_id }) => values[line_id].removed).map(({ line_id }) => line_id);
  const change = field.lines
    .filter(({ line_id }) => !remove.includes(line_id))
    .map((line) => {
      const before = editable(line);
      const changed = Object.entries(values[line.line_id]).filter(([name, value]) => name !== "removed" && value !== before[name]);
      return { line_id: line.line_id, ...withoutEmpty(Object.fromEntries(changed)) };
    })
    .filter((line) => Object.keys(line).length > 1);
  return { ...(change.length && { change }), ...(remove.length && { remove }) };
}

function withoutEmpty(members) {
  const given = Object.entries(members).filter(([, value]) => value.trim() !== "");
  return Object.fromEntries(given.map(([name, value]) => [name, name === "quantity" ? toInteger(value) : value.trim()]));
}

// All entries as written; null for the keys that are no longer there.
function entriesBody(field, value) {
  const lines = value.split("\n").filter((line) => line.trim() !== "");
  const entries = lines.map((line) => line.split(/=(.*)/s)).map(([key, text = ""]) => [key.trim(), text.trim()]);
  const removed = Object.keys(field.present).map((key) => [key, null]);
  return { [field.name]: Object.fromEntries([...removed, ...entries]) };
}

// Text that is not a number is sent as it is: the service refuses it with a reason.
function toInteger(value) {
  const number = Number(value);
  return Number.isInteger(number) ? number : value;
}

export function isComplete(fields, values) {
  return fields.every((f) => !f.required || values[f.name].trim() !== "");
}

// --- labels --------------------------------------------------------------------------------------

const LABELS = {
  orders_cancel: "Cancel the order", orders_change_shipping_address: "Change the shipping address",
  orders_change_billing_address: "Change the billing address", orders_change_contact: "Change the contact",
  orders_set_tags: "Set tags", orders_set_metadata: "Set metadata", orders_edit: "Edit the order", notes_add: "Add a note",
  lines_add: "Add a line", lines_change_quantity: "Change units", lines_remove: "Remove", lines_cancel_units: "Cancel units",
  payments_capture: "Capture", payments_void: "Void", payments_fail: "Record failure",
  holds_add: "Hold the order", holds_release: "Release the hold",
  payments_reverse: "Record a reversal", payments_restore: "Undo the reversal",
  shipments_dispatch: "Ship units", shipments_update_tracking: "Change tracking", shipments_void: "Void",
  shipments_confirm_delivery: "Confirm delivery", refunds_request: "Request a refund", refunds_settle: "Mark as refunded",
  refunds_fail: "Record failure", returns_request: "Request a return", returns_approve: "Approve",
  returns_reject: "Reject", returns_cancel: "Cancel the return", returns_receive: "Receive",
};
const STATUS_LABELS = { PAID: "Mark as paid", SHIPPED: "Ship everything", DELIVERED: "Mark as delivered", CANCELED: "Cancel" };
const PAYMENT_LABELS = { authorization: "Record an authorization", capture: "Record a payment" };

export function labelOf({ name, body }) {
  if (name === "orders_change_status") return STATUS_LABELS[body.status] ?? `Move to ${words(body.status)}`;
  if (name === "payments_add") return PAYMENT_LABELS[body.kind];
  return LABELS[name] ?? words(name);
}

export function isDangerous({ name, body }) {
  return name === "orders_cancel" || body?.status === "CANCELED" || name.endsWith("_void") || name === "lines_remove";
}

// The command that sets a status, as `/actions/` lists it.
export function statusAction(id, status) {
  return { name: "orders_change_status", method: "PATCH", path: `/orders/${id}/`, body: { status } };
}
