// A request as a line for the shell: whatever the page can do, curl can do. The token stays out of
// it, since what is copied lands in histories and chats.

import { toast } from "./components.js";

export function curl(path, options = "") {
  return `curl ${options}-H "Authorization: Bearer $TOKEN" '${location.origin}${path}'`;
}

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    toast("Copied. Put a token into TOKEN first.", "good");
  } catch {
    toast(text); // no clipboard over plain HTTP: it can be copied from here
  }
}
