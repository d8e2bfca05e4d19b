"""The replay processes: they build a generation from the log, a range of streams at a time.

The rows and the mark of a range commit in one transaction. So a process may die at any point, and
of two processes on one range the second waits for the mark and counts nothing twice. Only one range
is in memory, however long the log is.
"""

import gc
import logging
import multiprocessing
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from uuid import UUID

import uvloop
from asyncpg import DataError, PostgresError
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from order_service import limits
from order_service.infra.postgres import PROJECTOR, create_engine, driver_of, is_data_error
from order_service.log.codec import StoredEvent
from order_service.log.reading import heads, read_stream_range, read_streams
from order_service.settings import Settings
from order_service.telemetry import logging as logs
from projections.loop.checkpoints import move
from projections.loop.rows import Skips, Stream, project, read_skips
from projections.loop.step import step_singly
from projections.read_models.projection import Rows, Target, write
from projections.read_models.registry import PROJECTIONS

logger = logging.getLogger(__name__)

# Builds with the same `up_to` and the same mark share a range: it is folded once for all of them.
_MARKS = text(
    "SELECT k.name, b.generation, k.up_to, k.after_stream FROM rebuild_marks k "
    "JOIN rebuilds b ON b.name = k.name WHERE k.partition = :partition AND NOT k.finished "
    "AND k.name = ANY (:names) ORDER BY k.up_to, k.after_stream, k.name"
)
_MOVE_MARKS = text(
    "UPDATE rebuild_marks SET after_stream = coalesce(:last_stream, after_stream), "
    "events = events + :events, finished = :finished "
    "WHERE partition = :partition AND name = ANY (:names) "
    "AND after_stream = :after_stream AND NOT finished"
)


@dataclass(frozen=True, slots=True)
class Range:
    """The next whole streams after `after_stream`, and the builds that they go into."""

    targets: Sequence[Target]
    after_stream: UUID
    streams: Sequence[list[StoredEvent]]
    up_to: int
    finished: bool

    @property
    def events(self) -> int:
        return sum(map(len, self.streams))


def work(settings: Settings, names: Sequence[str], partitions: Sequence[int]) -> None:
    """The main function of a replay process: builds these partitions, one after another."""
    # The objects of a range are freed with it and form no cycles; automatic collection takes a
    # quarter of the time. The few cycles, of exceptions, are collected between ranges.
    gc.disable()
    logs.set_up()
    try:
        uvloop.run(_work(settings, names, partitions))
    except Exception:
        logger.exception("A replay process failed.")
        sys.exit(1)


def create_patient_engine(
    settings: Settings, application_name: str, pool_size: int = 1
) -> AsyncEngine:
    """An engine whose statements may run for REPLAY_STATEMENT_TIMEOUT_MS."""
    return create_engine(
        settings,
        PROJECTOR,
        application_name=application_name,
        pool_size=pool_size,
        statement_timeout_ms=limits.REPLAY_STATEMENT_TIMEOUT_MS,
    )


async def _work(settings: Settings, names: Sequence[str], partitions: Sequence[int]) -> None:
    engine = create_patient_engine(settings, "replay")
    try:
        for partition in partitions:
            await build_partition(engine, names, partition)
    finally:
        await engine.dispose()


async def build_partition(engine: AsyncEngine, names: Sequence[str], partition: int) -> None:
    """These builds hold all events of the partition up to their fixed positions."""
    async with engine.connect() as connection:
        partitions = len(await heads(connection))
        skips = await read_skips(connection, partition)
    gc.freeze()  # the objects so far stay for good: no collection scans them again
    singly_left = 0  # events still to be applied one by one, because one of them is bad data
    while True:
        parent = multiprocessing.parent_process()
        if parent is not None and not parent.is_alive():
            raise SystemExit("The replay command has ended: this process stops.")
        gc.collect()
        try:
            done = await _build_range(
                engine, names, partition, partitions, skips, singly=singly_left > 0
            )
            singly_left -= done or 0
            if done is None:
                return
        except (DBAPIError, PostgresError) as error:
            if singly_left > 0 or not is_data_error(error):
                raise
            singly_left = limits.REBUILD_RANGE_EVENTS


async def _build_range(
    engine: AsyncEngine,
    names: Sequence[str],
    partition: int,
    partitions: int,
    skips: Skips,
    *,
    singly: bool,
) -> int | None:
    """The next range is in the builds. Returns its number of events; None if no range is left."""
    limit = limits.ADVANCE_BATCH_EVENTS if singly else limits.REBUILD_RANGE_EVENTS
    async with engine.connect() as connection:
        range_ = await _read_range(connection, names, partition, partitions, limit)
    if range_ is None:
        return None
    # Folded with no transaction open: on a busy machine a fold takes longer than
    # idle_in_transaction_session_timeout.
    streams = (Stream((), events) for events in range_.streams)
    projected = project(range_.targets, streams, skips, singly=singly)
    async with engine.begin() as connection:
        await _move_marks(connection, range_, partition)
        for target in range_.targets:
            of_target = projected[target.projection.name]
            await _load(connection, target, of_target.rows)
            for stream in of_target.failing:
                await step_singly(connection, target, stream)
    return range_.events


async def _read_range(
    connection: AsyncConnection, names: Sequence[str], partition: int, partitions: int, limit: int
) -> Range | None:
    parameters = {"partition": partition, "names": list(names)}
    marks = (await connection.execute(_MARKS, parameters)).all()
    if not marks:
        return None
    after, up_to = marks[0].after_stream, marks[0].up_to
    targets = [
        Target(PROJECTIONS[mark.name], mark.generation, partition, partitions)
        for mark in marks
        if (mark.after_stream, mark.up_to) == (after, up_to)
    ]
    streams, finished = await next_streams(connection, partition, after, up_to, limit)
    return Range(targets, after, streams, up_to, finished)


async def next_streams(
    connection: AsyncConnection, partition: int, after: UUID, up_to: int, limit: int
) -> tuple[list[list[StoredEvent]], bool]:
    """The next streams of the partition, about `limit` events; whether they are the last."""
    events = await read_stream_range(connection, partition, after, up_to, limit)
    streams = by_stream(events)
    if len(events) < limit:
        return streams, True
    if len(streams) > 1:
        return streams[:-1], False  # the last may be incomplete: the next range starts with it
    return [await read_streams(connection, partition, [streams[0][0].stream_id], up_to)], False


async def _load(connection: AsyncConnection, target: Target, rows: Rows) -> None:
    """The rows are in the table: by COPY if each row is one order's, since a stream is in one range
    only and each row is new; else added up."""
    projection = target.projection
    if not rows:
        return
    if not projection.one_row_per_order:
        await write(connection, [(target, rows)])
        return
    driver = await driver_of(connection)
    schema, _, table = target.table.partition(".")
    prefix = (target.generation, target.partition)
    try:
        await driver.copy_records_to_table(
            table,
            schema_name=schema,
            columns=("generation", "partition", *projection.key, *projection.values),
            records=[prefix + key + projection.store(values) for key, values in rows.items()],
        )
    except (ArithmeticError, TypeError, ValueError) as error:
        # asyncpg raises DataError for a value that it cannot encode, except in COPY.
        raise DataError(str(error)) from error


def by_stream(events: Iterable[StoredEvent]) -> list[list[StoredEvent]]:
    """Events, in the order of streams and versions, grouped by stream."""
    return [list(stream) for _, stream in groupby(events, key=attrgetter("stream_id"))]


async def _move_marks(connection: AsyncConnection, range_: Range, partition: int) -> None:
    """The marks are after the range; to be called in the transaction of its rows.

    A mark moves only from the position where the range was read; otherwise another process has
    built this range meanwhile. After the last range the checkpoints move too, so that the live loop
    can continue from there."""
    parameters = {
        "partition": partition,
        "after_stream": range_.after_stream,
        "names": [target.projection.name for target in range_.targets],
        "last_stream": range_.streams[-1][0].stream_id if range_.streams else None,
        "events": range_.events,
        "finished": range_.finished,
    }
    moved = await connection.execute(_MOVE_MARKS, parameters)
    if moved.rowcount != len(range_.targets):
        raise SystemExit("Another process has built this range: this process stops.")
    if range_.finished:
        await move(connection, [(target, range_.up_to) for target in range_.targets])
