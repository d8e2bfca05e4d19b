// A request as a curl command. It does not contain the token, since copied text ends up in histories
// and chats.

import { toast } from "./components.js";

export function curl(path, options = "") {
  return `curl ${options}-H "Authorization: Bearer $TOKEN" '${location.origin}${path}'`;
}

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    toast("Copied. Set TOKEN to an access token before you run it.", "good");
  } catch {
    toast(text); // over plain HTTP there is no clipboard: show the text instead
  }
}
