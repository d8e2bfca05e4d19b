// The service's API, with the session's token. Refused requests throw a `Problem`.

import { accessToken, distrust, session } from "./session.js";

// `status` 0: the service did not respond. `members`: the problem document (RFC 9457).
export class Problem extends Error {
  constructor(status, members = {}, retryAfterS = null) {
    super(members.detail ?? (status ? `The service responded with status ${status}.` : "The service cannot be reached."));
    this.status = status;
    this.members = members;
    this.retryAfterS = retryAfterS;
    this.slug = members.type?.split("/").pop() ?? "";
    this.title = members.title ?? (status ? `Error ${status}` : "No connection");
  }
}

export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

let consistency = null; // of this page's last command

// The JSON of a GET. `fresh`: for lists, which then wait up to 2 s to show this page's last command.
export async function get(path, { signal, fresh = false } = {}) {
  const headers = fresh && consistency ? { "Consistency-Token": consistency, Prefer: "wait=2" } : {};
  return (await request("GET", path, { headers, signal })).json();
}

// Sends a command: {data, version}. `version`: the one that the operator has seen, for If-Match. `key`:
// the Idempotency-Key; use the same one for every attempt at the same command.
export async function send(method, path, body, { version, key, dryRun = false, signal } = {}) {
  const headers = { "Content-Type": "application/json" };
  if (version !== undefined) headers["If-Match"] = `"${version}"`;
  if (key && !dryRun) headers["Idempotency-Key"] = key;
  const address = dryRun ? `${path}${path.includes("?") ? "&" : "?"}dry_run=true` : path;
  const answer = await request(method, address, { headers, body: JSON.stringify(body), signal });
  consistency = answer.headers.get("consistency-token") ?? consistency;
  const data = await answer.json();
  return { data, version: data.version };
}

// Saves the response of a GET as a file. A plain link cannot do this: it would need the token in the
// address.
export async function download(path, name) {
  const content = await (await request("GET", path)).blob();
  const address = URL.createObjectURL(content);
  const anchor = Object.assign(document.createElement("a"), { href: address, download: name });
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000); // the browser has saved it by then
}

// The response, if it is 2xx. Throws Problem, and AbortError when `signal` aborts.
export async function request(method, path, { headers = {}, body, signal } = {}) {
  let answer = await attempt(method, path, headers, body, signal);
  if (answer.status === 401) answer = await attempt(method, path, headers, body, signal);
  if (answer.ok) return answer;
  const members = await answer.json().catch(() => ({}));
  const retryAfter = Number(answer.headers.get("retry-after"));
  throw new Problem(answer.status, members, retryAfter > 0 ? retryAfter : null);
}

async function attempt(method, path, headers, body, signal) {
  try {
    const token = await accessToken();
    if (token === null) throw loggedOut();
    const answer = await fetch(path, {
      method,
      headers: { ...headers, Authorization: `Bearer ${token}` },
      body,
      signal,
    });
    if (answer.status === 401) distrust(token);
    return answer;
  } catch (error) {
    if (error.name === "AbortError" || error instanceof Problem) throw error;
    throw new Problem(0, {});
  }
}

function loggedOut() {
  if (session.get().state === "in") session.set({ state: "out", expired: true });
  return new Problem(401, { title: "Logged out", detail: "Log in again to continue." });
}
