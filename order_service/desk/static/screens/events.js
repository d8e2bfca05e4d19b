// Events.

import { html } from "../vendor/preact-htm.js";

export default function Events() {
  return html`<h1>Events</h1>`;
}
