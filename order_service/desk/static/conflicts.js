// A command that was refused because the order had changed. It is kept, one at a time and in memory,
// so that the operator need not type it again.

import { navigate } from "./router.js";
import { store } from "./store.js";

// null, or {number, id, version, currency, action, body, label, back}. `version`: the one that the
// operator had seen. `back`: the address to return to.
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
