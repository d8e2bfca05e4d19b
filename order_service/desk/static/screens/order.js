// Order.

import { html } from "../vendor/preact-htm.js";

export default function Order() {
  return html`<h1>Order</h1>`;
}
