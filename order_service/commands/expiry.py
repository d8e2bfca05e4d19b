"""Timers in every web process: one cancels unpaid orders that are too old, another closes
authorizations that have expired.

The read model only proposes candidates. Each is decided on its own stream, and the append proves
that the stream has not changed, so an order changes once, however many processes try. An advisory
lock saves them from doing the same work at the same time; correctness does not need it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from order_service import limits
from order_service.commands.handler import Change, change_order
from order_service.domain.commands import OrderCommand
from order_service.domain.immutable import immutable
from order_service.errors import OrderServiceError
from order_service.ids import now
from order_service.log.codec import Metadata
from order_service.log.event_log import EventLog

logger = logging.getLogger(__name__)

_TRY_LOCK = text("SELECT pg_try_advisory_lock(:lock)")
_UNLOCK = text("SELECT pg_advisory_unlock(:lock)")
Cursor = tuple[datetime, UUID]  # the time by which the candidates are sorted, and an order's id
BEGINNING: Cursor = (datetime(1970, 1, 1, tzinfo=UTC), UUID(int=0))


@immutable
class Timer:
    """`find`: the next candidates after a cursor, before a time, at most EXPIRY_BATCH, ascending;
    the composition root passes it in, because it reads a read model. `age`: how long ago that time
    is. `lock`: of the database's advisory locks. `what`: for logs."""

    what: str
    lock: int
    find: Callable[[AsyncConnection, datetime, Cursor], Awaitable[list[Cursor]]]
    command: Callable[[], OrderCommand]
    age: timedelta = timedelta(0)


async def expire_for_ever(engine: AsyncEngine, log: EventLog, timer: Timer) -> None:
    """The background task: sends commands until it is cancelled."""
    after = BEGINNING
    while True:
        try:
            after = await expire_some(engine, log, timer, now() - timer.age, after)
        except Exception:  # neither an outage nor a bug may end the task for good
            logger.exception(
                "cannot expire %s; retrying in %s s", timer.what, limits.EXPIRY_INTERVAL_S
            )
            after = BEGINNING
        if after == BEGINNING:
            await asyncio.sleep(limits.EXPIRY_INTERVAL_S)


async def expire_some(
    engine: AsyncEngine, log: EventLog, timer: Timer, before: datetime, after: Cursor
) -> Cursor:
    """Sends the command to the next candidates after `after`, at most EXPIRY_BATCH. Returns the
    next call's `after`: BEGINNING after the last one, or if another process holds the lock."""
    lock = {"lock": timer.lock}
    async with engine.connect() as pooled:
        # Autocommit: no transaction stays open while other connections change the orders.
        connection = await pooled.execution_options(isolation_level="AUTOCOMMIT")
        if not (await connection.execute(_TRY_LOCK, lock)).scalar_one():
            return BEGINNING
        try:
            found = await timer.find(connection, before, after)
            await _expire(log, timer.command, [order_id for _, order_id in found])
        except BaseException:
            # The pooled session would keep the lock. A statement on a connection whose last one was
            # cancelled fails, and that error would replace the cancellation.
            await connection.invalidate()
            raise
        await connection.execute(_UNLOCK, lock)
    return found[-1] if len(found) == limits.EXPIRY_BATCH else BEGINNING


async def _expire(
    log: EventLog, command: Callable[[], OrderCommand], order_ids: list[UUID]
) -> None:
    slots = asyncio.Semaphore(limits.EXPIRY_CONCURRENCY)

    async def expire(order_id: UUID) -> None:
        change = Change(
            command=lambda _: command(),
            metadata=Metadata("system"),
            check_visible=lambda _: None,
            authorize=lambda: None,
        )
        async with slots:
            try:
                await change_order(log, order_id, change)
            except OrderServiceError as error:
                logger.warning("cannot expire order %s: %s", order_id, error.code)
            except Exception:  # one order must not stop the others
                logger.exception("cannot expire order %s", order_id)

    async with asyncio.TaskGroup() as group:
        for order_id in order_ids:
            group.create_task(expire(order_id))
