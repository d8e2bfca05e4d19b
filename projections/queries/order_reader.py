"""Reads one order from the fastest source that is not behind an earlier response.

First Redis; then the read model, in one statement that also says whether it has caught up with the
order's stream; if it has not, the stream itself.
"""

import asyncio
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service import limits
from order_service.cache.entries import CachedOrder
from order_service.cache.order_cache import OrderCache
from order_service.documents.order import document
from order_service.domain.immutable import immutable
from order_service.errors import Unavailable, UnreadableEvent
from order_service.infra import failpoints
from order_service.infra.batching import Batching
from order_service.infra.postgres import query
from order_service.infra.single_flight import SingleFlight
from order_service.log.codec import StoredEvent
from order_service.log.fold import FoldedOrder, fold_stored
from order_service.log.reading import VERSION_MAX, partition_of, read_stream
from order_service.telemetry.metrics import READS
from projections.read_models import order_view
from projections.read_models.document_compression import unpack

CacheUse = Literal["hit", "miss", "bypass"]


@immutable
class ReadOrder:
    """`stale`: the running version cannot read the order's last events; this is the version before
    them."""

    owner: UUID | None
    version: int
    document: bytes
    stale: bool = False


class OrderReader:
    """One per process. Writes only the cache."""

    def __init__(self, engine: AsyncEngine, cache: OrderCache, partitions: int) -> None:
        self._engine = engine
        self._cache = cache
        self._partitions = partitions
        self._loads: SingleFlight[UUID, ReadOrder | None] = SingleFlight()
        # With batches here and in OrderCache, a miss takes 0.23 ms of CPU of all roles instead of
        # 0.54 (`bench get-miss`).
        self._rows: Batching[UUID, Row[Any]] = Batching(
            self._find,
            batch_max=limits.ORDER_BATCH_MAX,
            waiting_max=limits.ORDERS_WAITING_MAX,
            overflow=lambda: Unavailable(
                "overloaded", "Too many orders are read at once: try again."
            ),
        )

    async def close(self) -> None:
        await self._rows.close()

    async def read(self, order_id: UUID, at_least: int = 0) -> tuple[ReadOrder | None, CacheUse]:
        """The order as it is now; None if there is none. Raises UnreadableEvent if not even its
        first version is readable, TimeoutError after LOAD_WAIT_S.

        `at_least`: a version that the caller has seen. A cached older one, left over from an outage
        of Redis, is bypassed.
        """
        found = await self._cache.look_up(order_id)
        if isinstance(found, CachedOrder):
            if found.version >= at_least:
                READS["order", "hit"].inc()
                return ReadOrder(found.owner, found.version, found.document), "hit"
            found = None

        async def load() -> ReadOrder | None:
            await failpoints.reach("query-missed")
            order = await self._load(order_id)
            await failpoints.reach("query-read")
            if found is not None and order is not None and not order.stale:
                await self._cache.fill(order_id, found, order.version, order.owner, order.document)
            return order

        async with asyncio.timeout(limits.LOAD_WAIT_S):  # including the load that it waits for
            order = await self._loads.load(order_id, load)
        use: CacheUse = "bypass" if found is None else "miss"
        READS["order", use].inc()
        return order, use

    async def read_version(self, order_id: UUID, version: int) -> tuple[ReadOrder | None, int]:
        """The order as it was at `version`, and the version that was read: smaller if the order has
        not reached `version`."""
        stream = await self._stream(order_id, up_to_version=version)
        return (self._read(stream), stream[-1].version) if stream else (None, 0)

    async def read_as_of(self, order_id: UUID, at: datetime) -> ReadOrder | None:
        """The order as it was at a time; None if it was not placed by then."""
        stream = await self._stream(order_id)
        # Within a stream, times never decrease.
        then = [event for event in stream if event.recorded_at <= at]
        return self._read(then) if then else None

    async def _stream(self, order_id: UUID, up_to_version: int = VERSION_MAX) -> list[StoredEvent]:
        partition = partition_of(order_id, self._partitions)
        return await query(
            self._engine,
            lambda c: read_stream(c, order_id, partition, up_to_version=up_to_version),
        )

    async def _load(self, order_id: UUID) -> ReadOrder | None:
        row = await self._rows.get(order_id)
        if row.head is None:
            return None
        if row.version == row.head and not row.skipped:
            # Unpacked here, not in the batch: a damaged document fails this read only.
            owner = row.user_id and UUID(int=row.user_id.int)
            return ReadOrder(owner, row.version, unpack(row.document))
        return self._read(await self._stream(order_id))

    async def _find(self, order_ids: list[UUID]) -> list[Row[Any]]:
        return await query(
            self._engine, lambda c: order_view.find_orders(c, order_ids, self._partitions)
        )

    def _read(self, stream: list[StoredEvent]) -> ReadOrder:
        folded, whole = self._fold(stream)
        return ReadOrder(folded.order.user_id, folded.version, document(folded), stale=not whole)

    def _fold(self, stream: list[StoredEvent]) -> tuple[FoldedOrder, bool]:
        """The last readable version, and whether it is the stream's last."""
        folded = None
        for event in stream:
            try:
                folded = fold_stored([event], self._partitions, folded)
            except UnreadableEvent:
                if folded is None:
                    raise
                return folded, False
        assert folded is not None, "a stream that has a head has events"
        return folded, True
