"""Swaps a generation in under traffic: a new one after a rebuild, the previous one to roll back."""

import logging
from collections.abc import Sequence

from asyncpg import PostgresError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from order_service import limits
from order_service.log.reading import heads
from projections.loop.advance import catch_up
from projections.loop.checkpoints import lock, lock_live, move
from projections.loop.step import step
from projections.read_models import generations
from projections.read_models.projection import Projection, Target

logger = logging.getLogger(__name__)


class Refused(Exception):
    """The command cannot be executed; the text says why and what to do."""


async def swap_in(
    engine: AsyncEngine, projection: Projection, generation: int, partitions: int
) -> None:
    """`generation` is live. No query goes back in time: the last events are applied while the live
    checkpoints are locked. Raises Refused."""
    targets = [Target(projection, generation, n, partitions) for n in range(partitions)]
    for attempt in range(1, limits.SWAP_ATTEMPTS_MAX + 1):
        async with engine.connect() as connection:
            goals = await heads(connection)
        for target in targets:
            await catch_up(engine, target, goals[target.partition])
        try:
            async with engine.begin() as connection:
                if await _swap(connection, targets):
                    return
                await connection.rollback()
        except (DBAPIError, PostgresError) as error:
            # A lock or read timed out, or `catch_up` is going to park bad data.
            lost = isinstance(error, DBAPIError) and error.connection_invalidated
            if attempt == limits.SWAP_ATTEMPTS_MAX or lost:
                raise
            cause = getattr(error, "orig", error)
            logger.warning("Retrying the swap of %s after: %s", projection.name, cause)
    raise Refused(
        f"Cannot swap {projection.name}: after {limits.SWAP_ATTEMPTS_MAX} attempts the new "
        f"generation is still more than {limits.SWAP_DELTA_EVENTS_MAX} events behind. Run the "
        "command again when there is less traffic."
    )


async def _swap(connection: AsyncConnection, targets: Sequence[Target]) -> bool:
    """True: swapped. False: too many events to apply while the live checkpoints are locked."""
    held = [await lock_live(connection, t.projection, t.partition) for t in targets]
    for live, target in zip(held, targets, strict=True):
        position, _ = await lock(connection, target)
        if live.position - position > limits.SWAP_DELTA_EVENTS_MAX:
            return False
        if live.position > position:
            await step(connection, target, position, live.position)
            await move(connection, [(target, live.position)])
    projection, generation = targets[0].projection, targets[0].generation
    old = held[0].target.generation
    if not await generations.swap(connection, projection, old, generation):
        raise Refused(f"Another replay has swapped {projection.name}: nothing was changed.")
    return True


async def roll_back(engine: AsyncEngine, projection: Projection) -> int:
    """The previous generation is live. Returns the exit code 0. Raises Refused."""
    name = projection.name
    async with engine.connect() as connection:
        live = await generations.live(connection, name)
        partitions = len(await heads(connection))
    if live.previous_generation is None:
        raise Refused(f"Cannot roll back {name}: it has no previous generation.")
    if live.previous_version != projection.version:
        raise Refused(
            f"Cannot roll back {name}: generation {live.previous_generation} was built by version "
            f"{live.previous_version} of its code, found version {projection.version}. Run the "
            "code of that version, then roll back."
        )
    await swap_in(engine, projection, live.previous_generation, partitions)
    print(f"{name}: generation {live.previous_generation} is live again.")
    return 0
