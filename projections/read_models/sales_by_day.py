"""sales_by_day: orders, revenue and units per day of the shop, currency and status.

An order counts on the day it was placed, in its current status.
"""

from datetime import date
from operator import neg, sub
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service.log.fold import FoldedOrder
from projections.read_models import projection as p
from projections.read_models.generations import live_rows
from projections.read_models.revenue import revenue
from projections.read_models.shop_time import day_of, version_here
from projections.read_models.summed import summed

Day = tuple[date, str, str]  # day, currency, status
Sales = tuple[int, ...]  # orders, revenue_minor, units, gross_minor, self_service_minor


def contribution(folded: FoldedOrder) -> tuple[Day, Sales]:
    order = folded.order
    summary = folded.summary
    earned = revenue(order, summary.status)
    day = (day_of(folded.created_at), order.currency, summary.status)
    return day, (1, earned.net, summary.units, earned.gross, earned.self_service)


def rows(change: p.Change) -> p.Rows:
    """The difference: subtracted where the order counted before, added where it counts now."""
    before, after = change
    day, sales = contribution(after)
    if before is None:
        return {day: sales}
    was_day, was = contribution(before)
    if was_day == day:
        return {day: tuple(map(sub, sales, was))}
    return {day: sales, was_day: tuple(map(neg, was))}


PROJECTION = summed(
    "sales_by_day",
    version=version_here(2),
    key={"day": "date", "currency": "text", "status": "text"},
    sums={
        "orders": "bigint",
        "revenue_minor": "numeric",
        "units": "bigint",
        "gross_minor": "numeric",
        "self_service_minor": "numeric",
    },
    rows=rows,
)

_REPORT = text(
    "SELECT day, currency, status, sum(orders)::bigint AS orders, "  # noqa: S608
    "sum(revenue_minor) AS revenue_minor, sum(units)::bigint AS units, "
    "sum(gross_minor) AS gross_minor, sum(self_service_minor) AS self_service_minor "
    f"FROM {live_rows('sales_by_day')} AND day BETWEEN :first AND :last "
    "GROUP BY day, currency, status ORDER BY day, currency, status"
)


async def report(connection: AsyncConnection, first: date, last: date) -> list[Row[Any]]:
    """The rows from `first` to `last`, both included."""
    return list((await connection.execute(_REPORT, {"first": first, "last": last})).all())
