// Sales.

import { html } from "../vendor/preact-htm.js";

export default function Sales() {
  return html`<h1>Sales</h1>`;
}
