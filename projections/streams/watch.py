"""Who waits for events learns that there are some: one look for all."""

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
from projections.queries.freshness import read_progress

logger = logging.getLogger(__name__)


class Watch(ABC):
    """Looks for news while anybody listens."""

    def __init__(self, engine: AsyncEngine, interval_s: float) -> None:
        self._engine = engine
        self._interval_s = interval_s
        self._listeners: dict[UUID | None, set[asyncio.Event]] = {}
        self._watching: asyncio.Task[None] | None = None

    @contextmanager
    def listening(self, order_id: UUID | None) -> Iterator[asyncio.Event]:
        """An event that is set when the order (None: any order) may have moved on.

        Nothing is missed by who reads the log after this was entered, and clears the event before
        each reading.
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
        """Until nobody listens. A failure loses nothing: the next look goes on from the last."""
        self._begin()
        while self._listeners:
            try:
                await self._look()
            except FAILURES as error:
                logger.warning("streams wait for the database: %s", type(error).__name__)
                await asyncio.sleep(limits.STREAM_RETRY_S)
            except Exception:  # a mistake here must not silence all streams for good
                logger.exception("watching for streams failed")
                await asyncio.sleep(limits.STREAM_RETRY_S)
            await asyncio.sleep(self._interval_s)

    def _wake(self, moved: set[UUID] | None) -> None:
        """Who listens to these orders (None: to any), and who listens to all."""
        for order_id, listeners in self._listeners.items():
            if order_id is None or moved is None or order_id in moved:
                for woken in listeners:
                    woken.set()

    @abstractmethod
    def _begin(self) -> None:
        """What was seen long ago is forgotten."""

    @abstractmethod
    async def _look(self) -> None:
        """Wakes those for whom there is news."""


class LogWatch(Watch):
    """Of the log. One a process. `heads`: partition to its last position, as seen by the last look;
    empty until there was one."""

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
        """The orders with new events; None: any may have some, since the last look is unknown or
        there is too much to look at."""
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
                moved.update(await reading.moved_streams(connection, partition, seen, head))
        return moved


class ViewWatch(Watch):
    """Of a read model's live checkpoints. One a process and read model. `positions`: one a
    partition, as seen by the last look; empty until there was one."""

    def __init__(self, engine: AsyncEngine, name: str, interval_s: float) -> None:
        super().__init__(engine, interval_s)
        self._name = name
        self.positions: tuple[int, ...] = ()

    def _begin(self) -> None:
        self.positions = ()

    async def _look(self) -> None:
        progress = await query(self._engine, lambda c: read_progress(c, self._name))
        if progress.positions != self.positions:
            self.positions = progress.positions
            self._wake(None)
