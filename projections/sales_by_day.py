"""sales_by_day: orders, revenue and units per UTC day, currency and status.

An order counts on the day it was placed, in the status it has now.
"""

from datetime import UTC, date
from functools import cache
from typing import Any

from sqlalchemy import BigInteger, Date, Numeric, Row, SmallInteger, Text, TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service.log.fold import FoldedOrder
from projections import projection as p

Day = tuple[date, str, str]  # day, currency, status
Sales = tuple[int, int, int]  # orders, revenue_minor, units


def contribution(folded: FoldedOrder) -> tuple[Day, Sales]:
    order = folded.order
    standing = folded.standing
    day = (folded.created_at.astimezone(UTC).date(), order.currency, standing.status)
    return day, (1, standing.total_minor, standing.units)


def rows(change: p.Change) -> p.Rows:
    """The difference: taken away where the order counted before, added where it counts now."""
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


def add(row: p.Row | None, difference: p.Row) -> p.Row:
    if row is None:
        return difference
    return (row[0] + difference[0], row[1] + difference[1], row[2] + difference[2])


@cache
def _upsert(table: str) -> TextClause:
    return p.with_arrays(
        f"INSERT INTO {table} AS t (generation, partition, day, currency, status, orders, "  # noqa: S608
        "revenue_minor, units) "
        "SELECT CAST(:generation AS integer), u.* FROM unnest(:partition, "
        ":day, :currency, :status, :orders, :revenue_minor, :units) AS u "
        "ON CONFLICT (generation, day, currency, status, partition) DO UPDATE SET "
        "orders = t.orders + excluded.orders, "
        "revenue_minor = t.revenue_minor + excluded.revenue_minor, "
        "units = t.units + excluded.units",
        partition=SmallInteger,
        day=Date,
        currency=Text,
        status=Text,
        orders=BigInteger,
        revenue_minor=Numeric,
        units=BigInteger,
    )


@cache
def _delete_empty(table: str) -> TextClause:
    return p.with_arrays(
        f"DELETE FROM {table} t USING unnest(:partition, :day, :currency, :status) "  # noqa: S608
        "AS u (partition, day, currency, status) WHERE t.generation = :generation "
        "AND t.partition = u.partition AND t.day = u.day AND t.currency = u.currency "
        "AND t.status = u.status AND t.orders = 0",
        partition=SmallInteger,
        day=Date,
        currency=Text,
        status=Text,
    )


async def write(connection: AsyncConnection, parts: p.Parts) -> None:
    target = parts[0][0]
    changed = [found for found in p.flat(parts) if any(found[2])]
    if not changed:
        return
    generation = {"generation": target.generation}
    columns = p.arrays(PROJECTION, changed)
    await connection.execute(_upsert(target.table), generation | columns)
    left = [found for found in changed if found[2][0] < 0]
    if left:  # orders have left these rows, perhaps the last ones
        keys = p.arrays(PROJECTION, left)
        parameters = generation | {name: keys[name] for name in ("partition", *PROJECTION.key)}
        await connection.execute(_delete_empty(target.table), parameters)


PROJECTION = p.Projection(
    name="sales_by_day",
    version=1,
    key=("day", "currency", "status"),
    values=("orders", "revenue_minor", "units"),
    one_row_per_order=False,
    rows=rows,
    add=add,
    write=write,
)

_REPORT = text(
    "SELECT day, currency, status, sum(orders)::bigint AS orders, "
    "sum(revenue_minor) AS revenue_minor, sum(units)::bigint AS units "
    "FROM read_models.sales_by_day WHERE day BETWEEN :first AND :last AND generation = "
    "(SELECT live_generation FROM read_models WHERE name = 'sales_by_day') "
    "GROUP BY day, currency, status ORDER BY day, currency, status"
)


async def report(connection: AsyncConnection, first: date, last: date) -> list[Row[Any]]:
    """Both days included."""
    return list((await connection.execute(_REPORT, {"first": first, "last": last})).all())
