"""One step of a projection, inside a transaction that its caller opens and commits: read the next
events, fold their streams, write rows, park what cannot go on.

The caller holds the checkpoint's row lock and moves it in the same transaction; so every event
counts once, and parkings, retries and skips never cross a step.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service import limits
from order_service.log.codec import StoredEvent
from order_service.log.fold import fold_stored
from projections.read_models.projection import Change, Rows, Target, write

logger = logging.getLogger(__name__)

_NOT_SKIPPED = (
    "NOT EXISTS (SELECT FROM skips s WHERE s.name = :name AND s.partition = e.partition "
    "AND s.stream_id = e.stream_id AND s.version = e.version)"
)
_COLUMNS = (
    "e.partition, e.position, e.stream_id, e.version, e.event_id, e.type, e.schema_version, "
    "e.data::text, e.metadata::text, e.recorded_at"
)
# OFFSET 0 keeps the planner from turning "each of these streams, by its key" into a scan of the
# whole partition.
_BATCH = text(
    "SELECT r.* FROM (SELECT DISTINCT n.stream_id FROM events n WHERE n.partition = :partition "  # noqa: S608
    "AND n.position > :after AND n.position <= :up_to AND NOT EXISTS (SELECT FROM dead_letters d "
    "WHERE d.name = :name AND d.generation = :generation AND d.partition = :partition "
    "AND d.stream_id = n.stream_id)) b CROSS JOIN LATERAL "
    f"(SELECT {_COLUMNS} FROM events e WHERE e.partition = :partition "
    f"AND e.stream_id = b.stream_id AND e.position <= :up_to AND {_NOT_SKIPPED} "
    "ORDER BY e.version OFFSET 0) r ORDER BY r.stream_id, r.version"
)
_STREAM = text(
    f"SELECT {_COLUMNS} FROM events e WHERE e.partition = :partition AND e.stream_id = :stream_id "  # noqa: S608
    f"AND e.position <= :up_to AND {_NOT_SKIPPED} ORDER BY e.version"
)
_PARK = text(
    "INSERT INTO dead_letters "
    "(name, generation, partition, stream_id, version, position, last_version, error) VALUES "
    "(:name, :generation, :partition, :stream_id, :version, :position, :last_version, :error) "
    "ON CONFLICT (name, generation, partition, stream_id) DO UPDATE SET "
    "version = excluded.version, position = excluded.position, "
    "last_version = excluded.last_version, error = excluded.error, parked_at = clock_timestamp()"
)
_PARKED_LATELY = text(
    "SELECT count(*) FROM dead_letters WHERE name = :name AND generation = :generation "
    "AND partition = :partition AND parked_at > clock_timestamp() - interval '1 minute'"
)
_ERROR_LENGTH_MAX = 2_000


class TooManyParkings(Exception):
    """So many streams fail at once that the code or the database must be wrong, not the streams."""


async def step(
    connection: AsyncConnection, target: Target, after: int, up_to: int, *, singly: bool = False
) -> Rows:
    """Every event in (after, up_to] is in the rows, or its stream is parked. Returns those rows of
    one-row-per-order projections that show a whole stream, for the cache.

    `singly`: event by event with savepoints; what to do after a step ended in a data error (its
    transaction is then gone, so the caller repeats the step in a new one).
    """
    found = (await connection.execute(_BATCH, target.identity | _range(after, up_to))).all()
    rows: Rows = {}
    whole: Rows = {}
    failing = []
    for stream in by_stream(StoredEvent(*event) for event in found):
        made = None if singly else _rows_of(target, stream, after)
        if made is None:
            failing.append(stream)
            continue
        target.projection.merge(rows, made)
        if stream[-1].version == len(stream):  # nothing was skipped
            whole |= made
    if rows:
        await write(connection, [(target, rows)])
    for stream in failing:
        applied = max((e.version for e in stream if e.position <= after), default=0)
        whole |= await step_singly(connection, target, stream, applied)
    return whole


def by_stream(events: Iterable[StoredEvent]) -> Iterator[list[StoredEvent]]:
    """Events in the order of streams and versions, a stream at a time."""
    for _, stream in groupby(events, key=attrgetter("stream_id")):
        yield list(stream)


def _range(after: int, up_to: int) -> dict[str, int]:
    return {"after": after, "up_to": up_to}


def _rows_of(target: Target, stream: Sequence[StoredEvent], after: int) -> Rows | None:
    """What the events after position `after` make of the rows; None if one of them is poison."""
    try:
        change = change_of(stream, target.partitions, after)
        return {} if change is None else target.projection.rows(change)
    except MemoryError:
        raise
    except Exception:  # whatever upcast, evolve or the projection raises is this stream's fault
        return None


def change_of(stream: Sequence[StoredEvent], partitions: int, after: int) -> Change | None:
    """A whole stream as the order before and after its events beyond position `after`; None if
    there are none."""
    old = [event for event in stream if event.position <= after]
    new = stream[len(old) :]
    before = fold_stored(old, partitions, skipping=True)
    now = fold_stored(new, partitions, before, skipping=True)
    return (before, now) if new and now is not None else None


async def step_singly(
    connection: AsyncConnection, target: Target, stream: Sequence[StoredEvent], applied: int
) -> Rows:
    """The stream's events beyond version `applied` are in the rows, up to the first that fails: at
    that one the stream is parked. Returns the stream's last row."""
    folded = None
    last: Rows = {}
    for event in stream:
        try:
            following = fold_stored([event], target.partitions, folded, skipping=True)
            assert following is not None
            if event.version > applied:
                rows = target.projection.rows((folded, following))
                async with connection.begin_nested():
                    await write(connection, [(target, rows)])
                last = rows
        except MemoryError:
            raise
        except Exception as error:
            if isinstance(error, DBAPIError) and not is_data_error(error):
                raise
            await park(connection, target, event, folded.version if folded else 0, repr(error))
            return {}
        folded = following
    return last if stream and stream[-1].version == len(stream) else {}


def is_data_error(error: Exception) -> bool:
    """SQLSTATE class 22 (which the driver's own encoding errors have too) or 23: the same data
    would fail again."""
    state = getattr(getattr(error, "orig", error), "sqlstate", None) or ""
    return state[:2] in ("22", "23")


async def park(
    connection: AsyncConnection, target: Target, event: StoredEvent, last_version: int, error: str
) -> None:
    """The stream waits at `event`, with its rows as of `last_version`; all others go on."""
    parameters = target.identity | {
        "stream_id": event.stream_id,
        "version": event.version,
        "position": event.position,
        "last_version": last_version,
        "error": error.replace("\0", "")[:_ERROR_LENGTH_MAX],
    }
    await connection.execute(_PARK, parameters)
    lately = (await connection.execute(_PARKED_LATELY, target.identity)).scalar_one()
    if lately > limits.PARKINGS_PER_MINUTE_MAX:
        raise TooManyParkings(
            f"Cannot go on with {target.projection.name} in partition {target.partition}: "
            f"more than {limits.PARKINGS_PER_MINUTE_MAX} streams failed within a minute, the last "
            f"one at position {event.position} with {error}. Mend the code, then it goes on."
        )
    logger.error(
        "Parked stream %s of %s generation %d at partition %d, position %d: %s",
        event.stream_id,
        target.projection.name,
        target.generation,
        target.partition,
        event.position,
        error,
    )


async def read_unskipped(
    connection: AsyncConnection, target: Target, stream_id: UUID, up_to: int
) -> list[StoredEvent]:
    """One stream as this projection sees it, up to a position."""
    parameters = target.identity | {"stream_id": stream_id, "up_to": up_to}
    del parameters["generation"]
    found = (await connection.execute(_STREAM, parameters)).all()
    return [StoredEvent(*event) for event in found]
