// Health.

import { html } from "../vendor/preact-htm.js";

export default function Health() {
  return html`<h1>Health</h1>`;
}
