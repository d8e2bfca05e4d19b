// The differences between two versions of an order: the API's JSON pointers as a readable table.

import { html } from "./vendor/preact-htm.js";
import { words } from "./format.js";

const DERIVED = new Set(["/version", "/updated_at", "/allowed_transitions"]); // they follow from the rest
const SHOWN_MAX = 60;

export function Changes({ diff }) {
  if (diff.from === 0) return html`<p class="muted">The order was placed: everything is new.</p>`;
  const changes = diff.changes.filter(({ pointer }) => !DERIVED.has(pointer));
  if (changes.length === 0) return html`<p class="muted">No visible change.</p>`;
  return html`<div class="table"><table class="changes"><thead><tr><th scope="col">Field</th><th scope="col">Before</th><th scope="col">After</th></tr></thead>
    <tbody>${changes.slice(0, SHOWN_MAX).map(({ pointer, from, to }) => html`<tr key=${pointer}>
      <th scope="row">${readable(pointer)}</th><td><${Value} value=${from} /></td><td><${Value} value=${to} /></td></tr>`)}</tbody></table>
    ${changes.length > SHOWN_MAX && html`<p class="muted small">and ${changes.length - SHOWN_MAX} more</p>`}</div>`;
}

// "/items/0/shipped" as "Items 1 shipped"
function readable(pointer) {
  const parts = pointer.slice(1).split("/").map((part) => (/^\d+$/.test(part) ? String(Number(part) + 1) : words(part).toLowerCase()));
  const text = parts.join(" ").replaceAll("~1", "/").replaceAll("~0", "~");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function Value({ value }) {
  if (value === null || value === undefined) return html`<span class="muted">–</span>`;
  if (typeof value === "object") {
    return html`<span class="small">${Object.entries(value).filter(([, v]) => v !== null && v !== "").map(([k, v]) => `${k.replaceAll("_", " ")} ${typeof v === "object" ? JSON.stringify(v) : v}`).join(", ")}</span>`;
  }
  return /^[A-Z_]+$/.test(value) && value.length > 3 ? words(value) : String(value);
}
