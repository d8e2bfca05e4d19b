// Shared values: `store(value)`, and the hooks that follow one.

import { useEffect, useState } from "./vendor/preact-htm.js";

export function store(value) {
  const listeners = new Set();
  return {
    get: () => value,
    set(next) {
      if (next === value) return;
      value = next;
      for (const listener of [...listeners]) listener(value);
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

export function useStore(followed) {
  const [, render] = useState();
  useEffect(() => {
    render({}); // it may have changed since the first render
    return followed.subscribe(() => render({}));
  }, [followed]);
  return followed.get();
}

// The current time in milliseconds, updated every `everyMs`.
export function useNow(everyMs = 10_000) {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), everyMs);
    return () => clearInterval(timer);
  }, [everyMs]);
  return now;
}

// The result of an asynchronous function: {data, error, loading, reload}. `load(signal)` runs again
// when `keys` change; a result that comes after that is dropped. The old data stays until the new is
// there, so that a reload does not flicker.
export function useLoad(load, keys) {
  const [state, setState] = useState({ loading: true });
  const [run, setRun] = useState(0);
  useEffect(() => {
    const controller = new AbortController();
    setState((before) => ({ ...before, loading: true }));
    load(controller.signal).then(
      (data) => controller.signal.aborted || setState({ data, loading: false }),
      (error) =>
        controller.signal.aborted || setState(({ data }) => ({ data, error, loading: false })),
    );
    return () => controller.abort();
  }, [...keys, run]);
  const set = (data) => setState({ data, loading: false });
  return { ...state, set, reload: () => setRun((n) => n + 1) };
}
