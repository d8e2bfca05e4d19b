"""Concurrent look-ups are fetched in one batch.

Group commit for reads: while one fetch runs, new look-ups collect for the next. There is no timer,
so no look-up is delayed to fill a batch. A fetch begins after the calls that it serves, so it sees
every write that completed before them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Batching(Generic[K, V]):
    """One per process and kind of look-up. Close it before the connections that `fetch` uses."""

    def __init__(
        self,
        fetch: Callable[[list[K]], Awaitable[Sequence[V]]],
        *,
        batch_max: int,
        waiting_max: int,
        overflow: Callable[[], Exception],
    ) -> None:
        """`fetch` returns one value per key, in the order of the keys. `overflow` makes the
        exception that is raised when `waiting_max` look-ups already wait."""
        self._fetch = fetch
        self._batch_max = batch_max
        self._waiting_max = waiting_max
        self._overflow = overflow
        self._waiting: list[tuple[K, asyncio.Future[V]]] = []
        self._fetching: asyncio.Task[None] | None = None

    async def get(self, key: K) -> V:
        """The key's value. Raises what `fetch` raises for its batch, or `overflow()`."""
        if len(self._waiting) >= self._waiting_max:
            raise self._overflow()
        future: asyncio.Future[V] = asyncio.get_running_loop().create_future()
        self._waiting.append((key, future))
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch_all())
        return await future

    async def close(self) -> None:
        """Returns when no look-up is waiting."""
        if self._fetching is not None:
            await asyncio.wait((self._fetching,))

    async def _fetch_all(self) -> None:
        try:
            while self._waiting:
                batch = self._waiting[: self._batch_max]
                del self._waiting[: len(batch)]
                await self._fetch_batch(batch)
        finally:
            self._fetching = None

    async def _fetch_batch(self, batch: list[tuple[K, "asyncio.Future[V]"]]) -> None:
        try:
            values = await self._fetch([key for key, _ in batch])
            results = list(zip(batch, values, strict=True))
        except Exception as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        except BaseException:  # the process is shutting down
            for _, future in batch + self._waiting:
                future.cancel()
            raise
        for (_, future), value in results:
            if not future.done():  # its caller may have been cancelled
                future.set_result(value)
