"""One order's events from the log, for a caller that may see them.

The order's first event, which is read along, names its owner. Another user's order looks like one
that does not exist.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from order_service.documents.event import Origin, Viewer, origin_of
from order_service.errors import OrderNotFound, UnreadableEvent
from order_service.infra.postgres import query
from order_service.log.codec import StoredEvent
from order_service.log.event_log import EventLog
from order_service.log.reading import partition_of, read_first_events
from order_service.web.identity import Caller, check_scope

T = TypeVar("T")
Read = Callable[[AsyncConnection, UUID, int], Awaitable[T]]


@dataclass(frozen=True, slots=True)
class Seen:
    """An order, and as what its caller sees it. `currency` None: its first event is unreadable."""

    order_id: UUID
    partition: int
    currency: str | None
    viewer: Viewer


async def read_seen(
    engine: AsyncEngine, log: EventLog, order: str, caller: Caller, read: Read[T]
) -> tuple[Seen, T]:
    """What `read` finds, given the order's id and partition. Raises OrderNotFound, RuleViolation
    for an API key without the scope `orders:read`.

    `order`: its id or its number.
    """
    check_scope(caller, "orders:read")
    order_id = await log.resolve(order)
    partition = partition_of(order_id, log.partitions)

    async def load(connection: AsyncConnection) -> tuple[StoredEvent | None, T]:
        first = await read_first_events(connection, partition, [order_id])
        return first.get(order_id), await read(connection, order_id, partition)

    first, found = await query(engine, load)
    origin = _origin(first, caller)
    if not caller.sees_order(order_id, origin.owner if origin else None):
        raise OrderNotFound
    seen = Seen(
        order_id,
        partition,
        origin.currency if origin else None,
        "staff" if caller.acts_for_shop else "owner",
    )
    return seen, found


def _origin(first: StoredEvent | None, caller: Caller) -> Origin | None:
    """None, for the shop only: the first event is unreadable. Its owner is then unknown, so any
    other caller gets the error, redacted by `identity`."""
    if first is None:
        raise OrderNotFound
    try:
        return origin_of(first)
    except UnreadableEvent:
        if caller.acts_for_shop:
            return None
        raise
