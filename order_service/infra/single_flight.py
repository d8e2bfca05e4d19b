"""Loads of one key at the same time, done once."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SharedLoads(Generic[K, V]):
    """A caller shares only a load that began after it arrived.

    A load that was already running may have read what stood before the caller's own last write. So
    at most one load of a key runs; whoever arrives meanwhile waits for the next one, and all of
    them share that: a burst of any size costs two loads.
    """

    def __init__(self) -> None:
        self._running: dict[K, asyncio.Task[V]] = {}
        self._next: dict[K, asyncio.Task[V]] = {}  # not begun yet, open to all who come

    def __len__(self) -> int:
        """How many loads run or wait."""
        return len(self._running) + len(self._next)

    async def load(self, key: K, read: Callable[[], Awaitable[V]]) -> V:
        """What `read`, or the `read` of another waiting caller, returned or raised.

        A caller that is cancelled leaves the load to the others.
        """
        task = self._next.get(key)
        if task is None:
            task = asyncio.create_task(self._run(key, read, self._running.get(key)))
            self._next[key] = task
        return await asyncio.shield(task)

    async def _run(
        self, key: K, read: Callable[[], Awaitable[V]], before: asyncio.Task[V] | None
    ) -> V:
        if before is not None:
            await asyncio.wait((before,))
        self._running[key] = self._next.pop(key)  # from here on, who comes waits for the next load
        try:
            return await read()
        finally:
            del self._running[key]
