"""A timer in every web process cancels unpaid orders that are too old.

The read model only proposes candidates. Each is decided on its own stream, and the append proves
that the stream has not changed, so an order is canceled once, however many processes try. An
advisory lock saves them from doing the same work at the same time; correctness does not need it.
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
from order_service.domain.commands import ExpireOrder
from order_service.errors import OrderServiceError
from order_service.ids import now
from order_service.log.codec import Metadata
from order_service.log.event_log import EventLog

logger = logging.getLogger(__name__)

EXPIRY_LOCK = 0x657870697279  # "expiry"; advisory locks are per database
_LOCK = {"lock": EXPIRY_LOCK}
_TRY_LOCK = text("SELECT pg_try_advisory_lock(:lock)")
_UNLOCK = text("SELECT pg_advisory_unlock(:lock)")
Cursor = tuple[datetime, UUID]  # creation time and id of an order; sorts by creation
BEGINNING: Cursor = (datetime(1970, 1, 1, tzinfo=UTC), UUID(int=0))
# Finds the oldest unpaid orders after a cursor that were created before a time: at most
# EXPIRY_BATCH, ascending. The composition root passes it in, because it reads a read model.
FindUnpaid = Callable[[AsyncConnection, datetime, Cursor], Awaitable[list[Cursor]]]


async def expire_for_ever(
    engine: AsyncEngine, log: EventLog, find: FindUnpaid, ttl: timedelta
) -> None:
    """The background task: expires orders until it is cancelled."""
    after = BEGINNING
    while True:
        try:
            after = await expire_some(engine, log, find, now() - ttl, after)
        except Exception:  # neither an outage nor a bug may end the task for good
            logger.exception(
                "cannot expire unpaid orders; retrying in %s s", limits.EXPIRY_INTERVAL_S
            )
            after = BEGINNING
        if after == BEGINNING:
            await asyncio.sleep(limits.EXPIRY_INTERVAL_S)


async def expire_some(
    engine: AsyncEngine,
    log: EventLog,
    find: FindUnpaid,
    placed_before: datetime,
    after: Cursor,
) -> Cursor:
    """Cancels the next unpaid orders after `after`, at most EXPIRY_BATCH. Returns the next call's
    `after`: BEGINNING after the last order, or if another process holds the lock."""
    async with engine.connect() as pooled:
        # Autocommit: no transaction stays open while other connections cancel the orders.
        connection = await pooled.execution_options(isolation_level="AUTOCOMMIT")
        if not (await connection.execute(_TRY_LOCK, _LOCK)).scalar_one():
            return BEGINNING
        try:
            unpaid = await find(connection, placed_before, after)
            await _expire(log, [order_id for _, order_id in unpaid])
        finally:
            await connection.execute(_UNLOCK, _LOCK)  # else the pooled session would keep the lock
    return unpaid[-1] if len(unpaid) == limits.EXPIRY_BATCH else BEGINNING


async def _expire(log: EventLog, order_ids: list[UUID]) -> None:
    slots = asyncio.Semaphore(limits.EXPIRY_CONCURRENCY)

    async def expire(order_id: UUID) -> None:
        change = Change(
            command=lambda _: ExpireOrder(),
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
