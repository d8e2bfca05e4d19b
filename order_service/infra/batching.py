"""What is asked for at the same time, fetched together.

Group commit for reads: one fetch is under way, and whoever comes meanwhile rides in the next one.
No timer, so nobody waits for company, and each fetch begins after it was asked for, so it shows
every write that its reader may know of.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Gathering(Generic[K, V]):
    """One a process and question; to be closed before what it asks."""

    def __init__(
        self,
        fetch: Callable[[list[K]], Awaitable[Sequence[V]]],
        *,
        together_max: int,
        waiting_max: int,
        overflow: Callable[[], Exception],
    ) -> None:
        """`fetch` gives an answer for each key, in their order. `overflow`: what is raised where
        too many wait already."""
        self._fetch = fetch
        self._together_max = together_max
        self._waiting_max = waiting_max
        self._overflow = overflow
        self._waiting: list[tuple[K, asyncio.Future[V]]] = []
        self._fetching: asyncio.Task[None] | None = None

    async def get(self, key: K) -> V:
        """The answer for the key, or whatever `fetch` raises for those that it was asked with."""
        if len(self._waiting) >= self._waiting_max:
            raise self._overflow()
        found: asyncio.Future[V] = asyncio.get_running_loop().create_future()
        self._waiting.append((key, found))
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch_all())
        return await found

    async def close(self) -> None:
        """Nobody waits any more."""
        if self._fetching is not None:
            await asyncio.wait((self._fetching,))

    async def _fetch_all(self) -> None:
        try:
            while self._waiting:
                batch = self._waiting[: self._together_max]
                del self._waiting[: len(batch)]
                await self._fetch_batch(batch)
        finally:
            self._fetching = None

    async def _fetch_batch(self, batch: list[tuple[K, "asyncio.Future[V]"]]) -> None:
        try:
            values = await self._fetch([key for key, _ in batch])
            answers = list(zip(batch, values, strict=True))
        except Exception as error:
            for _, found in batch:
                if not found.done():
                    found.set_exception(error)
            return
        except BaseException:  # the process ends
            for _, found in batch + self._waiting:
                found.cancel()
            raise
        for (_, found), value in answers:
            if not found.done():  # its reader may have gone away
                found.set_result(value)
