"""A log to start from: events appended by the log's own SQL function, without the write side."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID, uuid4

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from order_service.domain.events import OrderEvent
from order_service.log.codec import encode, encode_metadata
from order_service.log.reading import heads, partition_of
from tests.support.log.examples import BY_USER

_APPEND = text(
    "SELECT outcome, version, position, recorded_at FROM append("
    "CAST(:c_partition AS smallint[]), CAST(:c_stream AS uuid[]), CAST(:c_expected AS integer[]), "
    "CAST(:c_events AS integer[]), CAST(:e_command AS integer[]), CAST(:e_version AS integer[]), "
    "CAST(:e_id AS uuid[]), CAST(:e_type AS text[]), CAST(:e_schema AS smallint[]), "
    "CAST(:e_data AS text[]), CAST(:e_metadata AS text[]), "
    "'{}', '{}', '{}', '{}', '{}', '{}', '{}')"
)


@dataclass(frozen=True)
class RawEvent:
    """An event as JSON text, for payloads that today's code would not write."""

    type: str
    data: str
    schema_version: int = 1


POISON = RawEvent("OrderFrobnicated", "{}")  # no code of ours has ever known its type

Stream = tuple[UUID, int, Sequence[OrderEvent | RawEvent]]  # with the expected version


async def append_events(
    connection: AsyncConnection,
    stream_id: UUID,
    expected: int,
    events: Sequence[OrderEvent | RawEvent],
) -> int:
    """The events stand at expected + 1 and on; returns the position of the first."""
    [position] = await _append(connection, [(stream_id, expected, events)])
    return position


async def _append(connection: AsyncConnection, streams: Sequence[Stream]) -> list[int]:
    partitions = len(await heads(connection))
    events = [
        (number, expected + offset, uuid4(), _raw(event))
        for number, (_, expected, added) in enumerate(streams, start=1)
        for offset, event in enumerate(added, start=1)
    ]
    parameters = {
        "c_partition": [partition_of(stream_id, partitions) for stream_id, _, _ in streams],
        "c_stream": [stream_id for stream_id, _, _ in streams],
        "c_expected": [expected for _, expected, _ in streams],
        "c_events": [len(added) for _, _, added in streams],
        "e_command": [number for number, _, _, _ in events],
        "e_version": [version for _, version, _, _ in events],
        "e_id": [event_id for _, _, event_id, _ in events],
        "e_type": [raw.type for *_, raw in events],
        "e_schema": [raw.schema_version for *_, raw in events],
        "e_data": [raw.data for *_, raw in events],
        "e_metadata": [encode_metadata(BY_USER)] * len(events),
    }
    rows = (await connection.execute(_APPEND, parameters)).all()
    assert {row.outcome for row in rows} == {"won"}, rows
    return [row.position for row in rows]


def _raw(event: OrderEvent | RawEvent) -> RawEvent:
    if isinstance(event, RawEvent):
        return event
    return RawEvent(type(event).__name__, encode(event), event.SCHEMA_VERSION)


async def given_orders(engine: AsyncEngine, *orders: Sequence[OrderEvent | RawEvent]) -> list[UUID]:
    """A new stream for each, all in one append: so those of one partition have one time."""
    streams = [(order_id_in(number % 4), 0, events) for number, events in enumerate(orders)]
    async with engine.begin() as connection:
        await _append(connection, streams)
    return [stream_id for stream_id, _, _ in streams]


async def given_order(
    engine: AsyncEngine,
    *events: OrderEvent | RawEvent,
    partition: int = 0,
    expected: int = 0,
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
