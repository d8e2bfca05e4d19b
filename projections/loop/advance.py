"""The loop that brings one read model in one partition up to the log's head: `advance`.

A hint only starts the loop; checkpoint and head define the work. A worker that finds the checkpoint
locked returns: the holder reads the head again after it has released the lock, so it also projects
the events of that hint.
"""

import logging
import time
from contextlib import AsyncExitStack

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from order_service import limits
from order_service.cache.order_cache import OrderCache
from order_service.infra import failpoints
from order_service.infra.postgres import is_data_error
from order_service.log.reading import read_partition
from order_service.telemetry.metrics import PROJECTED
from projections.loop import checkpoints
from projections.loop.checkpoints import LockedCheckpoint, NotedTry
from projections.loop.pauses import pauses
from projections.loop.step import park, step
from projections.read_models.projection import Projection, Rows, Target
from projections.read_models.registry import PROJECTIONS

logger = logging.getLogger(__name__)


async def advance(
    engine: AsyncEngine,
    cache: OrderCache,
    projection_name: str,
    partition: int,
    redelivered: bool = False,
) -> bool:
    """False: the live generation is at the log's head, or another worker holds it, or the partition
    is paused. True: ADVANCE_TIME_S is up and events are left, so the caller sends another task.

    `redelivered`: one of the next events may have killed an earlier worker. Raises errors that no
    stream causes (the database is away, too many streams fail) and pauses the partition.
    """
    if pauses.is_paused(projection_name, partition):
        return False
    deadline = time.monotonic() + limits.ADVANCE_TIME_S
    projection = PROJECTIONS[projection_name]
    try:
        while await _advance_batch(engine, cache, projection, partition, redelivered):
            if time.monotonic() >= deadline:
                return True
    except Exception:
        pauses.begin(projection_name, partition)
        logger.error("Paused %s in partition %d after an error.", projection_name, partition)
        raise
    return False


async def _advance_batch(
    engine: AsyncEngine,
    cache: OrderCache,
    projection: Projection,
    partition: int,
    redelivered: bool,
) -> bool:
    """One batch is committed and its rows are in the cache; True if more events follow."""
    rows = await _commit_batch(engine, projection, partition, redelivered)
    if rows is None:
        return False
    await failpoints.reach("advance-committed")
    pauses.end(projection.name, partition)
    if rows and projection.refresh:
        await projection.refresh(cache, rows)
    await failpoints.reach("advance-told")
    # Read after the commit and without the lock. Another worker may have returned because of the
    # lock; the events of its hint were committed before this read, so this read finds them.
    async with engine.connect() as connection:
        return await checkpoints.is_behind(connection, projection, partition)


async def _commit_batch(
    engine: AsyncEngine, projection: Projection, partition: int, redelivered: bool
) -> Rows | None:
    """The committed rows, for the cache; None if this worker may not move the checkpoint."""
    singly = False
    noted: NotedTry | None = None
    async with AsyncExitStack() as exits:
        while True:  # at most three passes: note a suspect, the batch as a whole, event by event
            try:
                async with engine.begin() as connection:
                    held = await _lock_live_of_this_version(connection, projection, partition)
                    if held is None:
                        break
                    if held.head <= held.position:
                        return {}
                    one_event = redelivered or held.suspect_position is not None
                    if one_event and noted is None:
                        if not await exits.enter_async_context(
                            checkpoints.suspect_lock(engine, held.target)
                        ):
                            return None
                        # Committed before the try: the count stays if the event kills us.
                        noted = await checkpoints.note_suspect(connection, held)
                        continue
                    limit = 1 if one_event else limits.ADVANCE_BATCH_EVENTS
                    return await _apply(connection, held, limit, singly)
            except BaseException as error:
                if isinstance(error, DBAPIError) and not singly and is_data_error(error):
                    singly = True
                    continue
                # The event itself may cause a MemoryError, so such a try counts.
                if noted is not None and not isinstance(error, MemoryError):
                    await checkpoints.note_survival(engine, noted)
                raise
        if noted is not None:  # another worker holds the checkpoint, so nothing was tried
            await checkpoints.note_survival(engine, noted)
        return None


async def _apply(
    connection: AsyncConnection, held: LockedCheckpoint, limit: int, singly: bool
) -> Rows:
    if held.next_is_suspect and held.suspect_tries > limits.SUSPECT_TRIES_MAX:
        await _park_suspect(connection, held)  # the step below then ignores its stream
    up_to = min(held.position + limit, held.head)
    rows = await step(connection, held.target, held.position, up_to, singly=singly)
    await failpoints.reach("advance-written")
    await checkpoints.move(connection, [(held.target, up_to)])
    await failpoints.reach("advance-moved")
    PROJECTED[held.target.projection.name].inc(up_to - held.position)
    return rows


async def _lock_live_of_this_version(
    connection: AsyncConnection, projection: Projection, partition: int
) -> LockedCheckpoint | None:
    """The live checkpoint, locked; None if another worker holds it or a replay is needed."""
    held = await checkpoints.try_lock_live(connection, projection, partition)
    if held is not None and held.replay_needed:
        logger.warning(
            "Replay needed: %s is live in version %d, but this code has version %d. "
            "Run `./entrypoint.sh replay %s`.",
            projection.name,
            held.projection_version,
            projection.version,
            projection.name,
        )
        pauses.begin(projection.name, partition)
        return None
    return held


async def _park_suspect(connection: AsyncConnection, held: LockedCheckpoint) -> None:
    """The stream of the next event, which has killed each worker that tried it, is parked."""
    partition = held.target.partition
    event = (await read_partition(connection, partition, held.position, 1))[0]
    error = f"{limits.SUSPECT_TRIES_MAX} workers died while they applied this event"
    await park(connection, held.target, event, event.version - 1, error)


async def catch_up(engine: AsyncEngine, target: Target, up_to: int | None = None) -> int:
    """A generation, live or not, is at `up_to` or, by default, at the log's head. Returns its
    position. The cache is not refreshed: it holds no orders of a generation that is not live."""
    singly = False
    while True:
        try:
            async with engine.begin() as connection:
                position, head = await checkpoints.lock(connection, target)
                goal = head if up_to is None else up_to
                if position >= goal:
                    return position
                batch_end = min(position + limits.ADVANCE_BATCH_EVENTS, goal)
                await step(connection, target, position, batch_end, singly=singly)
                await checkpoints.move(connection, [(target, batch_end)])
                singly = False
        except DBAPIError as error:
            if singly or not is_data_error(error):
                raise
            singly = True
