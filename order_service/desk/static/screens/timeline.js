// Timeline.

import { html } from "../vendor/preact-htm.js";

export default function Timeline() {
  return html`<h1>Timeline</h1>`;
}
