// Keyboard shortcuts. A screen adds its own by `useKeys`; `?` lists all that are active.

import { useEffect, useRef } from "./vendor/preact-htm.js";
import { store } from "./store.js";

const WAIT_MS = 1_200; // between the keys of a sequence such as `g b`
const layers = new Set();
export const helpOpen = store(false);
let pending = "";
let pendingAt = 0;

// `keys`: {"j": ["Next order", () => ...], "g b": [...]}. The component mounted last takes precedence.
export function useKeys(keys) {
  const latest = useRef(keys);
  latest.current = keys;
  useEffect(() => {
    layers.add(latest);
    return () => layers.delete(latest);
  }, []);
}

// [key, description] of all active shortcuts.
export function knownKeys() {
  const known = Object.assign({}, ...[...layers].map((layer) => layer.current));
  return Object.entries(known).map(([key, [text]]) => [key, text]);
}

function isTyping(target) {
  return target.closest?.("input, textarea, select, [contenteditable]") !== null;
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
  if (document.querySelector("dialog[open]")) return;
  const now = Date.now();
  const sequence = pending && now - pendingAt < WAIT_MS ? `${pending} ${event.key}` : event.key;
  pending = "";
  for (const layer of [...layers].reverse()) {
    const found = layer.current[sequence];
    if (found) {
      event.preventDefault();
      found[1](event);
      return;
    }
  }
  if (event.key.length === 1) [pending, pendingAt] = [event.key, now];
}

addEventListener("keydown", onKey);

// Moves the focus by `step` among the elements of `selector`; to the first if none has it.
export function moveFocus(selector, step) {
  const rows = [...document.querySelectorAll(selector)];
  const at = rows.findIndex((row) => row === document.activeElement || row.contains(document.activeElement));
  const next = rows[at < 0 ? 0 : Math.min(rows.length - 1, Math.max(0, at + step))];
  next?.focus();
  next?.scrollIntoView({ block: "nearest" });
}
