"""Wakes open streams when there is something to read: one poll of the database serves them all."""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from order_service import limits
from order_service.infra.postgres import FAILURES, query
from order_service.log import reading
from order_service.telemetry.logging import reason
from projections.queries.freshness import read_progress
from projections.queries.positions import Positions

logger = logging.getLogger(__name__)


class Watch(ABC):
    """Polls while there are listeners."""

    def __init__(self, engine: AsyncEngine, interval_s: float) -> None:
        self._engine = engine
        self._interval_s = interval_s
        self._listeners: dict[UUID | None, set[asyncio.Event]] = {}
        self._watching: asyncio.Task[None] | None = None

    @contextmanager
    def listening(self, order_id: UUID | None) -> Iterator[asyncio.Event]:
        """Gives an event that is set when the order (None: any order) may have new events.

        A listener misses nothing if it reads the log after entering the block, and clears the event
        before each read.
        """
        woken = asyncio.Event()
        self._listeners.setdefault(order_id, set()).add(woken)
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch())
        try:
            yield woken
        finally:
            self._listeners[order_id].remove(woken)
            if not self._listeners[order_id]:
                del self._listeners[order_id]

    async def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait((self._watching,))

    async def _watch(self) -> None:
        """Ends with the last listener. A failed poll loses nothing: the next one continues from the
        last that succeeded."""
        self._begin()
        while self._listeners:
            try:
                await self._look()
            except FAILURES as error:
                logger.warning("Streams wait for the database: %s", reason(error))
                await asyncio.sleep(limits.STREAM_RETRY_S)
            except Exception:  # a bug here must not silence all streams for good
                logger.exception("Watching the log for streams failed; retrying.")
                await asyncio.sleep(limits.STREAM_RETRY_S)
            await asyncio.sleep(self._interval_s)

    def _wake(self, moved: set[UUID] | None) -> None:
        """Wakes the listeners of these orders (None: of any order), and those of all orders."""
        for order_id, listeners in self._listeners.items():
            if order_id is None or moved is None or order_id in moved:
                for woken in listeners:
                    woken.set()

    @abstractmethod
    def _begin(self) -> None:
        """Forgets what an earlier watch has seen."""

    @abstractmethod
    async def _look(self) -> None:
        """Polls once, and wakes the listeners of what has changed."""


class LogWatch(Watch):
    """Watches the log. One per process. `heads`: partition to its last position, as of the last
    poll; empty before the first."""

    def __init__(self, engine: AsyncEngine) -> None:
        super().__init__(engine, limits.STREAM_WATCH_S)
        self.heads: Mapping[int, int] = {}

    def _begin(self) -> None:
        self.heads = {}

    async def _look(self) -> None:
        async def read(
            connection: AsyncConnection,
        ) -> tuple[Mapping[int, int], set[UUID] | None]:
            heads = await reading.heads(connection)
            return heads, await self._moved(connection, heads)

        heads, moved = await query(self._engine, read)
        if heads == self.heads:
            return
        self.heads = heads
        self._wake(moved)

    async def _moved(
        self, connection: AsyncConnection, heads: Mapping[int, int]
    ) -> set[UUID] | None:
        """The orders with new events. None: any order may have some, since this is the first poll
        or there are too many events to look through."""
        if not self.heads or sum(heads.values()) - sum(self.heads.values()) > (
            limits.STREAM_WATCH_EVENTS_MAX
        ):
            return None
        moved: set[UUID] = set()
        if self._listeners.keys() == {None}:
            return moved
        for partition, head in heads.items():
            if head > self.heads[partition]:
                seen = self.heads[partition]
                moved.update(await reading.changed_streams(connection, partition, seen, head))
        return moved


class ViewWatch(Watch):
    """Watches the live checkpoints of a read model. One per process and read model. `positions`: as
    of the last poll; empty before the first."""

    def __init__(self, engine: AsyncEngine, name: str, interval_s: float) -> None:
        super().__init__(engine, interval_s)
        self._name = name
        self.positions: Positions = ()

    def _begin(self) -> None:
        self.positions = ()

    async def _look(self) -> None:
        progress = await query(self._engine, lambda c: read_progress(c, self._name))
        if progress.positions != self.positions:
            self.positions = progress.positions
            self._wake(None)
