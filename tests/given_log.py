"""A log to start from: events appended by the log's own SQL function, without the write side."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID, uuid4

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from order_service.domain.events import OrderEvent
from order_service.log.codec import encode, encode_metadata
from order_service.log.reading import heads, partition_of
from tests.examples import BY_USER

_APPEND = text(
    "SELECT outcome, version, position, recorded_at FROM append("
    "CAST(:c_partition AS smallint[]), CAST(:c_stream AS uuid[]), CAST(:c_expected AS integer[]), "
    "CAST(:c_events AS integer[]), CAST(:c_first AS uuid[]), CAST(:c_user AS uuid[]), "
    "CAST(:c_reference AS text[]), CAST(:e_command AS integer[]), CAST(:e_version AS integer[]), "
    "CAST(:e_id AS uuid[]), CAST(:e_type AS text[]), CAST(:e_schema AS smallint[]), "
    "CAST(:e_data AS text[]), CAST(:e_metadata AS text[]), '{}', '{}', '{}', '{}')"
)


@dataclass(frozen=True)
class RawEvent:
    """An event as JSON text, for payloads that today's code would not write."""

    type: str
    data: str
    schema_version: int = 1


async def append_events(
    connection: AsyncConnection,
    stream_id: UUID,
    expected: int,
    events: Sequence[OrderEvent | RawEvent],
) -> int:
    """The events stand at expected + 1 and on; returns the position of the first."""
    partitions = len(await heads(connection))
    raw = [
        e if isinstance(e, RawEvent) else RawEvent(type(e).__name__, encode(e)) for e in events
    ]
    ids = [uuid4() for _ in raw]
    parameters = {
        "c_partition": [partition_of(stream_id, partitions)],
        "c_stream": [stream_id],
        "c_expected": [expected],
        "c_events": [len(raw)],
        "c_first": ids[:1],
        "c_user": [None],
        "c_reference": [None],
        "e_command": [1] * len(raw),
        "e_version": [expected + i for i in range(1, len(raw) + 1)],
        "e_id": ids,
        "e_type": [e.type for e in raw],
        "e_schema": [e.schema_version for e in raw],
        "e_data": [e.data for e in raw],
        "e_metadata": [encode_metadata(BY_USER)] * len(raw),
    }
    row = (await connection.execute(_APPEND, parameters)).one()
    assert row.outcome == "won", row
    position: int = row.position
    return position


async def given_order(
    engine: AsyncEngine, *events: OrderEvent | RawEvent, partition: int = 0, expected: int = 0,
    stream_id: UUID | None = None,
) -> UUID:
    """A stream of these events; new ones get an id in `partition` (of four)."""
    stream_id = stream_id or order_id_in(partition)
    async with engine.begin() as connection:
        await append_events(connection, stream_id, expected, events)
    return stream_id


def order_id_in(partition: int, partitions: int = 4) -> UUID:
    drawn = uuid4().int
    return UUID(int=drawn - drawn % partitions + partition)
