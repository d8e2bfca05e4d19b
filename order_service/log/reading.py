"""Reads the log: functions that take a connection first and never commit.

Within a partition, positions have no gaps and commit in order (see migration 0001: an append locks
the partition's counter until it commits). So a reader that has read position n has read every event
before it, and `position > n` never skips an event that commits later.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import ARRAY, SmallInteger, Uuid, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service.infra.postgres import driver_of
from order_service.log.codec import StoredEvent

_COLUMNS = (
    "partition, position, stream_id, version, event_id, type, schema_version, "
    "data::text AS data, metadata::text AS metadata, recorded_at"
)
_PARTITIONS = text("SELECT partition, position FROM partitions ORDER BY partition")
_PARTITION = text(
    f"SELECT {_COLUMNS} FROM events WHERE partition = :partition AND position > :after "  # noqa: S608
    "ORDER BY position LIMIT :limit"
)
_STREAM = text(
    f"SELECT {_COLUMNS} FROM events WHERE partition = :partition AND stream_id = :stream_id "  # noqa: S608
    "AND version > :after_version AND version <= :up_to_version ORDER BY version LIMIT :limit"
)
# OFFSET 0 makes the planner look up each stream by its key, whatever number of rows it expects.
_WHOLE = text(
    "SELECT e.* FROM unnest(:partitions, :streams) AS s (partition, stream_id) CROSS JOIN LATERAL "  # noqa: S608
    f"(SELECT {_COLUMNS} FROM events WHERE partition = s.partition AND stream_id = s.stream_id "
    "ORDER BY version OFFSET 0) e"
).bindparams(
    bindparam("partitions", type_=ARRAY(SmallInteger)), bindparam("streams", type_=ARRAY(Uuid))
)
_FIRST = text(
    f"SELECT {_COLUMNS} FROM events WHERE partition = :partition AND stream_id = ANY (:streams) "  # noqa: S608
    "AND version = 1"
).bindparams(bindparam("streams", type_=ARRAY(Uuid)))
# Several events of a command may refer to the same text; only the first of them is returned.
_WITH_TEXT = text(
    f"SELECT {_COLUMNS} FROM (SELECT *, "  # noqa: S608
    "row_number() OVER (PARTITION BY data->>'text_ref' ORDER BY version) AS nth FROM events "
    "WHERE partition = :partition AND stream_id = :stream_id AND data->>'text_ref' IS NOT NULL"
    ") AS referring WHERE nth = 1 AND version > :after_version ORDER BY version LIMIT :limit"
)
_TEXTS = text(
    "SELECT text_id, kind, body FROM order_texts "
    "WHERE text_id = ANY (:texts) AND order_id = :order_id"
).bindparams(bindparam("texts", type_=ARRAY(Uuid)))
_CHANGED = text(
    "SELECT DISTINCT stream_id FROM events "
    "WHERE partition = :partition AND position > :after AND position <= :up_to"
)
_STREAMS = text(
    f"SELECT {_COLUMNS} FROM events WHERE partition = :partition AND stream_id = ANY (:streams) "  # noqa: S608
    "AND position <= :up_to ORDER BY stream_id, version"
).bindparams(bindparam("streams", type_=ARRAY(Uuid)))
# A rebuild reads every event with this, so the columns that no read model shows are left out: event
# ids and metadata.
_RANGE = (
    "SELECT partition, position, stream_id, version, NULL, type, schema_version, "
    "data::text, '', recorded_at FROM events WHERE partition = $1 AND stream_id > $2 "
    "AND position <= $3 ORDER BY stream_id, version LIMIT $4"
)
# OFFSET 0 makes the planner look up each partition and each stream by its index, whatever number of
# rows it expects.
_NEXT = (
    "SELECT e.* FROM unnest($1::smallint[], $2::bigint[], $3::bigint[]) "  # noqa: S608
    f"AS r (partition, after, up_to) CROSS JOIN LATERAL (SELECT {_COLUMNS} FROM events "
    "WHERE partition = r.partition AND position > r.after AND position <= r.up_to "
    "ORDER BY position OFFSET 0) e"
)
_EARLIER = (
    "SELECT e.* FROM unnest($1::smallint[], $2::uuid[], $3::integer[]) "  # noqa: S608
    f"AS s (partition, stream_id, next_version) CROSS JOIN LATERAL (SELECT {_COLUMNS} FROM events "
    "WHERE partition = s.partition AND stream_id = s.stream_id AND version < s.next_version "
    "ORDER BY version OFFSET 0) e"
)
_PLACED_AT = text(
    "SELECT stream_id FROM events WHERE partition = :partition AND position = :position "
    "AND version = 1"
)
VERSION_MAX = 2**31 - 1
BEFORE_ALL_STREAMS = UUID(int=0)


def partition_of(stream_id: UUID, partitions: int) -> int:
    return stream_id.int % partitions


def _stored(rows: Iterable[Sequence[Any]]) -> list[StoredEvent]:
    return list(map(StoredEvent._make, rows))


async def heads(connection: AsyncConnection) -> dict[int, int]:
    """Each partition's last position. Its length is the number of partitions, which is constant."""
    return {row.partition: row.position for row in await connection.execute(_PARTITIONS)}


async def read_partition(
    connection: AsyncConnection, partition: int, after: int, limit: int
) -> list[StoredEvent]:
    """The partition's next events, ascending by position without gaps; may be empty."""
    parameters = {"partition": partition, "after": after, "limit": limit}
    return _stored((await connection.execute(_PARTITION, parameters)).all())


async def read_stream(
    connection: AsyncConnection,
    stream_id: UUID,
    partition: int,
    after_version: int = 0,
    up_to_version: int = VERSION_MAX,
    limit: int | None = None,
) -> list[StoredEvent]:
    """One order's events, ascending by version; empty if there is no such order."""
    parameters = {
        "partition": partition,
        "stream_id": stream_id,
        "after_version": after_version,
        "up_to_version": up_to_version,
        "limit": limit,
    }
    return _stored((await connection.execute(_STREAM, parameters)).all())


async def read_whole_streams(
    connection: AsyncConnection, stream_ids: Collection[UUID], partitions: int
) -> dict[UUID, list[StoredEvent]]:
    """The events of each of these orders, ascending by version; an order without events is not a
    key."""
    distinct = set(stream_ids)
    parameters = {
        "partitions": [partition_of(stream_id, partitions) for stream_id in distinct],
        "streams": list(distinct),
    }
    streams: dict[UUID, list[StoredEvent]] = {}
    for event in _stored((await connection.execute(_WHOLE, parameters)).all()):
        streams.setdefault(event.stream_id, []).append(event)
    return streams


async def read_first_events(
    connection: AsyncConnection, partition: int, stream_ids: Iterable[UUID]
) -> dict[UUID, StoredEvent]:
    """The first event of each of these streams of one partition; unknown streams are left out."""
    parameters = {"partition": partition, "streams": list(stream_ids)}
    rows = _stored((await connection.execute(_FIRST, parameters)).all())
    return {row.stream_id: row for row in rows}


async def read_events_with_text(
    connection: AsyncConnection, stream_id: UUID, partition: int, after_version: int, limit: int
) -> list[StoredEvent]:
    """One order's events that refer to a free text by `text_ref`, ascending by version; only the
    first of several that refer to the same text."""
    parameters = {
        "partition": partition,
        "stream_id": stream_id,
        "after_version": after_version,
        "limit": limit,
    }
    return _stored((await connection.execute(_WITH_TEXT, parameters)).all())


async def read_texts(
    connection: AsyncConnection, order_id: UUID, text_ids: Iterable[UUID]
) -> dict[UUID, tuple[str, str]]:
    """The kind and body of each of these texts of the order, by id; erased texts are left out."""
    parameters = {"order_id": order_id, "texts": list(text_ids)}
    rows = await connection.execute(_TEXTS, parameters)
    return {row.text_id: (row.kind, row.body) for row in rows}


async def changed_streams(
    connection: AsyncConnection, partition: int, after: int, up_to: int
) -> list[UUID]:
    """The streams with events at positions > `after` and <= `up_to`, in no order."""
    parameters = {"partition": partition, "after": after, "up_to": up_to}
    found = (await connection.execute(_CHANGED, parameters)).scalars()
    return [UUID(int=stream_id.int) for stream_id in found]


async def find_stream(connection: AsyncConnection, partition: int, position: int) -> UUID | None:
    """The stream whose first event is at this position, or None."""
    parameters = {"partition": partition, "position": position}
    found = (await connection.execute(_PLACED_AT, parameters)).scalar_one_or_none()
    return None if found is None else UUID(int=found.int)


async def read_streams(
    connection: AsyncConnection, partition: int, stream_ids: Sequence[UUID], up_to_position: int
) -> list[StoredEvent]:
    """The events of these streams of one partition up to a position, ascending by stream and
    version."""
    parameters = {"partition": partition, "streams": list(stream_ids), "up_to": up_to_position}
    return _stored((await connection.execute(_STREAMS, parameters)).all())


async def read_stream_range(
    connection: AsyncConnection,
    partition: int,
    after_stream: UUID,
    up_to_position: int,
    limit: int,
) -> list[StoredEvent]:
    """At most `limit` events of the streams after `after_stream`, ascending by stream and version,
    without event ids (None: they took a sixth of the time of reading) and metadata (empty).

    `limit` may cut off the last stream: the caller continues from the stream before it. Read with
    the driver: SQLAlchemy's rows take twice the time of all the rest of reading.
    """
    driver = await driver_of(connection)
    return _stored(await driver.fetch(_RANGE, partition, after_stream, up_to_position, limit))


async def read_next(
    driver: asyncpg.Connection, ranges: Iterable[tuple[int, int, int]]
) -> list[StoredEvent]:
    """For each (partition, after, up_to), the events at positions > `after` and <= `up_to`,
    ascending by position within a partition."""
    return _stored(await driver.fetch(_NEXT, *map(list, zip(*ranges, strict=True))))


async def read_earlier(
    driver: asyncpg.Connection, events: Iterable[StoredEvent]
) -> list[StoredEvent]:
    """All earlier events in the stream of each of these events, ascending by version within a
    stream."""
    streams = [(e.partition, e.stream_id, e.version) for e in events if e.version > 1]
    if not streams:
        return []
    return _stored(await driver.fetch(_EARLIER, *map(list, zip(*streams, strict=True))))
