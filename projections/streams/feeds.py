"""What a stream sends next: the events of one order, or of all orders.

A feed holds only the id of the last event that it has sent: events that a slow client has not read
yet stay in the log.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from fastapi.sse import format_sse_event
from msgspec.structs import asdict
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from order_service import limits
from order_service.documents.event import Event, EventOfOrder, event_for, origin_of
from order_service.documents.shape import to_json
from order_service.errors import UnreadableEvent
from order_service.infra.postgres import query
from order_service.infra.single_flight import SingleFlight
from order_service.log import reading
from order_service.log.codec import StoredEvent
from projections.queries.order_events import Seen
from projections.queries.positions import as_text
from projections.streams.watch import LogWatch


@dataclass(frozen=True, slots=True)
class Shown:
    """An event as its viewers see it; `data` None: they may not see it."""

    version: int
    position: int
    type: str
    data: str | None


Page = list[Shown]


class Feed(Protocol):
    def listening(self) -> AbstractContextManager[asyncio.Event]:
        """Gives an event that is set when there may be more to read."""

    @property
    def last_id(self) -> str:
        """The `Last-Event-ID` with which a client that has everything so far resumes."""

    async def read(self) -> tuple[list[bytes], bool]:
        """The next messages, and whether more may be available already."""


class Pages:
    """Pages of the log, for all feeds of a process.

    Streams that the same event wakes need the same page: it is read and encoded once. Reads of
    different pages take at most STREAM_READS_MAX connections of the pool.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._loads: SingleFlight[Hashable, Page] = SingleFlight()
        self._slots = asyncio.Semaphore(limits.STREAM_READS_MAX)

    async def of_order(self, seen: Seen, after_version: int) -> Page:
        async def read(connection: AsyncConnection) -> Page:
            stored = await reading.read_stream(
                connection,
                seen.order_id,
                seen.partition,
                after_version,
                limit=limits.STREAM_PAGE_EVENTS,
            )
            return [_shown(event, event_for(seen.viewer, event, seen.currency)) for event in stored]

        return await self._load((seen.order_id, seen.viewer, after_version), read)

    async def of_partition(self, partition: int, after: int) -> Page:
        async def read(connection: AsyncConnection) -> Page:
            stored = await reading.read_partition(
                connection, partition, after, limits.STREAM_PAGE_EVENTS
            )
            orders = {event.stream_id for event in stored}
            first = await reading.read_first_events(connection, partition, orders)
            currencies = {order: _currency(event) for order, event in first.items()}
            return [
                _shown(event, _with_order(event, currencies[event.stream_id])) for event in stored
            ]

        return await self._load((partition, after), read)

    async def _load(
        self, key: Hashable, read: Callable[[AsyncConnection], Awaitable[Page]]
    ) -> Page:
        async def load() -> Page:
            async with self._slots:
                return await query(self._engine, read)

        return await self._loads.load(key, load)


class OrderFeed:
    """One order's events after a version, redacted for the caller."""

    def __init__(self, pages: Pages, watch: LogWatch, seen: Seen, after_version: int) -> None:
        self._pages = pages
        self._watch = watch
        self._seen = seen
        self._version = after_version

    def listening(self) -> AbstractContextManager[asyncio.Event]:
        return self._watch.listening(self._seen.order_id)

    @property
    def last_id(self) -> str:
        return str(self._version)

    async def read(self) -> tuple[list[bytes], bool]:
        page = await self._pages.of_order(self._seen, self._version)
        messages = []
        for shown in page:
            self._version = shown.version
            messages.append(_message(shown, self.last_id))
        return messages, len(page) == limits.STREAM_PAGE_EVENTS


class LogFeed:
    """All orders' events after a position in each partition, as staff see them; in order within
    each partition."""

    def __init__(self, pages: Pages, watch: LogWatch, after: Mapping[int, int]) -> None:
        self._pages = pages
        self._watch = watch
        self._positions = dict(sorted(after.items()))

    def listening(self) -> AbstractContextManager[asyncio.Event]:
        return self._watch.listening(None)

    @property
    def last_id(self) -> str:
        return as_text(self._positions.values())

    async def read(self) -> tuple[list[bytes], bool]:
        """A page of the partition that is furthest behind, so that none falls behind the others."""
        behind = {p: self._watch.heads.get(p, 0) - seen for p, seen in self._positions.items()}
        furthest = max(behind, key=behind.__getitem__)
        if behind[furthest] <= 0:
            return [], False
        messages = []
        for shown in await self._pages.of_partition(furthest, self._positions[furthest]):
            self._positions[furthest] = shown.position
            messages.append(_message(shown, self.last_id))
        return messages, True


def _shown(event: StoredEvent, content: Event | None) -> Shown:
    data = None if content is None else to_json(content).decode()
    return Shown(event.version, event.position, event.type, data)


def _with_order(event: StoredEvent, currency: str | None) -> Event | None:
    content = event_for("staff", event, currency)
    return content and EventOfOrder(event.stream_id, **asdict(content))


def _message(shown: Shown, event_id: str) -> bytes:
    """An event that this viewer may not see still advances the client's Last-Event-ID."""
    if shown.data is None:
        return format_sse_event(id=event_id)
    return format_sse_event(data_str=shown.data, event=shown.type, id=event_id)


def _currency(first: StoredEvent) -> str | None:
    try:
        return origin_of(first).currency
    except UnreadableEvent:
        return None
