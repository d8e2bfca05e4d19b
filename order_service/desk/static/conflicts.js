// A command that was refused since the order had changed meanwhile: kept, so that nobody types it
// again. One at a time, in memory: it is the operator's unsent work.

import { navigate } from "./router.js";
import { store } from "./store.js";

// null, or {number, id, version, currency, action, body, label, back}: `version` is what the operator
// had seen, `back` the address to return to.
export const unsent = store(null);

export function meetConflict(command) {
  unsent.set({ ...command, back: location.hash });
  navigate(["orders", command.number, "conflict"], { from: command.version });
}

export function settleConflict() {
  const command = unsent.get();
  unsent.set(null);
  location.hash = command?.back ?? "#/board";
}
