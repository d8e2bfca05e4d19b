// One command on many orders, a few at a time, each with its own outcome.

import { html, useEffect, useRef, useState } from "./vendor/preact-htm.js";
import { bodyOf, fieldsOf, initialValues, labelOf, statusAction } from "./actions.js";
import { newKey, send } from "./api.js";
import { Dialog, Status } from "./components.js";
import { link } from "./router.js";
import { words } from "./format.js";

const AT_ONCE = 4;
const ATTEMPTS_MAX = 5; // per order, while the service is overloaded
const NAMES = { PAID: "Pay", SHIPPED: "Ship", CANCELED: "Cancel" };

// `kind`: the status to set.
export function Bulk({ kind, orders, onClose }) {
  const [reason, setReason] = useState(null);
  const [outcomes, setOutcomes] = useState(null);
  const stop = useRef(null);
  useEffect(() => () => stop.current?.abort(), []);
  const fields = fieldsOf({}, statusAction("", kind)).filter(({ kind: of }) => of === "choice");
  const start = () => {
    stop.current = new AbortController();
    setOutcomes(new Map());
    const report = (number, outcome) => setOutcomes((before) => new Map(before).set(number, outcome));
    const values = { ...initialValues(fields), ...(reason && { reason }) };
    runAll(orders, (order) => one(order, kind, fields, values, stop.current.signal), report, stop.current.signal);
  };
  const settled = outcomes ? [...outcomes.values()].filter(({ busy }) => !busy).length : 0;

  return html`<${Dialog} wide title=${`${NAMES[kind]} ${orders.length} ${orders.length === 1 ? "order" : "orders"}`} onClose=${onClose}>
    ${!outcomes && fields.map((field) => html`<label key=${field.name}>${field.label}<select onChange=${(e) => setReason(e.target.value)}>
      ${field.options.map((option) => html`<option key=${option} value=${option}>${words(option)}</option>`)}</select></label>`)}
    <p role="status">${outcomes ? `${settled} of ${orders.length} finished.` : "Each order is changed separately, from the version that the list shows."}</p>
    <div class="table"><table><thead><tr><th>Order</th><th>Was</th><th>Outcome</th></tr></thead><tbody>
      ${orders.map((order) => html`<tr key=${order.number}><td><a href=${link(["orders", order.number])}>${order.number}</a></td>
        <td><${Status} of=${order.status} /></td><td class="wrap"><${Outcome} outcome=${outcomes?.get(order.number)} /></td></tr>`)}
    </tbody></table></div>
    <div class="row end"><button type="button" onClick=${onClose}>${settled === orders.length ? "Done" : "Stop"}</button>
      ${!outcomes && html`<button type="button" class="primary" autofocus onClick=${start}>${labelOf(statusAction("", kind))}</button>`}</div>
  <//>`;
}

function Outcome({ outcome }) {
  if (!outcome) return html`<span class="muted">–</span>`;
  if (outcome.busy) return html`<span class="muted">${outcome.busy}</span>`;
  if (outcome.status) return html`<span class="good">done:</span> <${Status} of=${outcome.status} />`;
  return html`<span class="bad">${outcome.text}</span>`;
}

async function runAll(orders, work, report, signal) {
  const waiting = [...orders];
  const worker = async () => {
    while (waiting.length > 0 && !signal.aborted) {
      const order = waiting.shift();
      report(order.number, { busy: "sending …" });
      report(order.number, await work(order));
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

// The outcome of one order. An overloaded service says in Retry-After when to try again.
async function one(order, kind, fields, values, signal) {
  const action = statusAction(order.id, kind);
  const options = { version: order.version, key: newKey(), signal };
  for (let attempt = 1; ; attempt += 1) {
    try {
      const { data } = await send(action.method, action.path, bodyOf(action, fields, values), options);
      return { status: data.status };
    } catch (error) {
      if (signal.aborted) return { text: "stopped; the change may have been made" };
      const overloaded = error.status === 429 || error.status === 503;
      if (!overloaded || attempt === ATTEMPTS_MAX) return { text: refusal(error) };
      await new Promise((resolve) => setTimeout(resolve, (error.retryAfterS ?? 1) * 1000));
    }
  }
}

function refusal(error) {
  if (error.status !== 412) return error.message ?? "failed";
  const changes = (error.members.events_since ?? []).map(({ type, actor }) => `${type} by ${actor.type}`);
  return `changed meanwhile (${changes.join(", ") || "unknown"}): open the order first`;
}
