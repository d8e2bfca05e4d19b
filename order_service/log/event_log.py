"""The event store for commands: append, read one order.

Orders that this process appended to stay folded in its memory, and commands on one stream run one
at a time. Both only save work: correctness comes from the expected version of each append.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from order_service import limits
from order_service.errors import OrderNotFound, RuleViolation, Unavailable
from order_service.ids import parse_order_number, parse_uuid
from order_service.infra.batching import Batching
from order_service.infra.postgres import query
from order_service.log import reading
from order_service.log.append import Append, encode, order_after, recorded
from order_service.log.appender import AfterCommit, Appender
from order_service.log.codec import RecordedEvent, StoredEvent
from order_service.log.fold import FoldedOrder, fold_stored
from order_service.log.recent_orders import RecentOrders
from order_service.log.stream_locks import StreamLock, StreamLocks

_REFERENCE = text(
    "SELECT order_id FROM external_references WHERE user_id = :user_id AND reference = :reference"
)


class EventLog:
    """`refresh` receives changed orders before any response shows their version."""

    def __init__(
        self, engine: AsyncEngine, append_engine: AsyncEngine, partitions: int, refresh: AfterCommit
    ) -> None:
        self._engine = engine
        self._appender = Appender(append_engine, partitions, refresh)
        self.partitions = partitions
        self.refresh = refresh
        self._locks = StreamLocks()
        self._streams = Batching(
            self._whole_streams,
            batch_max=limits.STREAM_BATCH_MAX,
            waiting_max=limits.APPEND_QUEUE_MAX,
            overflow=lambda: Unavailable(
                "overloaded", "Too many orders are read at once: retry later."
            ),
        )
        self._remembered = RecentOrders()

    def start(self) -> None:
        self._appender.start()

    async def close(self) -> None:
        await self._appender.close()
        await self._streams.close()

    async def read(self, stream_id: UUID, up_to_version: int | None = None) -> FoldedOrder | None:
        """The order, folded from its stream; None if there is no such order.

        Raises TimeoutError after LOAD_WAIT_S: if the database hangs, each read also waits for the
        batch before it.
        """
        async with asyncio.timeout(limits.LOAD_WAIT_S):
            if up_to_version is None:
                stored = await self._streams.get(stream_id)
            else:
                stored = await self.events(stream_id, 0, up_to_version)
        return fold_stored(stored, self.partitions, with_commands=True)

    async def _whole_streams(self, stream_ids: list[UUID]) -> list[list[StoredEvent]]:
        found = await query(
            self._engine,
            lambda connection: reading.read_whole_streams(connection, stream_ids, self.partitions),
        )
        return [found.get(stream_id, []) for stream_id in stream_ids]

    async def events(
        self, stream_id: UUID, after_version: int, up_to_version: int
    ) -> list[StoredEvent]:
        """Part of an order's stream, ascending by version."""
        partition = reading.partition_of(stream_id, self.partitions)
        return await query(
            self._engine,
            lambda connection: reading.read_stream(
                connection, stream_id, partition, after_version, up_to_version
            ),
        )

    async def resolve(self, text: str) -> UUID:
        """The order's id, from its text or from the order's number. An id may be that of no order.

        Raises `OrderNotFound` for any other text and for an unknown number.
        """
        order_id = parse_uuid(text)
        if order_id is None:
            position = parse_order_number(text, self.partitions)
            if position is not None:
                order_id = await query(self._engine, lambda c: reading.find_stream(c, *position))
        if order_id is None:
            raise OrderNotFound
        return order_id

    def remembered(self, stream_id: UUID) -> FoldedOrder | None:
        """The order after this process's last append; other processes may have changed it since."""
        return self._remembered.get(stream_id)

    def stream_lock(self, stream_id: UUID) -> StreamLock:
        """A context manager that holds the stream's lock, acquired in order of arrival.

        Raises `Unavailable` after STREAM_LOCK_WAIT_S.
        """
        return StreamLock(self._locks, stream_id)

    async def append(self, append: Append) -> FoldedOrder:
        """The order after the events. They are committed, and the cache is refreshed.

        Raises `VersionConflict` if the stream has changed, `RuleViolation` if the reference is
        taken, `InvalidRequest` if the database refuses the data, otherwise `Unavailable`.
        """
        self._remembered.forget(append.stream_id)
        try:
            folded = await self._appender.append(append)
        except RuleViolation as error:
            assert append.reference is not None
            error.facts["existing_order"] = await self.order_of_reference(*append.reference)
            raise
        self._remembered.remember(folded)
        return folded

    def preview(self, append: Append, at: datetime) -> tuple[FoldedOrder, Sequence[RecordedEvent]]:
        """The order and its events as an append at `at` would record them, except for positions,
        which only the log assigns. Stores nothing.

        Raises `InvalidRequest` if the events exceed the log's limits.
        """
        events = recorded(encode(append, self.partitions), 0, at)
        return order_after(append, events, self.partitions), events

    async def order_of_reference(self, user_id: UUID, reference: str) -> UUID | None:
        """The id of the order that the user placed with this external reference, or None."""
        parameters = {"user_id": user_id, "reference": reference}

        async def find(connection: AsyncConnection) -> UUID | None:
            found: UUID | None = (await connection.execute(_REFERENCE, parameters)).scalar()
            return found

        return await query(self._engine, find)
