// The login. The access token is in memory only. The refresh token survives a reload where the browser
// can store it encrypted under a key that no script can read (WebCrypto, so over TLS or on localhost);
// elsewhere a reload asks for the password again. Addresses, local storage and cookies hold no token.

import { store } from "./store.js";

const EARLY_MS = 60_000; // how long before its expiry the access token is renewed
const DATABASE = "order-desk";
const RECORD = "refresh-token";
const LOCK = "order-desk-refresh";

// state: "starting" | "out" | "in"; `user`: of /users/me/
export const session = store({ state: "starting" });

let access = null; // {token, expiresAt}
let memory = null; // the refresh token
let renewing = null;

export function isStaff(user) {
  return user.role === "staff" || user.role === "admin";
}

export async function restore() {
  memory = await stored();
  if (!memory || !(await renew())) session.set({ state: "out" });
  else await enter();
}

// Throws what `fetch` throws, or an error with the problem's `detail`.
export async function login(username, password) {
  await accept(await post("/token/", { grant_type: "password", username, password }));
  await enter();
}

export async function logout() {
  const token = (await stored()) ?? memory;
  await forget();
  session.set({ state: "out" });
  if (token) await post("/token/revoke/", { token }).catch(() => {}); // otherwise it expires by itself
}

// A token that stays valid for a while; null: not logged in.
export async function accessToken() {
  if (access && Date.now() < access.expiresAt - EARLY_MS) return access.token;
  if (!(await renew())) return null;
  return access.token;
}

// After a 401 for a token that looked valid: the service has another key, or a clock is wrong.
export function distrust(token) {
  if (access?.token === token) access = null;
}

async function enter() {
  const answer = await fetch("/users/me/", { headers: { Authorization: `Bearer ${access.token}` } });
  if (!answer.ok) throw new Error(`Your account cannot be read: status ${answer.status}.`);
  session.set({ state: "in", user: await answer.json() });
}

// One renewal at a time, in this page and, by the lock, in all tabs: a refresh token is valid once, and
// using it twice ends the login.
function renew() {
  renewing ??= locked(exchange).finally(() => (renewing = null));
  return renewing;
}

function locked(work) {
  return navigator.locks ? navigator.locks.request(LOCK, work) : work();
}

async function exchange() {
  const token = (await stored()) ?? memory; // another tab may have renewed it
  if (!token) return ended();
  try {
    await accept(await post("/token/refresh/", { refresh_token: token }));
    return true;
  } catch (error) {
    if (error.status !== 401) throw error; // the service is unavailable: the token stays valid
    return ended();
  }
}

async function ended() {
  await forget();
  if (session.get().state === "in") session.set({ state: "out", expired: true });
  return false;
}

async function accept(tokens) {
  access = { token: tokens.access_token, expiresAt: Date.now() + tokens.expires_in * 1000 };
  memory = tokens.refresh_token;
  await keep(memory);
}

async function forget() {
  access = memory = null;
  await keep(null);
}

async function post(path, content) {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(content),
  });
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) {
    const text = body.detail ?? `The service responded with status ${answer.status}.`;
    throw Object.assign(new Error(text), { status: answer.status });
  }
  return body;
}

// --- encrypted storage ---------------------------------------------------------------------------

function transaction(mode, work) {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open(DATABASE, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore("kept");
    opening.onerror = () => reject(opening.error);
    opening.onsuccess = () => {
      const database = opening.result;
      const running = database.transaction("kept", mode);
      const request = work(running.objectStore("kept"));
      running.oncomplete = () => (database.close(), resolve(request?.result));
      running.onabort = () => (database.close(), reject(running.error));
    };
  });
}

async function stored() {
  if (!globalThis.crypto?.subtle) return null;
  try {
    const kept = await transaction("readonly", (records) => records.get(RECORD));
    if (!kept) return null;
    const clear = await crypto.subtle.decrypt({ name: "AES-GCM", iv: kept.iv }, kept.key, kept.text);
    return new TextDecoder().decode(clear);
  } catch {
    return null; // a browser without storage (a private window): the login form opens
  }
}

async function keep(token) {
  if (!globalThis.crypto?.subtle) return;
  try {
    const kept = token && (await sealed(token));
    await transaction("readwrite", (records) =>
      kept ? records.put(kept, RECORD) : records.delete(RECORD),
    );
  } catch {
    // as in `stored`
  }
}

async function sealed(token) {
  const key = await crypto.subtle.generateKey({ name: "AES-GCM", length: 256 }, false, [
    "encrypt",
    "decrypt",
  ]);
  const iv = crypto.getRandomValues(new Uint8Array(12));
  const text = await crypto.subtle.encrypt({ name: "AES-GCM", iv }, key, new TextEncoder().encode(token));
  return { key, iv, text };
}
