"""Single flight: concurrent loads of one key share one read."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SingleFlight(Generic[K, V]):
    """A caller shares only a load that begins after its own call.

    A running load may have read the value from before the caller's last write. So one load per key
    runs at a time, and all callers that arrive meanwhile share the next one: a burst of any size
    costs at most two loads.
    """

    def __init__(self) -> None:
        self._running: dict[K, asyncio.Task[V]] = {}
        self._next: dict[K, asyncio.Task[V]] = {}  # not started yet: new callers share it

    def __len__(self) -> int:
        """The number of loads that run or wait."""
        return len(self._running) + len(self._next)

    async def load(self, key: K, read: Callable[[], Awaitable[V]]) -> V:
        """Returns or raises the result of `read`, or of the `read` of another waiting caller.

        Cancelling one caller does not cancel the load for the others.
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
        self._running[key] = self._next.pop(key)  # callers that arrive from now on share the next
        try:
            return await read()
        finally:
            del self._running[key]
