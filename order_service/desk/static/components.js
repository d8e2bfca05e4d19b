// Components of several screens. They take plain properties and know no screen.

import { html, useEffect, useMemo, useRef, useState } from "./vendor/preact-htm.js";
import { age, time, utc, words } from "./format.js";
import { store, useNow, useStore } from "./store.js";

// --- texts ---------------------------------------------------------------------------------------

// A status, as a word and a colour.
export function Status({ of, axis = "status" }) {
  return html`<span class="status" data-status=${of} data-axis=${axis}><i aria-hidden="true"></i>${words(of)}</span>`;
}

export function Time({ at, empty = "–" }) {
  if (!at) return empty;
  return html`<time datetime=${at} title=${utc(at)}>${time(at)}</time>`;
}

// How long ago; updates itself.
export function Age({ at, now }) {
  if (!at) return "–";
  return now
    ? html`<time datetime=${at} title=${utc(at)}>${age(at, now)}</time>`
    : html`<${LiveAge} at=${at} />`;
}

function LiveAge({ at }) {
  return html`<${Age} at=${at} now=${useNow()} />`;
}

export function Key({ children }) {
  return html`<kbd>${children}</kbd>`;
}

// --- states of a screen --------------------------------------------------------------------------

export function Loading({ what = "Loading" }) {
  return html`<p class="state" role="status"><span class="pulse" aria-hidden="true"></span>${what} …</p>`;
}

export function Empty({ title, children }) {
  return html`<div class="state"><p><strong>${title}</strong></p>${children}</div>`;
}

// `error`: a Problem of api.js or any other error. `retry`: the button's function.
export function ErrorBox({ error, retry }) {
  const { members = {} } = error;
  return html`<div class="error" role="alert">
    <p><strong>${error.title ?? "Something went wrong"}</strong> ${error.message}</p>
    ${(members.errors ?? []).map((e) => html`<p class="small">${e.pointer ?? e.parameter ?? e.header}: ${e.detail}</p>`)}
    <p class="small muted">
      ${members.type?.startsWith("/problems/") && html`<a href=${members.type} target="_blank" rel="noopener">More about this error</a>`}
      ${members.request_id && html` <span>request <code>${members.request_id}</code></span>`}
    </p>
    ${retry && html`<button type="button" onClick=${retry}>Try again</button>`}
  </div>`;
}

// --- tables --------------------------------------------------------------------------------------

// `columns`: [{name, title, cell(row), numeric?, narrow?}]; `narrow: false` hides one on phones.
// `link(row)`: the address behind the row's first cell.
// `selection`: {has(key), toggle(key), toggleAll(keys)}; adds a checkbox to each row.
export function Table({ caption, columns, rows, rowKey, link, selection }) {
  const keys = rows.map(rowKey);
  const all = selection && keys.length > 0 && keys.every((key) => selection.has(key));
  return html`<div class="table" role="region" aria-label=${caption} tabindex="0"><table>
    <caption class="hidden">${caption}</caption>
    <thead><tr>
      ${selection && html`<th class="check"><input type="checkbox" aria-label="Select all on this page"
        checked=${all} onChange=${() => selection.toggleAll(keys)} /></th>`}
      ${columns.map((c) => html`<th key=${c.name} scope="col" class=${cellClass(c)}>${c.title}</th>`)}
    </tr></thead>
    <tbody>${rows.map((row, index) => html`<tr key=${keys[index]} data-selected=${selection?.has(keys[index])}>
      ${selection && html`<td class="check"><input type="checkbox" aria-label=${`Select ${keys[index]}`}
        checked=${selection.has(keys[index])} onChange=${() => selection.toggle(keys[index])} /></td>`}
      ${columns.map((c, i) => html`<td key=${c.name} class=${cellClass(c)}>
        ${i === 0 && link ? html`<a data-row href=${link(row)}>${c.cell(row)}</a>` : c.cell(row)}</td>`)}
    </tr>`)}</tbody>
  </table></div>`;
}

function cellClass({ numeric, narrow }) {
  return [numeric && "number", narrow === false && "wide-only"].filter(Boolean).join(" ");
}

// --- dialogs and messages ------------------------------------------------------------------------

// The browser's modal dialog: it keeps the focus inside, and returns it on closing.
export function Dialog({ title, onClose, children, wide = false }) {
  const ref = useRef();
  useEffect(() => {
    const dialog = ref.current;
    const before = document.activeElement;
    dialog.showModal();
    return () => {
      dialog.close();
      before?.focus?.();
    };
  }, []);
  const onCancel = (event) => (event.preventDefault(), onClose());
  return html`<dialog ref=${ref} class=${wide ? "wide" : ""} aria-labelledby="dialog-title"
      onCancel=${onCancel} onClick=${(event) => event.target === ref.current && onClose()}>
    <header><h2 id="dialog-title">${title}</h2>
      <button type="button" class="plain" aria-label="Close" onClick=${onClose}>✕</button></header>
    <div class="dialog-body">${children}</div>
  </dialog>`;
}

const TOASTS_MAX = 4;
const TOAST_MS = 6_000;
const toasts = store([]);
let toastId = 0;

// Shows a message for some seconds, also to screen readers. `tone`: "good" | "bad" | "plain".
export function toast(text, tone = "plain") {
  const entry = { id: ++toastId, text, tone };
  toasts.set([...toasts.get(), entry].slice(-TOASTS_MAX));
  setTimeout(() => toasts.set(toasts.get().filter(({ id }) => id !== entry.id)), TOAST_MS);
}

export function Toasts() {
  return html`<div class="toasts" role="status" aria-live="polite">
    ${useStore(toasts).map(({ id, text, tone }) => html`<p key=${id} data-tone=${tone}>${text}</p>`)}
  </div>`;
}

// --- charts --------------------------------------------------------------------------------------

// Parts of a whole, side by side. `parts`: [{name, value, tone}]. `total`: the value of the full bar.
export function Bars({ parts, total }) {
  const text = parts.map((part) => `${part.name} ${part.value}`).join(", ");
  return html`<span class="bars" role="img" aria-label=${`${text} of ${total}`} title=${text}>
    ${parts.filter((part) => part.value > 0 && total > 0).map((part) => html`<i key=${part.name}
      data-tone=${part.tone} style=${{ width: `${(100 * part.value) / total}%` }}></i>`)}
  </span>`;
}

const WIDTH = 600;

// Lines over time. `series`: [{name, values: [number | null], tone}], one value per step. `labels`: the
// texts below the first and last step. `format(number)`: writes a value.
export function Chart({ title, series, labels = [], format = String, height = 120 }) {
  const [at, setAt] = useState(null);
  const steps = Math.max(...series.map((one) => one.values.length), 1);
  const top = useMemo(() => niceTop(series), [series]);
  const x = (index) => (steps === 1 ? 0 : (index * WIDTH) / (steps - 1));
  const y = (value) => height - (value / top) * (height - 4);
  const point = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    setAt(Math.round(((event.clientX - box.left) / box.width) * (steps - 1)));
  };
  const shown = at ?? steps - 1;
  return html`<figure class="chart">
    <figcaption><strong>${title}</strong>
      ${series.map((one) => html`<span key=${one.name} class="legend" data-tone=${one.tone}><i aria-hidden="true"></i>
        ${one.name} ${one.values[shown] === null || one.values[shown] === undefined ? "–" : format(one.values[shown])}</span>`)}
    </figcaption>
    <svg viewBox=${`0 0 ${WIDTH} ${height}`} preserveAspectRatio="none" role="img"
        aria-label=${`${title}: ${series.map((one) => `${one.name} ${format(lastOf(one.values))}`).join(", ")}`}
        onPointerMove=${point} onPointerLeave=${() => setAt(null)}>
      <line class="grid" x1="0" x2=${WIDTH} y1="4" y2="4" /><line class="grid" x1="0" x2=${WIDTH} y1=${height} y2=${height} />
      ${series.map((one) => html`<path key=${one.name} data-tone=${one.tone} d=${line(one.values, x, y)} />`)}
      ${at !== null && html`<line class="cursor" x1=${x(at)} x2=${x(at)} y1="0" y2=${height} />`}
    </svg>
    <p class="axis"><span>${labels[0]}</span><span>${format(top)}</span><span>${labels[1]}</span></p>
  </figure>`;
}

function lastOf(values) {
  return values.findLast((value) => value !== null) ?? 0;
}

function niceTop(series) {
  const most = Math.max(...series.flatMap((one) => one.values.map((value) => value ?? 0)), 0);
  if (most === 0) return 1;
  const magnitude = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 5, 10].map((step) => step * magnitude).find((nice) => nice >= most);
}

// A null value is a gap in the line.
function line(values, x, y) {
  let pen = "M";
  return values
    .map((value, index) => {
      if (value === null) return (pen = "M"), "";
      // A line begins with half a unit, so that a single value between gaps is visible.
      const step = `${pen}${x(index).toFixed(1)} ${y(value).toFixed(1)}${pen === "M" ? "h.5" : ""}`;
      pen = "L";
      return step;
    })
    .join("");
}

