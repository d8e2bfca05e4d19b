"""Observers of servers under fault, which reconnect until they are closed."""

import asyncio
from contextlib import suppress

from tests.support.servers.quiet import AWAY

__all__ = ["AWAY", "Observer"]
CANCEL_AGAIN_S = 1.0


class Observer:
    """A task that repeats `observe`, `retry_s` after each of its sessions has ended."""

    retry_s: float

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._repeat())

    async def close(self) -> None:
        """Ends the task; raises the error that ended it before, if any.

        It cancels until the task has ended: redis-py sends with `asyncio.wait_for`, which in Python
        3.11 swallows a cancellation that arrives as the send completes (python/cpython#86296).
        """
        if self._task is None:
            return
        while not self._task.done():
            self._task.cancel()
            await asyncio.wait((self._task,), timeout=CANCEL_AGAIN_S)
        with suppress(asyncio.CancelledError):
            self._task.result()

    async def observe(self) -> None:
        """One session with the servers; it ends with an error of AWAY once one is unavailable."""
        raise NotImplementedError

    async def _repeat(self) -> None:
        while True:
            with suppress(*AWAY):
                await self.observe()
            await asyncio.sleep(self.retry_s)
