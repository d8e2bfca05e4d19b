// Projections.

import { html } from "../vendor/preact-htm.js";

export default function Projections() {
  return html`<h1>Projections</h1>`;
}
