// API keys, for admins: create, rotate, narrow, revoke. A key is shown once, after it was made.

import { html, useEffect, useState } from "../vendor/preact-htm.js";
import { get, send } from "../api.js";
import { Dialog, Empty, ErrorBox, Loading, Table, Time, toast } from "../components.js";

const SCOPES = [
  "orders:read", "orders:write", "orders:price", "payments:write", "fulfillment:write", "returns:write",
  "reports:read", "events:read", "webhooks:manage", "ops",
];

export default function ApiKeys() {
  const [{ data, error }, setState] = useState({});
  const [dialog, open] = useState(null); // {kind: "create" | "rotate" | "narrow" | "revoke" | "shown", ...}
  const reload = () => get("/api-keys/").then((data) => setState({ data }), (error) => setState({ error }));
  useEffect(() => void reload(), []);
  if (!data) return error ? html`<${ErrorBox} error=${error} retry=${reload} />` : html`<${Loading} />`;
  const Shown = dialog && DIALOGS[dialog.kind];
  return html`<div class="head"><h1>API keys</h1>
      <span class="muted small">Credentials of programs; each does what its scopes say</span>
      <button type="button" class="primary" onClick=${() => open({ kind: "create" })}>Create a key</button></div>
    ${data.items.length
      ? html`<${Keys} keys=${data.items} open=${open} />`
      : html`<${Empty} title="No API keys"><p>Create one for each program.</p><//>`}
    ${Shown && html`<${Shown} ...${dialog} open=${open} onClose=${() => open(null)} onDone=${reload} />`}`;
}

function Keys({ keys, open }) {
  const columns = [
    { name: "name", title: "Name", cell: (k) => html`<strong>${k.name}</strong><br /><code class="small">${k.prefix}</code>` },
    { name: "scopes", title: "Scopes", cell: (k) => html`<span class="wrap">${k.scopes.join(" ")}</span>` },
    { name: "for", title: "Acts for", narrow: false, cell: (k) => k.acts_for ?? "any user" },
    { name: "limit", title: "Limit", narrow: false, cell: (k) => k.rate_limit ?? "as users" },
    { name: "used", title: "Last used", cell: (k) => html`<${Time} at=${k.last_used_at} empty="never" />` },
    { name: "expires", title: "Expires", narrow: false, cell: (k) => html`<${Time} at=${k.expires_at} empty="never" />` },
    { name: "actions", title: "Actions", cell: (key) => html`<div class="row">
      <button type="button" onClick=${() => open({ kind: "rotate", of: key })}>Rotate</button>
      <button type="button" onClick=${() => open({ kind: "narrow", of: key })}>Narrow</button>
      <button type="button" class="danger" onClick=${() => open({ kind: "revoke", of: key })}>Revoke</button></div>` },
  ];
  return html`<${Table} caption="API keys" columns=${columns} rows=${keys} rowKey=${(k) => k.id} />`;
}

// --- dialogs -------------------------------------------------------------------------------------

// A form that sends one request. `request(fields)`: {method, path, body}; `then(data)`: after success.
function Request({ title, verb, request, then, onClose, children }) {
  const [{ busy, error }, setState] = useState({});
  const submit = async (event) => {
    event.preventDefault();
    const { method, path, body } = request(new FormData(event.target));
    setState({ busy: true });
    try {
      const { data } = await send(method, path, body);
      then(data);
    } catch (error) {
      setState({ error });
    }
  };
  return html`<${Dialog} title=${title} onClose=${onClose}>
    <form class="stack" onSubmit=${submit}>${children}
      ${error && html`<${ErrorBox} error=${error} />`}
      <div class="row"><button class="primary" disabled=${busy}>${verb}</button>
        <button type="button" onClick=${onClose}>Cancel</button></div>
    </form>
  <//>`;
}

function Create({ open, onClose, onDone }) {
  const request = (fields) => {
    const body = { name: fields.get("name"), scopes: fields.getAll("scopes") };
    if (fields.get("rate_limit")) body.rate_limit = fields.get("rate_limit");
    if (fields.get("acts_for")) body.acts_for = fields.get("acts_for").trim();
    if (fields.get("expires_at")) body.expires_at = new Date(fields.get("expires_at")).toISOString();
    return { method: "POST", path: "/api-keys/", body };
  };
  return html`<${Request} title="Create an API key" verb="Create" request=${request} onClose=${onClose}
      then=${(data) => (onDone(), open({ kind: "shown", data }))}>
    <label>Name <input name="name" required maxlength="100" placeholder="shop backend" /></label>
    <${Scopes} all=${SCOPES} chosen=${[]} />
    <label>Limit <input name="rate_limit" pattern="[1-9][0-9]*/(second|minute|hour|day)" placeholder="5000/minute" /></label>
    <label>Acts only for user <input name="acts_for" placeholder="any user" /></label>
    <label>Expires <input name="expires_at" type="datetime-local" /></label>
  <//>`;
}

function Scopes({ all, chosen }) {
  return html`<fieldset><legend>Scopes</legend>${all.map((scope) => html`<label class="inline" key=${scope}>
    <input type="checkbox" name="scopes" value=${scope} defaultChecked=${chosen.includes(scope)} /> ${scope}</label>`)}</fieldset>`;
}

function Rotate({ of, open, onClose, onDone }) {
  const request = (fields) => ({
    method: "POST", path: `/api-keys/${of.id}/rotate/`, body: { overlap: fields.get("overlap") },
  });
  return html`<${Request} title=${`Rotate ${of.name}`} verb="Rotate" request=${request} onClose=${onClose}
      then=${(data) => (onDone(), open({ kind: "shown", data }))}>
    <label>The present key holds for <select name="overlap">
      <option value="PT1H">an hour</option><option value="PT24H" selected>a day</option>
      <option value="P7D">a week</option><option value="PT0S">no longer: it has leaked</option></select></label>
  <//>`;
}

function Narrow({ of, onClose, onDone }) {
  const request = (fields) => ({
    method: "PATCH", path: `/api-keys/${of.id}/`, body: { name: fields.get("name"), scopes: fields.getAll("scopes") },
  });
  return html`<${Request} title=${`Narrow ${of.name}`} verb="Save" request=${request} onClose=${onClose}
      then=${() => (toast("Saved", "good"), onDone(), onClose())}>
    <label>Name <input name="name" required maxlength="100" defaultValue=${of.name} /></label>
    <${Scopes} all=${of.scopes} chosen=${of.scopes} />
  <//>`;
}

function Revoke({ of, onClose, onDone }) {
  const request = () => ({ method: "DELETE", path: `/api-keys/${of.id}/`, body: {} });
  return html`<${Request} title=${`Revoke ${of.name}`} verb="Revoke the key" request=${request} onClose=${onClose}
      then=${() => (toast("Revoked", "good"), onDone(), onClose())}>
    <p>The key ends for good, within two seconds. Programs that use it are refused.</p>
  <//>`;
}

function Shown({ data, onClose }) {
  const copy = () => navigator.clipboard.writeText(data.key).then(() => toast("Copied", "good"));
  return html`<${Dialog} title=${`The key of ${data.name}`} onClose=${onClose}>
    <p>Copy it now: it is not shown again.</p>
    <pre class="json wrap" data-key>${data.key}</pre>
    <div class="row"><button type="button" class="primary" onClick=${copy}>Copy</button>
      <button type="button" onClick=${onClose}>Done</button></div>
  <//>`;
}

const DIALOGS = { create: Create, rotate: Rotate, narrow: Narrow, revoke: Revoke, shown: Shown };
