"""Building a generation from the log, stream by stream: what replay's processes do.

A range of streams is one transaction: its rows and its mark. So a process may die anywhere, and two
of them on one range wait for each other's mark and never count anything twice. What is in memory is
one range, however long the log is.
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

# Builds that were begun together go together: one fold feeds all of them.
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
    """Whole streams after `after_stream`, and the builds that take them."""

    targets: Sequence[Target]
    after_stream: UUID
    streams: Sequence[list[StoredEvent]]
    up_to: int
    finished: bool

    @property
    def events(self) -> int:
        return sum(map(len, self.streams))


def work(settings: Settings, names: Sequence[str], partitions: Sequence[int]) -> None:
    """A process's whole life: these partitions, one after another."""
    # What a range makes goes with it and holds no cycles; looking for some costs a quarter of the
    # time. What little there is (of exceptions) is collected between two ranges.
    gc.disable()
    logs.set_up()
    try:
        uvloop.run(_work(settings, names, partitions))
    except Exception:
        logger.exception("A process of the replay failed.")
        sys.exit(1)


def create_patient_engine(
    settings: Settings, application_name: str, pool_size: int = 1
) -> AsyncEngine:
    """Its statements may take as long as those of a replay do."""
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
    """These builds hold everything that the partition's log had at their fixed positions."""
    async with engine.connect() as connection:
        partitions = len(await heads(connection))
        skips = await read_skips(connection, partition)
    gc.freeze()  # what there is by now stays: no collection need look at it again
    careful = 0  # events yet to be taken one by one, because some of them are bad data
    while True:
        parent = multiprocessing.parent_process()
        if parent is not None and not parent.is_alive():
            raise SystemExit("The replay that started this process is gone.")
        gc.collect()
        try:
            done = await _build_range(engine, names, partition, partitions, skips, careful > 0)
            careful -= done or 0
            if done is None:
                return
        except (DBAPIError, PostgresError) as error:
            if careful > 0 or not is_data_error(error):
                raise
            careful = limits.REBUILD_RANGE_EVENTS


async def _build_range(
    engine: AsyncEngine,
    names: Sequence[str],
    partition: int,
    partitions: int,
    skips: Skips,
    singly: bool,
) -> int | None:
    """The number of events done; None if there is nothing left to do."""
    limit = limits.ADVANCE_BATCH_EVENTS if singly else limits.REBUILD_RANGE_EVENTS
    async with engine.connect() as connection:
        taken = await _read_range(connection, names, partition, partitions, limit)
    if taken is None:
        return None
    # Folded with no transaction open: on a busy machine it takes longer than the server lets one
    # stand idle.
    streams = (Stream((), events) for events in taken.streams)
    projected = project(taken.targets, streams, skips, singly=singly)
    async with engine.begin() as connection:
        await _move_marks(connection, taken, partition)
        for target in taken.targets:
            found = projected[target.projection.name]
            await _load(connection, target, found.rows)
            for stream in found.failing:
                await step_singly(connection, target, stream)
    return taken.events


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
    """The next streams of the partition, about `limit` events; and whether they are the last."""
    events = await read_stream_range(connection, partition, after, up_to, limit)
    streams = by_stream(events)
    if len(events) < limit:
        return streams, True
    if len(streams) > 1:
        return streams[:-1], False  # the last may be cut off: the next range begins with it
    return [await read_streams(connection, partition, [streams[0][0].stream_id], up_to)], False


async def _load(connection: AsyncConnection, target: Target, rows: Rows) -> None:
    """COPY where every row is new, since a stream is in one range only; else added up."""
    projection = target.projection
    if not rows:
        return
    if not projection.one_row_per_order:
        await write(connection, [(target, rows)])
        return
    driver = await driver_of(connection)
    schema, _, table = target.table.partition(".")
    own = (target.generation, target.partition)
    try:
        await driver.copy_records_to_table(
            table,
            schema_name=schema,
            columns=("generation", "partition", *projection.key, *projection.values),
            records=[own + key + projection.store(values) for key, values in rows.items()],
        )
    except (ArithmeticError, TypeError, ValueError) as error:
        # What the driver cannot encode it calls a DataError everywhere but in COPY.
        raise DataError(str(error)) from error


def by_stream(events: Iterable[StoredEvent]) -> list[list[StoredEvent]]:
    """Events in the order of streams and versions, by stream."""
    return [list(stream) for _, stream in groupby(events, key=attrgetter("stream_id"))]


async def _move_marks(connection: AsyncConnection, taken: Range, partition: int) -> None:
    """In the transaction of the range's rows, and only from where the range was read: then no other
    process has done it meanwhile. After the last range the live loop may take over."""
    parameters = {
        "partition": partition,
        "after_stream": taken.after_stream,
        "names": [target.projection.name for target in taken.targets],
        "last_stream": taken.streams[-1][0].stream_id if taken.streams else None,
        "events": taken.events,
        "finished": taken.finished,
    }
    moved = await connection.execute(_MOVE_MARKS, parameters)
    if moved.rowcount != len(taken.targets):
        raise SystemExit("Another process works on this build: leaving it to that one.")
    if taken.finished:
        await move(connection, [(target, taken.up_to) for target in taken.targets])
