"""One order, from wherever it can be had without going back in time.

Redis; else PostgreSQL, where one statement says whether the read model has caught up with the
order's stream; if not, the stream itself. May import order_view, the log and the cache.
"""

from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from order_service.cache import OrderCache
from order_service.cache_entries import CachedOrder
from order_service.db import query
from order_service.errors import UnreadableEvent
from order_service.log.codec import StoredEvent
from order_service.log.fold import FoldedOrder, fold_stored
from order_service.log.reading import partition_of, read_stream
from order_service.representation import document
from order_service.shared_loads import SharedLoads
from projections import order_view

CacheUse = Literal["hit", "miss", "bypass"]


@dataclass(frozen=True, slots=True)
class ReadOrder:
    """`stale`: today's code cannot read the order's last events; this is the version before
    them."""

    owner: UUID
    version: int
    document: bytes
    stale: bool = False


class OrderReader:
    """One a process. Writes nothing but the cache."""

    def __init__(self, engine: AsyncEngine, cache: OrderCache, partitions: int) -> None:
        self._engine = engine
        self._cache = cache
        self._partitions = partitions
        self._loads: SharedLoads[UUID, ReadOrder | None] = SharedLoads()

    async def read(self, order_id: UUID) -> tuple[ReadOrder | None, CacheUse]:
        """None: there is no such order. Raises UnreadableEvent if not even its first version can be
        read."""
        found = await self._cache.look_up(order_id)
        if isinstance(found, CachedOrder):
            return ReadOrder(found.owner, found.version, found.document), "hit"

        async def load() -> ReadOrder | None:
            order = await query(self._engine, lambda c: self._load(c, order_id))
            if found is not None and order is not None and not order.stale:
                await self._cache.fill(order_id, found, order.version, order.owner, order.document)
            return order

        return await self._loads.load(order_id, load), "bypass" if found is None else "miss"

    async def _load(self, connection: AsyncConnection, order_id: UUID) -> ReadOrder | None:
        partition = partition_of(order_id, self._partitions)
        row = await order_view.find_order(connection, order_id, partition)
        if row.head is None:
            return None
        if row.version == row.head and not row.skipped:
            return ReadOrder(UUID(int=row.user_id.int), row.version, row.document)
        stream = await read_stream(connection, order_id, partition)
        folded, whole = self._fold(stream)
        return ReadOrder(folded.order.user_id, folded.version, document(folded), stale=not whole)

    def _fold(self, stream: list[StoredEvent]) -> tuple[FoldedOrder, bool]:
        """The last version that today's code can read, and whether it is the last there is."""
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
