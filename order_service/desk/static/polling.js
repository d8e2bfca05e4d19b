// Repeated requests, while the page is visible.

import { useEffect } from "./vendor/preact-htm.js";
import { useLoad } from "./store.js";

// Like `useLoad`, and again `everyMs` after each response or failure. A page in the background sends
// nothing, and reloads at once when it comes to the front.
export function usePolled(load, keys, everyMs) {
  const loaded = useLoad(load, keys);
  useEffect(() => {
    if (loaded.loading) return undefined;
    const again = () => document.visibilityState === "visible" && loaded.reload();
    const timer = setTimeout(again, Math.max(everyMs, (loaded.error?.retryAfterS ?? 0) * 1000));
    document.addEventListener("visibilitychange", again);
    return () => {
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", again);
    };
  }, [loaded.loading, everyMs]);
  return loaded;
}
