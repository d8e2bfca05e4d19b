"""A reader of the log's end, of the read model and of the cache while servers are under fault.

It reads PostgreSQL and Redis directly, and waits while one of them is unavailable. What it has read
must still be in the log at the end (W9); versions only rise (M3), and the cache is never ahead of
the log (C1).
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

import asyncpg
from redis.asyncio import Redis

from order_service.cache.entries import Slot, Slots, decode_order
from order_service.infra.postgres import read_incarnation
from tests.tools.faults.following import AWAY, Observer

LOOK_S = 0.05
BATCH = 1_000
FOLLOWED_ORDERS = 100  # the newest ones
LIMIT_S = 5.0  # of one round of reads; then the session starts again
CACHE, TABLE = "cache", "order_view"
_NEXT = """
SELECT position, event_id, stream_id FROM events WHERE partition = $1 AND position > $2
ORDER BY position LIMIT $3
"""
_SHOWN = """
SELECT v.order_id, v.version FROM read_models.order_view v JOIN public.read_models m
ON m.name = 'order_view' AND v.generation = m.live_generation WHERE v.order_id = ANY ($1)
"""
_STORED = "SELECT stream_id, max(version) FROM events WHERE stream_id = ANY ($1) GROUP BY stream_id"


class Tail(Observer):
    """`seen`: by partition, the ids of the events that were read, from position 1 on."""

    retry_s = LOOK_S

    def __init__(self, database: dict[str, Any], redis: Redis) -> None:
        super().__init__()
        self._database = database
        self._redis = redis
        self.seen: dict[int, list[UUID]] = {}
        self.wrong: list[str] = []
        self._newest: dict[UUID, None] = {}  # an ordered set
        self._shown: dict[tuple[str, UUID], int] = {}

    async def observe(self) -> None:
        connection = await asyncpg.connect(**self._database, timeout=LIMIT_S)
        # A crash of PostgreSQL may lose the last commits of the read models, which do not wait for
        # the disk; it may not lose the log's.
        self._shown = {k: v for k, v in self._shown.items() if k[0] != TABLE}
        try:
            await self._read(connection)
        finally:
            connection.terminate()

    async def _read(self, connection: asyncpg.Connection) -> None:
        slots = Slots(str(await read_incarnation(connection)))
        while True:
            async with asyncio.timeout(LIMIT_S):
                await self._read_new_events(connection)
                await self._compare(connection, slots)
            await asyncio.sleep(LOOK_S)

    async def _read_new_events(self, connection: asyncpg.Connection) -> None:
        for row in await connection.fetch("SELECT partition FROM partitions"):
            partition = row["partition"]
            seen = self.seen.setdefault(partition, [])
            for found in await connection.fetch(_NEXT, partition, len(seen), BATCH):
                if found["position"] != len(seen) + 1:
                    expected = f"partition {partition}, position {len(seen) + 1}"
                    self.wrong.append(f"W9: {expected}: saw {found['position']} first")
                    break
                seen.append(found["event_id"])
                self._newest.pop(found["stream_id"], None)
                self._newest[found["stream_id"]] = None
        for order_id in [*self._newest][:-FOLLOWED_ORDERS]:
            del self._newest[order_id]

    async def _compare(self, connection: asyncpg.Connection, slots: Slots) -> None:
        """Reads the cache and the table before the log, so the log must hold all that they show."""
        orders = [*self._newest]
        cached = await self._cached([slots.order(order_id) for order_id in orders], orders)
        shown = {row[0]: row[1] for row in await connection.fetch(_SHOWN, orders)}
        stored = {row[0]: row[1] for row in await connection.fetch(_STORED, orders)}
        for where, versions in ((CACHE, cached), (TABLE, shown)):
            for order_id, version in versions.items():
                before = self._shown.get((where, order_id), 0)
                if version < before:
                    self.wrong.append(f"M3: {where}, order {order_id}: {version} after {before}")
                if version > stored.get(order_id, 0):
                    self.wrong.append(f"C1: {where}, order {order_id}: {version} is ahead")
                self._shown[where, order_id] = version

    async def _cached(self, slots: Sequence[Slot], orders: Sequence[UUID]) -> dict[UUID, int]:
        found = {}
        # Redis may be unavailable, and rows write garbage: only readable entries are compared.
        with suppress(*AWAY):
            async with asyncio.timeout(LIMIT_S / 2):
                values = await self._redis.mget([slot.entry for slot in slots])
            for order_id, slot, value in zip(orders, slots, values, strict=True):
                with suppress(ValueError):
                    if value is not None:
                        found[order_id] = decode_order(slot, value).version
        return found
