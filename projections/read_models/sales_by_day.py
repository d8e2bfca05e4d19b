"""sales_by_day: orders, revenue and units per UTC day, currency and status.

An order counts on the day it was placed, in its current status.
"""

from datetime import UTC, date
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service.log.fold import FoldedOrder
from projections.read_models import projection as p
from projections.read_models.generations import live_rows
from projections.read_models.summed import summed

Day = tuple[date, str, str]  # day, currency, status
Sales = tuple[int, int, int]  # orders, revenue_minor, units


def contribution(folded: FoldedOrder) -> tuple[Day, Sales]:
    order = folded.order
    summary = folded.summary
    day = (folded.created_at.astimezone(UTC).date(), order.currency, summary.status)
    return day, (1, summary.total_minor, summary.units)


def rows(change: p.Change) -> p.Rows:
    """The difference: subtracted where the order counted before, added where it counts now."""
    before, after = change
    day, (orders, revenue, units) = contribution(after)
    if before is None:
        return {day: (orders, revenue, units)}
    was_day, (was_orders, was_revenue, was_units) = contribution(before)
    if was_day == day:
        return {day: (orders - was_orders, revenue - was_revenue, units - was_units)}
    return {
        day: (orders, revenue, units),
        was_day: (-was_orders, -was_revenue, -was_units),
    }


PROJECTION = summed(
    "sales_by_day",
    version=1,
    key={"day": "date", "currency": "text", "status": "text"},
    sums={"orders": "bigint", "revenue_minor": "numeric", "units": "bigint"},
    rows=rows,
)

_REPORT = text(
    "SELECT day, currency, status, sum(orders)::bigint AS orders, "  # noqa: S608
    "sum(revenue_minor) AS revenue_minor, sum(units)::bigint AS units "
    f"FROM {live_rows('sales_by_day')} AND day BETWEEN :first AND :last "
    "GROUP BY day, currency, status ORDER BY day, currency, status"
)


async def report(connection: AsyncConnection, first: date, last: date) -> list[Row[Any]]:
    """The rows from `first` to `last`, both included."""
    return list((await connection.execute(_REPORT, {"first": first, "last": last})).all())
