// A value that several components show: `store(value)`, and the hooks to follow one.

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
    render({}); // it may have changed between the first render and now
    return followed.subscribe(() => render({}));
  }, [followed]);
  return followed.get();
}

// The time in milliseconds, anew every so often: for ages.
export function useNow(everyMs = 10_000) {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), everyMs);
    return () => clearInterval(timer);
  }, [everyMs]);
  return now;
}

// What an asynchronous function gives: {data, error, loading, reload}. `load(signal)` runs again when
// `keys` change; an answer that comes after that is dropped. What was loaded stays until the next is
// there, so that a reload does not blink.
export function useLoad(load, keys) {
  const [state, setState] = useState({ loading: true });
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    const controller = new AbortController();
    setState((before) => ({ ...before, loading: true }));
    load(controller.signal).then(
      (data) => controller.signal.aborted || setState({ data, loading: false }),
      (error) =>
        controller.signal.aborted || setState(({ data }) => ({ data, error, loading: false })),
    );
    return () => controller.abort();
  }, [...keys, turn]);
  const set = (data) => setState({ data, loading: false });
  return { ...state, set, reload: () => setTurn((n) => n + 1) };
}
