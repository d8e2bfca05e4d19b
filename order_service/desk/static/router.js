// Addresses: every view has one, behind the `#`, which is never sent to a server.
// `#/orders/A-7-5/timeline?at=3` is {path: ["orders", "A-7-5", "timeline"], query: {at: "3"}}.

import { store } from "./store.js";

export const route = store(parse(location.hash));

addEventListener("hashchange", () => route.set(parse(location.hash)));

function parse(hash) {
  const [path, query] = hash.replace(/^#\/?/, "").split("?");
  return {
    path: path.split("/").filter(Boolean).map(decode),
    query: Object.fromEntries(new URLSearchParams(query)),
  };
}

function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // a stray % must not break the page
  }
}

// `link(["orders", number], {at: 3})`. Null and empty query values are left out.
export function link(path, query = {}) {
  const present = Object.entries(query).filter(([, v]) => v !== null && v !== undefined && v !== "");
  const text = new URLSearchParams(present).toString();
  return `#/${path.map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`;
}

export function navigate(path, query) {
  location.hash = link(path, query);
}

// The same path with another query. It replaces the entry in the browser's history, so that Back leaves
// the screen instead of undoing each filter.
export function requery(changes) {
  const { path, query } = route.get();
  history.replaceState(null, "", link(path, { ...query, ...changes }));
  route.set(parse(location.hash));
}
