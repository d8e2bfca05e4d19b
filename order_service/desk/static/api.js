// The service's API, with the token of the session; what it refuses is a `Problem`.

import { accessToken, distrust, session } from "./session.js";

// `status` 0: the service did not answer. `members`: the problem document (RFC 9457).
export class Problem extends Error {
  constructor(status, members = {}, retryAfterS = null) {
    super(members.detail ?? (status ? `The service answered ${status}.` : "The service cannot be reached."));
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

// The JSON of a GET. `fresh`: of a list, which then waits a moment to show this page's last command.
export async function get(path, { signal, fresh = false } = {}) {
  const headers = fresh && consistency ? { "Consistency-Token": consistency, Prefer: "wait=2" } : {};
  return (await request("GET", path, { headers, signal })).json();
}

// A command: {data, version}. `version`: what the caller has seen, as If-Match; `key`: makes a repeat
// of the same request harmless, so keep it while one and the same thing is tried.
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

// Saves what a GET answers as a file. A token has no place in an address, so the browser cannot be
// sent there by a plain link.
export async function download(path, name) {
  const content = await (await request("GET", path)).blob();
  const address = URL.createObjectURL(content);
  const anchor = Object.assign(document.createElement("a"), { href: address, download: name });
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000); // the browser has it by then
}

// The answer, if it is 2xx. Raises Problem; AbortError where `signal` says so.
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
  return new Problem(401, { title: "Logged out", detail: "Log in again to go on." });
}
