// Orders.

import { html } from "../vendor/preact-htm.js";

export default function Orders() {
  return html`<h1>Orders</h1>`;
}
