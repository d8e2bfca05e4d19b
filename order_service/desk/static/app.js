// The shell: login, navigation, the screen of the current address, keyboard, theme.

import { html, render, useEffect, useErrorBoundary, useState } from "./vendor/preact-htm.js";
import { Dialog, ErrorBox, Key, Loading, Toasts } from "./components.js";
import { helpOpen, knownKeys, moveFocus, useKeys } from "./keys.js";
import { Login } from "./login.js";
import { link, navigate, route } from "./router.js";
import { isStaff, logout, restore, session } from "./session.js";
import { useStore } from "./store.js";

// Path patterns, and the file in screens/ for each.
const ROUTES = [
  [["board"], "board"],
  [["orders"], "list"],
  [["orders", ":number"], "order"],
  [["orders", ":number", "timeline"], "timeline"],
  [["orders", ":number", "conflict"], "conflict"],
  [["events"], "events"],
  [["projections"], "projections"],
  [["health"], "health"],
  [["sales"], "sales"],
  [["api-keys"], "api_keys"],
];
const NAVIGATION = [
  ["board", "Board", "b"],
  ["orders", "Orders", "o"],
  ["events", "Events", "e"],
  ["projections", "Projections", "p"],
  ["health", "Health", "h"],
  ["sales", "Sales", "s"],
];
const ADMINS_NAVIGATION = [["api-keys", "API keys", "a"]];

function navigationOf(user) {
  return user.role === "admin" ? [...NAVIGATION, ...ADMINS_NAVIGATION] : NAVIGATION;
}

function match(path) {
  for (const [pattern, screen] of ROUTES) {
    if (pattern.length !== path.length) continue;
    if (!pattern.every((part, i) => part.startsWith(":") || part === path[i])) continue;
    const named = pattern.flatMap((part, i) => (part.startsWith(":") ? [[part.slice(1), path[i]]] : []));
    return { screen, params: Object.fromEntries(named) };
  }
  return null;
}

function App() {
  const { state, user } = useStore(session);
  if (state === "starting") return html`<${Starting} />`;
  if (state === "out") return html`<${Login} />`;
  if (!isStaff(user)) return html`<${Customer} user=${user} />`;
  return html`<${Shell} user=${user} />`;
}

function Starting() {
  const [error, setError] = useState(null);
  const start = () => (setError(null), restore().catch(setError));
  useEffect(() => void start(), []);
  if (!error) return html`<${Loading} what="Opening the desk" />`;
  return html`<main class="centered"><${ErrorBox} error=${error} retry=${start} /></main>`;
}

function Customer({ user }) {
  return html`<main class="centered">
    <h1>The desk is for staff</h1>
    <p>${user.email} is a customer account. Ask an administrator for the role <code>staff</code>.</p>
    <button type="button" onClick=${logout}>Log out</button>
  </main>`;
}

function Shell({ user }) {
  const { path, query } = useStore(route);
  const found = match(path);
  useEffect(() => {
    if (path.length === 0) navigate(["board"]);
  }, [path]);
  useKeys({
    "?": ["Show this help", () => helpOpen.set(true)],
    "/": ["Search", focusSearch],
    j: ["Next row", () => moveFocus("[data-row]", 1)],
    k: ["Previous row", () => moveFocus("[data-row]", -1)],
    ...Object.fromEntries(
      navigationOf(user).map(([to, name, key]) => [`g ${key}`, [`Go to ${name}`, () => navigate([to])]]),
    ),
  });
  return html`<a class="skip" href="#main" onClick=${focusMain}>Skip to the content</a>
    <${Header} user=${user} current=${path[0]} />
    <main id="main" tabindex="-1" data-screen=${found?.screen}>
      ${found
        ? html`<${Screen} key=${`${found.screen} ${Object.values(found.params)}`} name=${found.screen}
            params=${found.params} query=${query} />`
        : path.length > 0 && html`<${Nowhere} />`}
    </main>
    <${Help} />
    <${Toasts} />`;
}

function focusMain(event) {
  event.preventDefault(); // the router owns the address
  document.getElementById("main").focus();
}

function focusSearch() {
  const field = document.querySelector("main [data-search]") ?? document.querySelector("[data-search]");
  field?.focus();
  field?.select();
}

function Header({ user, current }) {
  return html`<header class="bar">
    <a class="brand" href=${link(["board"])}>Order desk</a>
    <nav aria-label="Screens">${navigationOf(user).map(([to, name, key]) => html`<a key=${to} href=${link([to])}
      aria-current=${current === to ? "page" : null} aria-keyshortcuts=${`g ${key}`}>${name}</a>`)}</nav>
    <${Search} />
    <${Theme} />
    <button type="button" class="plain" onClick=${() => helpOpen.set(true)} aria-label="Keyboard help">?</button>
    <span class="account" title=${user.role}>${user.email}</span>
    <button type="button" class="plain" onClick=${logout}>Log out</button>
  </header>`;
}

function Search() {
  const submit = (event) => {
    event.preventDefault();
    const q = new FormData(event.target).get("q").trim();
    if (/^A-\d+-\d$/i.test(q)) navigate(["orders", q.toUpperCase()]);
    else if (q) navigate(["orders"], { q });
    event.target.reset();
  };
  return html`<form class="search" role="search" onSubmit=${submit}>
    <input name="q" data-search type="search" maxlength="200" autocomplete="off"
      aria-label="Search orders" placeholder="Number, e-mail, SKU, tracking  /" />
  </form>`;
}

function Theme() {
  const root = document.documentElement;
  const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const [isDark, setDark] = useState(dark());
  const toggle = () => {
    root.dataset.theme = isDark ? "light" : "dark";
    localStorage.setItem("desk-theme", root.dataset.theme);
    setDark(!isDark);
  };
  useKeys({ "g d": ["Switch between light and dark", toggle] });
  return html`<button type="button" class="plain" aria-pressed=${isDark} aria-label="Dark mode" onClick=${toggle}>◐</button>`;
}

// --- the screen ----------------------------------------------------------------------------------

// Screens are loaded on first use, so that a broken one does not affect the others.
function Screen({ name, params, query }) {
  const [loaded, setLoaded] = useState({});
  const [broken, reset] = useErrorBoundary();
  useEffect(() => {
    import(`./screens/${name}.js`).then(
      ({ default: found }) => setLoaded({ found }),
      (error) => setLoaded({ error }),
    );
  }, [name]);
  if (broken) {
    console.error(broken);
    return html`<${ErrorBox} error=${broken} retry=${reset} />`;
  }
  if (loaded.error) return html`<${ErrorBox} error=${loaded.error} retry=${() => location.reload()} />`;
  if (!loaded.found) return html`<${Loading} />`;
  return html`<${loaded.found} params=${params} query=${query} />`;
}

function Nowhere() {
  return html`<div class="state"><h1>This screen does not exist</h1><p><a href=${link(["board"])}>Go to the board</a></p></div>`;
}

function Help() {
  if (!useStore(helpOpen)) return null;
  return html`<${Dialog} title="Keyboard" onClose=${() => helpOpen.set(false)}>
    <dl class="keys">${knownKeys().map(([key, text]) => html`<div key=${key}>
      <dt>${key.split(" ").map((one) => html`<${Key}>${one}<//> `)}</dt><dd>${text}</dd></div>`)}</dl>
    <p class="muted small">Tab reaches every link and button.</p>
  <//>`;
}

render(html`<${App} />`, document.getElementById("desk"));
