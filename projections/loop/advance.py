"""The loop that keeps one read model up with the log in one partition: `advance`.

A hint says only "look"; what there is to do is read from checkpoint and head. A worker that finds
its checkpoint locked returns: the holder looks at the head once more after it has released the
lock, so the events behind that hint are not forgotten.
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
from projections.loop.checkpoints import Held, Noted
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
    """The live generation is at the log's head, or another worker is at it, or ADVANCE_TIME_S is
    up: then True, and the caller asks for another turn.

    `redelivered`: an earlier worker may have died of one of the next events. Raises what no stream
    is to blame for (the database is away, far too many streams fail); for a while after that the
    partition is left alone.
    """
    if pauses.holds(projection_name, partition):
        return False
    deadline = time.monotonic() + limits.ADVANCE_TIME_S
    projection = PROJECTIONS[projection_name]
    try:
        while await _turn(engine, cache, projection, partition, redelivered):
            if time.monotonic() >= deadline:
                return True
    except Exception:
        pauses.begin(projection_name, partition)
        logger.error("%s stops in partition %d for a while.", projection_name, partition)
        raise
    return False


async def _turn(
    engine: AsyncEngine, cache: OrderCache, projection: Projection, partition: int, careful: bool
) -> bool:
    """One batch; True if there is more to do, here."""
    rows = await _batch(engine, projection, partition, careful)
    if rows is None:
        return False
    await failpoints.reach("advance-committed")
    pauses.end(projection.name, partition)
    if rows and projection.refresh:
        await projection.refresh(cache, rows)
    await failpoints.reach("advance-told")
    # After the commit, and without the lock: a worker that found the lock taken brought a hint of
    # events that were committed before this look.
    async with engine.connect() as connection:
        return await checkpoints.is_behind(connection, projection, partition)


async def _batch(
    engine: AsyncEngine, projection: Projection, partition: int, careful: bool
) -> Rows | None:
    """Rows for the cache; None if the checkpoint is not ours to move."""
    singly = False
    noted: Noted | None = None
    async with AsyncExitStack() as exits:
        while True:  # at most three times: to note a suspect, in one piece, and event by event
            try:
                async with engine.begin() as connection:
                    held = await _take(connection, projection, partition)
                    if held is None:
                        break
                    if held.head <= held.position:
                        return {}
                    one = careful or held.suspect_position is not None
                    if one and noted is None:
                        if not await exits.enter_async_context(
                            checkpoints.alone(engine, held.target)
                        ):
                            return None
                        # Committed before the event is tried: if that kills us, the count stands.
                        noted = await checkpoints.note_suspect(connection, held)
                        continue
                    limit = 1 if one else limits.ADVANCE_BATCH_EVENTS
                    return await _apply(connection, held, limit, singly)
            except BaseException as error:
                if isinstance(error, DBAPIError) and not singly and is_data_error(error):
                    singly = True
                    continue
                # A MemoryError may well be the event's own.
                if noted is not None and not isinstance(error, MemoryError):
                    await checkpoints.note_survival(engine, noted)
                raise
        if noted is not None:  # whoever only looked had the checkpoint: nothing was tried
            await checkpoints.note_survival(engine, noted)
        return None


async def _apply(connection: AsyncConnection, held: Held, limit: int, singly: bool) -> Rows:
    if held.suspected and held.suspect_tries > limits.SUSPECT_TRIES_MAX:
        await _park_suspect(connection, held)  # the step below then passes over its stream
    up_to = min(held.position + limit, held.head)
    rows = await step(connection, held.target, held.position, up_to, singly=singly)
    await failpoints.reach("advance-written")
    await checkpoints.move(connection, [(held.target, up_to)])
    await failpoints.reach("advance-moved")
    PROJECTED[held.target.projection.name].inc(up_to - held.position)
    return rows


async def _take(connection: AsyncConnection, projection: Projection, partition: int) -> Held | None:
    held = await checkpoints.take_live(connection, projection, partition)
    if held is not None and held.replay_needed:
        logger.warning(
            "Replay needed: %s is live in version %d, this code has version %d. "
            "Run `./entrypoint.sh replay %s`.",
            projection.name,
            held.projection_version,
            projection.version,
            projection.name,
        )
        pauses.begin(projection.name, partition)
        return None
    return held


async def _park_suspect(connection: AsyncConnection, held: Held) -> None:
    """The next event has killed its worker each time: its stream waits for a person."""
    partition = held.target.partition
    event = (await read_partition(connection, partition, held.position, 1))[0]
    error = f"the worker died {limits.SUSPECT_TRIES_MAX} times while it applied this event"
    await park(connection, held.target, event, event.version - 1, error)


async def catch_up(engine: AsyncEngine, target: Target, up_to: int | None = None) -> int:
    """A generation that need not be the live one stands at `up_to`, or at the log's head; returns
    where. The cache is not refreshed: it never showed this generation."""
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
