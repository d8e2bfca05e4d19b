"""One step of a projection: read the next events, write their rows, park the streams that fail.

The caller opens and commits the transaction. In it the caller locks the checkpoint's row and moves
it, so every event counts once, and a parking, a retry or a skip never interleaves with a step.
"""

import logging
from collections.abc import Collection
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, bindparam, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service import limits
from order_service.infra.postgres import driver_of, is_data_error
from order_service.log.codec import StoredEvent
from order_service.log.fold import fold_stored
from projections.loop.rows import Stream, project, read_new, read_old, read_skips
from projections.read_models.projection import Rows, Target, write

logger = logging.getLogger(__name__)

_PARKED = text(
    "SELECT stream_id FROM dead_letters WHERE name = :name AND generation = :generation "
    "AND partition = :partition AND stream_id = ANY (:streams)"
).bindparams(bindparam("streams", type_=ARRAY(Uuid)))
_PARK = text(
    "INSERT INTO dead_letters "
    "(name, generation, partition, stream_id, version, position, last_version, error) VALUES "
    "(:name, :generation, :partition, :stream_id, :version, :position, :last_version, :error) "
    "ON CONFLICT (name, generation, partition, stream_id) DO UPDATE SET "
    "version = excluded.version, position = excluded.position, "
    "last_version = excluded.last_version, error = excluded.error, parked_at = clock_timestamp()"
)
_PARKED_RECENTLY = text(
    "SELECT count(*) FROM dead_letters WHERE name = :name AND generation = :generation "
    "AND partition = :partition AND parked_at > clock_timestamp() - interval '1 minute'"
)
_ERROR_LENGTH_MAX = 2_000


class TooManyParkings(Exception):
    """So many streams fail within a minute that the code or the database must be at fault."""


async def step(
    connection: AsyncConnection, target: Target, after: int, up_to: int, *, singly: bool = False
) -> Rows:
    """Every event in (after, up_to] is in the rows, or its stream is parked. Returns, for the
    cache, the rows of orders without skipped events.

    `singly`: event by event with savepoints. Used to repeat a step that ended in a data error, in a
    new transaction, since the error has ended the first one.
    """
    projection = target.projection
    driver = await driver_of(connection)
    new = await read_new(driver, [(target.partition, after, up_to)])
    for stream_id in await _parked(connection, target, new):
        del new[stream_id]
    streams = (await read_old(driver, new))[target.partition]
    skips = await read_skips(connection, target.partition)
    projected = project([target], streams, skips, singly=singly)[projection.name]
    if projected.rows:
        await write(connection, [(target, projected.rows)])
    complete: Rows = {}
    if projection.refresh:
        kept = projected.rows.items()
        complete = {key: row for key, row in kept if (projection.name, key[0]) not in skips}
    for stream in projected.failing:
        complete |= await step_singly(connection, target, stream)
    return complete


async def _parked(
    connection: AsyncConnection, target: Target, streams: Collection[UUID]
) -> list[UUID]:
    """Those of the streams that are parked."""
    parameters = target.identity | {"streams": list(streams)}
    return list((await connection.execute(_PARKED, parameters)).scalars())


async def step_singly(connection: AsyncConnection, target: Target, stream: Stream) -> Rows:
    """The stream's new events are in the rows up to the first that fails; there the stream is
    parked. Returns the stream's last row, for the cache; none if an event of it is skipped."""
    folded = None
    last: Rows = {}
    events = [*stream.old, *stream.new]
    for number, event in enumerate(events):
        try:
            following = fold_stored([event], target.partitions, folded, skipping=True)
            assert following is not None
            if number >= len(stream.old):
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
    return last if events and events[-1].version == len(events) else {}


async def park(
    connection: AsyncConnection, target: Target, event: StoredEvent, last_version: int, error: str
) -> None:
    """The stream is parked at `event`, its rows as of `last_version`. Raises TooManyParkings."""
    parameters = target.identity | {
        "stream_id": event.stream_id,
        "version": event.version,
        "position": event.position,
        "last_version": last_version,
        "error": error.replace("\0", "")[:_ERROR_LENGTH_MAX],
    }
    await connection.execute(_PARK, parameters)
    recently = (await connection.execute(_PARKED_RECENTLY, target.identity)).scalar_one()
    if recently > limits.PARKINGS_PER_MINUTE_MAX:
        raise TooManyParkings(
            f"Cannot project {target.projection.name} in partition {target.partition}: more than "
            f"{limits.PARKINGS_PER_MINUTE_MAX} streams failed within a minute, the last one at "
            f"position {event.position} with {error}. Fix the code; the projection then continues."
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
