"""Makes a log of any size by SQL from the events of a few real orders, the models.

The service itself has made each model (placed; paid; shipped; ...); the SQL repeats the models'
events under new ids, for many users, with many SKUs, over a year. So the payloads are those that
the current code writes. Events of neighbouring orders are interleaved, as in a live log.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg

SKUS = ("SKU-A0000", "SKU-B0000", "SKU-C0000")  # of the models: each becomes one of 5,000
ORDERS_PER_USER = 60  # as in the real baskets
BATCH_ORDERS = 20_000
YEAR = timedelta(days=365)

_MODELS = """
CREATE TEMP TABLE IF NOT EXISTS models (
    model int, version int, type text, schema_version smallint, data text, metadata text)
"""
_COPY_MODELS = """
INSERT INTO models
SELECT array_position($1::uuid[], stream_id) - 1, version, type, schema_version, data::text,
       metadata::text
FROM events WHERE stream_id = ANY ($1)
"""
_LOCK = "SELECT partition FROM partitions ORDER BY partition FOR NO KEY UPDATE"
# $1, $2: numbers of the first and last order; $3: seed; $4: models, used in turn; $5: number of
# users; $6: the models' user, who is one of them; $7: when order 0 was placed; $8: time between two
# orders; $9: number of partitions, a power of two.
_INSERT = """
WITH made AS (
    SELECT n, md5($3::text || n::text) AS hash, $7::timestamptz + n * $8::interval AS at,
           ($4::int[])[1 + n % cardinality($4::int[])] AS model,
           CASE WHEN n % $5::bigint = 0 THEN $6::text
                ELSE md5('user' || (n % $5::bigint)::text)::uuid::text END AS owner
    FROM generate_series($1::bigint, $2::bigint) AS n
), named AS (
    SELECT n, model, owner, ('x' || right(hash, 2))::bit(8)::int % $9::int AS partition,
           (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || left(hash, 3)
            || '8' || right(hash, 15))::uuid AS stream_id
    FROM made
), counted AS (
    SELECT o.n, o.owner, o.partition, o.stream_id, l.version, l.type, l.schema_version, l.data,
           l.metadata, o.n + (l.version - 1) * 50 AS turn,
           row_number() OVER (PARTITION BY o.partition ORDER BY o.n + (l.version - 1) * 50, o.n)
               AS place
    FROM named o JOIN models l ON l.model = o.model
), inserted AS (
    INSERT INTO events (partition, position, stream_id, version, event_id, type, schema_version,
                        data, metadata, recorded_at)
    SELECT c.partition, p.position + c.place, c.stream_id, c.version, gen_random_uuid(), c.type,
           c.schema_version,
           CASE WHEN c.version > 1 THEN c.data ELSE
               replace(replace(replace(replace(c.data, $6::text, c.owner),
                   'SKU-A0000', 'SKU-A' || c.n * 7 % 5000),
                   'SKU-B0000', 'SKU-B' || c.n * 11 % 5000),
                   'SKU-C0000', 'SKU-C' || c.n * 13 % 5000) END::jsonb,
           replace(c.metadata, $6::text, c.owner)::jsonb,
           least(greatest($7::timestamptz + c.turn * $8::interval, p.recorded_at), now())
    FROM counted c JOIN partitions p ON p.partition = c.partition
    ORDER BY c.partition, c.place
    RETURNING partition, position, recorded_at, version, stream_id
), moved AS (
    UPDATE partitions p SET position = i.position, recorded_at = i.recorded_at
    FROM (SELECT partition, max(position) AS position, max(recorded_at) AS recorded_at
          FROM inserted GROUP BY partition) i
    WHERE p.partition = i.partition
)
SELECT array_agg(stream_id) FILTER (WHERE version = 1) AS orders, count(*) AS events FROM inserted
"""
# Marks all events as relayed and projected: a replay builds the read models afterwards.
_BYPASS = """
UPDATE checkpoints c SET position = p.position FROM partitions p
WHERE p.partition = c.partition AND (c.name = 'relay' OR EXISTS (
    SELECT FROM read_models m WHERE m.name = c.name AND m.live_generation = c.generation))
"""


@dataclass
class Generator:
    """Repeats the events of `models`, orders of `owner` in the log."""

    database: asyncpg.Connection
    owner: UUID
    models: tuple[UUID, ...]

    async def copy_models(self) -> None:
        """Copies the models' events into a table of this session."""
        await self.database.execute(_MODELS)
        await self.database.execute(_COPY_MODELS, self.models)

    async def length(self) -> float:
        """The average number of events of an order."""
        count = await self.database.fetchval("SELECT count(*) FROM models")
        return int(count) / len(self.models)

    async def fill(
        self,
        orders: int,
        *,
        models: Sequence[int] | None = None,
        bypass: bool = False,
        report: Callable[[int], None] = lambda _: None,
    ) -> list[UUID]:
        """Adds `orders` orders to the log; returns the ids of the last batch.

        `models`: indexes of the models to use in turn; None: all. `bypass`: relay and projections
        skip the events. `report`: gets the number of orders so far, after each batch.
        """
        partitions = await self.database.fetchval("SELECT count(*) FROM partitions")
        assert partitions & (partitions - 1) == 0, "the id's last byte gives the partition"
        last = await self.database.fetchval("SELECT max(recorded_at) FROM partitions")
        now = datetime.now(UTC)
        start = max(last, now - YEAR)
        used = list(range(len(self.models))) if models is None else list(models)
        users = max(1, orders // ORDERS_PER_USER)
        seed, made = uuid4().hex, list[UUID]()
        for first in range(0, orders, BATCH_ORDERS):
            to = min(first + BATCH_ORDERS, orders) - 1
            async with self.database.transaction():
                await self.database.execute(_LOCK)
                row = await self.database.fetchrow(
                    *(_INSERT, first, to, seed, used, users, str(self.owner)),
                    *(start, (now - start) / orders, partitions),
                )
                if bypass:
                    await self.database.execute(_BYPASS)
            made = row["orders"]
            report(to + 1)
        return made
