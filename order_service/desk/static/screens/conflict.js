// Conflict.

import { html } from "../vendor/preact-htm.js";

export default function Conflict() {
  return html`<h1>Conflict</h1>`;
}
