// The dialog of a command: a form, a preview (the service's dry run), and the button that sends it.

import { html, useEffect, useRef, useState } from "./vendor/preact-htm.js";
import { bodyOf, fieldsOf, initialValues, isComplete, isDangerous, labelOf } from "./actions.js";
import { newKey, send } from "./api.js";
import { Dialog, ErrorBox, Loading, Status, toast } from "./components.js";
import { meetConflict } from "./conflicts.js";
import { money } from "./format.js";
import { sentence } from "./sentences.js";

const PREVIEW_MS = 350; // after the last key

// `order`: at least {id, number, version, currency, status}. `part`: the line, payment ... that it is
// about. `onDone(document)` is called when the command succeeds.
export function CommandDialog({ order, action, part, onDone, onClose }) {
  const fields = useRef(null);
  fields.current ??= fieldsOf(order, action, part);
  const [values, setValues] = useState(() => initialValues(fields.current));
  const body = bodyOf(action, fields.current, values);
  const text = JSON.stringify(body);
  const complete = isComplete(fields.current, values);
  const pinned = useRef(order).current; // what the operator saw when the dialog opened
  const conflict = () => {
    onClose();
    meetConflict({ number: pinned.number, id: pinned.id, version: pinned.version, currency: pinned.currency,
      action, body, label: labelOf(action) });
  };
  const preview = usePreview(pinned, action, text, complete, conflict);
  const [sending, sendNow] = useSending(pinned, action, text, conflict, onDone);
  const submit = (event) => (event.preventDefault(), sendNow());

  return html`<${Dialog} title=${`${labelOf(action)}: ${order.number}`} onClose=${onClose}>
    <form class="stack" onSubmit=${submit}>
      ${fields.current.map((field, index) => html`<${Field} key=${field.name} field=${field} first=${index === 0}
        value=${values[field.name]} onValue=${(value) => setValues({ ...values, [field.name]: value })} />`)}
      <${Preview} order=${pinned} preview=${preview} complete=${complete} />
      ${sending.error && html`<${ErrorBox} error=${sending.error} />`}
      <div class="row end">
        <button type="button" onClick=${onClose}>Close</button>
        <button class=${`primary ${isDangerous(action) ? "danger-fill" : ""}`} autofocus=${fields.current.length === 0}
          disabled=${!preview.data || sending.busy}>${sending.busy ? "Sending …" : labelOf(action)}</button>
      </div>
    </form>
  <//>`;
}

// The service's dry run, made shortly after the last change: {data, error}.
function usePreview(order, action, text, complete, conflict) {
  const [state, setState] = useState({});
  const first = useRef(true);
  useEffect(() => {
    setState({});
    if (!complete) return undefined;
    const controller = new AbortController();
    const options = { version: order.version, dryRun: true, signal: controller.signal };
    const run = () =>
      send(action.method, action.path, JSON.parse(text), options).then(setState, (error) => {
        if (controller.signal.aborted) return;
        if (error.status === 412) conflict();
        else setState({ error });
      });
    const timer = setTimeout(run, first.current ? 0 : PREVIEW_MS);
    first.current = false;
    return () => (clearTimeout(timer), controller.abort());
  }, [text, complete]);
  return state;
}

// The same content has the same key, so that repeating it after a lost response has no second effect.
function useSending(order, action, text, conflict, onDone) {
  const [state, setState] = useState({});
  const keys = useRef({});
  const run = async () => {
    setState({ busy: true });
    keys.current[text] ??= newKey();
    try {
      const options = { version: order.version, key: keys.current[text] };
      const { data } = await send(action.method, action.path, JSON.parse(text), options);
      toast(`${order.number}: ${labelOf(action)}: done.`, "good");
      onDone(data);
    } catch (error) {
      if (error.status === 412) conflict();
      else setState({ error });
    }
  };
  return [state, run];
}

// --- parts ---------------------------------------------------------------------------------------

function Field({ field, value, onValue, first }) {
  const shared = { autofocus: first, required: field.required };
  const set = (event) => onValue(event.target.value);
  if (field.kind === "units") return html`<${Units} field=${field} value=${value} onValue=${onValue} />`;
  if (field.kind === "edits") return html`<${Edits} field=${field} value=${value} onValue=${onValue} />`;
  if (field.kind === "item") return html`<${Item} field=${field} value=${value} onValue=${onValue} />`;
  if (field.kind === "flag") {
    return html`<label class="inline"><input type="checkbox" checked=${value} onChange=${(event) => onValue(event.target.checked)} /> ${field.label}</label>`;
  }
  if (field.kind === "entries") {
    return html`<label>${field.label}<textarea ...${shared} value=${value} onInput=${set}></textarea><span>${field.hint}</span></label>`;
  }
  if (field.kind === "choice") {
    return html`<label>${field.label}<select ...${shared} value=${value} onChange=${set}>
      ${field.options.map((one) => html`<option key=${one} value=${one} selected=${one === value}>${optionText(one)}</option>`)}
    </select></label>`;
  }
  if (field.kind === "note") {
    return html`<label>${field.label}<textarea ...${shared} maxlength="2000" value=${value} onInput=${set}></textarea></label>`;
  }
  return html`<label>${field.label}<input ...${shared} value=${value} onInput=${set} autocomplete="off"
    inputmode=${field.numeric ? "decimal" : null} />${field.hint && html`<span>${field.hint}</span>`}</label>`;
}

function optionText(name) {
  return name.charAt(0) + name.slice(1).replaceAll("_", " ").toLowerCase();
}

function Units({ field, value, onValue }) {
  return html`<fieldset><legend>${field.label}</legend>
    ${field.lines.map((line) => html`<label key=${line.line_id} class="inline">
      <input type="number" min="0" max=${line.most} value=${value[line.line_id]}
        onInput=${(event) => onValue({ ...value, [line.line_id]: event.target.value })} />
      of ${line.most} × ${line.name ?? line.sku}</label>`)}
  </fieldset>`;
}

const EDITED = [["quantity", "Units"], ["unit_price", "Price"], ["discount", "Discount"]];

function Edits({ field, value, onValue }) {
  const set = (line_id, name, text) => onValue({ ...value, [line_id]: { ...value[line_id], [name]: text } });
  return html`<fieldset><legend>${field.label}</legend>${field.lines.map((line) => {
    const title = line.name ?? line.sku ?? `line ${line.line_id}`;
    const { removed, ...texts } = value[line.line_id];
    return html`<div key=${line.line_id} class="row"><strong class="edited">${title}</strong>
      ${EDITED.map(([name, label]) => html`<label key=${name}>${label}<input aria-label=${`${label} of ${title}`} disabled=${removed}
        value=${texts[name]} inputmode="decimal" autocomplete="off" onInput=${(event) => set(line.line_id, name, event.target.value)} /></label>`)}
      <label class="inline"><input type="checkbox" aria-label=${`Remove ${title}`} checked=${removed}
        onChange=${(event) => set(line.line_id, "removed", event.target.checked)} /> Remove</label></div>`;
  })}</fieldset>`;
}

const ADDED = [["sku", "SKU"], ["name", "Name"], ["quantity", "Units"], ["unit_price", "Price"]];

function Item({ field, value, onValue }) {
  return html`<fieldset><legend>${field.label}</legend><div class="row">${ADDED.map(([name, label]) => html`<label key=${name}>${label}
    <input aria-label=${`${label} of the further line`} value=${value[name]} autocomplete="off"
      onInput=${(event) => onValue({ ...value, [name]: event.target.value })} /></label>`)}</div></fieldset>`;
}

export function Preview({ order, preview, complete }) {
  if (!complete) return html`<p class="muted small">Fill in the required fields to see a preview.</p>`;
  if (preview.error) return html`<${ErrorBox} error=${preview.error} />`;
  if (!preview.data) return html`<${Loading} what="Loading the preview" />`;
  const { order: after, events } = preview.data;
  return html`<section class="preview" aria-label="Preview" aria-live="polite">
    <h3>Preview</h3>
    ${events.length === 0 && html`<p>No change: the order is in this state already.</p>`}
    <ol>${events.map((e) => html`<li key=${e.version}>${sentence(e.type, e.data, after.currency)}</li>`)}</ol>
    <p class="row"><${Status} of=${order.status} /> <span aria-label="becomes">→</span> <${Status} of=${after.status} />
      <span class="muted">${money(after.total_price, after.currency)}, due ${money(after.amount_due, after.currency)}</span></p>
  </section>`;
}
