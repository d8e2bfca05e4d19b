// Board.

import { html } from "../vendor/preact-htm.js";

export default function Board() {
  return html`<h1>Board</h1>`;
}
