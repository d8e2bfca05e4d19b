"""Stream locks: one command at a time per stream, in order of arrival.

Without them concurrent commands on one stream would mostly fail with version conflicts. A command
that finds its stream free, as most do, needs no lock object, task or timer: with an `asyncio.Lock`
and `asyncio.timeout` each, acquiring took 6.7 microseconds instead of 1.0.
"""

import asyncio
from collections import deque
from types import TracebackType
from uuid import UUID

from order_service import limits
from order_service.errors import Unavailable


class StreamLocks:
    """One per process."""

    def __init__(self) -> None:
        # The locked streams, each with its waiting commands; None: none has waited yet.
        self._waiting: dict[UUID, deque[asyncio.Future[None]] | None] = {}

    async def acquire(self, stream_id: UUID) -> None:
        """Raises `Unavailable` after STREAM_LOCK_WAIT_S."""
        if stream_id in self._waiting:
            await self._wait(stream_id)
        else:
            self._waiting[stream_id] = None

    async def _wait(self, stream_id: UUID) -> None:
        acquired: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting[stream_id]
        if waiting is None:
            waiting = self._waiting[stream_id] = deque()
        waiting.append(acquired)
        try:
            async with asyncio.timeout(limits.STREAM_LOCK_WAIT_S):
                await acquired
        except BaseException as error:
            if acquired.done() and not acquired.cancelled():  # acquired just as the wait ended
                self.release(stream_id)
            if isinstance(error, TimeoutError):
                detail = "Too many commands are changing this order: retry later."
                raise Unavailable("overloaded", detail) from None
            raise

    def release(self, stream_id: UUID) -> None:
        waiting = self._waiting[stream_id]
        while waiting:
            acquired = waiting.popleft()
            if not acquired.done():
                acquired.set_result(None)
                return
        del self._waiting[stream_id]


class StreamLock:
    """`async with StreamLock(locks, stream_id):` holds the stream's lock inside the block."""

    __slots__ = ("_locks", "_stream_id")

    def __init__(self, locks: StreamLocks, stream_id: UUID) -> None:
        self._locks = locks
        self._stream_id = stream_id

    async def __aenter__(self) -> None:
        await self._locks.acquire(self._stream_id)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._locks.release(self._stream_id)
