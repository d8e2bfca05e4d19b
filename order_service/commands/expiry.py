"""Unpaid orders that are too old are canceled, by a timer in every web process.

The read model only names candidates; each is decided on its own stream, and the append proves that
the stream has not moved, so of several processes one cancels an order, once. A lock keeps them from
doing the same work side by side; nothing depends on it.
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
Created = tuple[datetime, UUID]  # an order's place in the order of creation: time, id
BEGINNING: Created = (datetime(1970, 1, 1, tzinfo=UTC), UUID(int=0))
# The oldest unpaid orders after a place that were created before a time, at most EXPIRY_BATCH,
# ascending. Given by the composition root, since a read model answers it.
FindUnpaid = Callable[[AsyncConnection, datetime, Created], Awaitable[list[Created]]]


async def expire_for_ever(
    engine: AsyncEngine, log: EventLog, find: FindUnpaid, ttl: timedelta
) -> None:
    """The background task; ends by cancellation only."""
    after = BEGINNING
    while True:
        try:
            after = await expire_some(engine, log, find, now() - ttl, after)
        except Exception:  # a database that is away, or a mistake here, must not end it for good
            logger.exception("expiring orders failed")
            after = BEGINNING
        if after == BEGINNING:
            await asyncio.sleep(limits.EXPIRY_INTERVAL_S)


async def expire_some(
    engine: AsyncEngine,
    log: EventLog,
    find: FindUnpaid,
    placed_before: datetime,
    after: Created,
) -> Created:
    """The next unpaid orders after `after` are canceled, a bounded number of them. Answers where to
    go on: the beginning, where those were the last or another process is at it."""
    async with engine.connect() as pooled:
        # No transaction stays open while orders are canceled on other connections.
        connection = await pooled.execution_options(isolation_level="AUTOCOMMIT")
        if not (await connection.execute(_TRY_LOCK, _LOCK)).scalar_one():
            return BEGINNING
        try:
            found = await find(connection, placed_before, after)
            await _expire(log, [order_id for _, order_id in found])
        finally:
            await connection.execute(_UNLOCK, _LOCK)  # the pool keeps the session, and its locks
    return found[-1] if len(found) == limits.EXPIRY_BATCH else BEGINNING


async def _expire(log: EventLog, order_ids: list[UUID]) -> None:
    turns = asyncio.Semaphore(limits.EXPIRY_CONCURRENCY)

    async def expire(order_id: UUID) -> None:
        change = Change(
            command=lambda _: ExpireOrder(),
            metadata=Metadata("system"),
            visible=lambda _: None,
            authorize=lambda: None,
        )
        async with turns:
            try:
                await change_order(log, order_id, change)
            except OrderServiceError as error:
                logger.warning("order %s was not expired: %s", order_id, error.code)
            except Exception:  # one order must not hold up the others
                logger.exception("order %s was not expired", order_id)

    async with asyncio.TaskGroup() as group:
        for order_id in order_ids:
            group.create_task(expire(order_id))
