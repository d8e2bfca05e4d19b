"""The orders that timers change: unpaid for too long, or with an authorization that has expired."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service import limits
from projections.read_models.generations import live_rows

UNPAID = text(
    f"SELECT created_at, order_id FROM {live_rows('order_view')} "  # noqa: S608
    "AND status = 'PENDING' AND payment_status = 'UNPAID' AND on_hold IS NOT TRUE "
    "AND (created_at, order_id) > (:after_at, :after_id) AND created_at < :placed_before "
    "ORDER BY created_at, order_id LIMIT :limit"
)


async def unpaid_orders(
    connection: AsyncConnection, placed_before: datetime, after: tuple[datetime, UUID]
) -> list[tuple[datetime, UUID]]:
    """Creation time and id of at most EXPIRY_BATCH orders after `after`, ascending."""
    parameters = {
        "after_at": after[0],
        "after_id": after[1],
        "placed_before": placed_before,
        "limit": limits.EXPIRY_BATCH,
    }
    rows = await connection.execute(UNPAID, parameters)
    return [(row.created_at, UUID(int=row.order_id.int)) for row in rows]


EXPIRED_HOLDS = text(
    f"SELECT hold_expires_at, order_id FROM {live_rows('order_view')} "  # noqa: S608
    "AND (hold_expires_at, order_id) > (:after_at, :after_id) AND hold_expires_at <= :before "
    "ORDER BY hold_expires_at, order_id LIMIT :limit"
)


async def expired_holds(
    connection: AsyncConnection, before: datetime, after: tuple[datetime, UUID]
) -> list[tuple[datetime, UUID]]:
    """Time and id of at most EXPIRY_BATCH orders after `after` whose first open authorization
    expires before that time, ascending."""
    parameters = {
        "after_at": after[0],
        "after_id": after[1],
        "before": before,
        "limit": limits.EXPIRY_BATCH,
    }
    rows = await connection.execute(EXPIRED_HOLDS, parameters)
    return [(row.hold_expires_at, UUID(int=row.order_id.int)) for row in rows]
