"""sales_by_hour: what happened to the orders that were placed in each hour, and how soon.

An order counts in the hour it was placed, whenever the rest happens, so that shares and times are
those of the same orders.
"""

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Literal

from sqlalchemy import BigInteger, Numeric, Row, SmallInteger, Text, TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service.log.fold import FoldedOrder
from projections import projection as p

Fact = tuple[str, str]  # what, and its detail
Counted = tuple[int, int]  # orders, amount_minor
By = Literal["hour", "day"]
PLACED: Fact = ("placed", "")
SHIPPED: Fact = ("shipped", "")
DELIVERED: Fact = ("delivered", "")
ONE = (1, 0)
_DIGITS = 5
_SECOND = timedelta(seconds=1)


def facts(folded: FoldedOrder) -> dict[Fact, Counted]:
    """What can be said of one order. `paid` counts what was captured, `refunded` what was or will
    be paid back; `canceled` has its reason, times have their seconds for detail."""
    order, first = folded.order, folded.milestones
    found = {PLACED: ONE}
    paid_at = first.get("OrderPaid")
    if paid_at is not None or order.captured_minor:
        found["paid", ""] = (int(paid_at is not None), order.captured_minor)
    if paid_at is not None:
        found["place_to_pay", _rounded(paid_at - folded.created_at)] = ONE
    shipped_at = first.get("ShipmentDispatched")
    if shipped_at is not None:
        found[SHIPPED] = ONE
        if paid_at is not None and shipped_at >= paid_at:
            found["pay_to_ship", _rounded(shipped_at - paid_at)] = ONE
    if "OrderDelivered" in first:
        found[DELIVERED] = ONE
    if order.cancel_reason is not None:
        found["canceled", order.cancel_reason] = ONE
    refunded = order.refunded_minor + order.refund_pending_minor
    if refunded:
        found["refunded", ""] = (1, refunded)
    return found


def _rounded(time: timedelta) -> str:
    """Whole seconds, of which the first five binary digits are kept: less than 1/16 too small, and
    few different ones."""
    seconds = time // _SECOND
    dropped = max(0, seconds.bit_length() - _DIGITS)
    return str(seconds >> dropped << dropped)


def rows(change: p.Change) -> p.Rows:
    """The facts that are new or otherwise, at the order's hour."""
    before, after = change
    now = facts(after)
    was = facts(before) if before is not None else {}
    if now == was:
        return {}
    hour = after.created_at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    currency = after.order.currency
    changed: p.Rows = {}
    for fact in {**was, **now}:
        orders, amount = now.get(fact, (0, 0))
        was_orders, was_amount = was.get(fact, (0, 0))
        if (orders, amount) != (was_orders, was_amount):
            changed[hour, currency, *fact] = (orders - was_orders, amount - was_amount)
    return changed


def add(row: p.Row | None, difference: p.Row) -> p.Row:
    return difference if row is None else (row[0] + difference[0], row[1] + difference[1])


@cache
def _upsert(table: str) -> TextClause:
    return p.with_arrays(
        f"INSERT INTO {table} AS t (generation, partition, hour, currency, fact, detail, orders, "  # noqa: S608
        "amount_minor) SELECT CAST(:generation AS integer), u.* FROM unnest(:partition, "
        ":hour, :currency, :fact, :detail, :orders, :amount_minor) AS u "
        "ON CONFLICT (generation, hour, currency, fact, detail, partition) DO UPDATE SET "
        "orders = t.orders + excluded.orders, "
        "amount_minor = t.amount_minor + excluded.amount_minor",
        partition=SmallInteger,
        hour=p.UtcTime,
        currency=Text,
        fact=Text,
        detail=Text,
        orders=BigInteger,
        amount_minor=Numeric,
    )


@cache
def _delete_empty(table: str) -> TextClause:
    return p.with_arrays(
        f"DELETE FROM {table} t USING unnest(:partition, :hour, :currency, :fact, :detail) "  # noqa: S608
        "AS u (partition, hour, currency, fact, detail) WHERE t.generation = :generation "
        "AND t.partition = u.partition AND t.hour = u.hour AND t.currency = u.currency "
        "AND t.fact = u.fact AND t.detail = u.detail AND t.orders = 0 AND t.amount_minor = 0",
        partition=SmallInteger,
        hour=p.UtcTime,
        currency=Text,
        fact=Text,
        detail=Text,
    )


async def write(connection: AsyncConnection, parts: p.Parts) -> None:
    target = parts[0][0]
    changed = [found for found in p.flat(parts) if any(found[2])]
    if not changed:
        return
    generation = {"generation": target.generation}
    columns = p.arrays(PROJECTION, changed)
    await connection.execute(_upsert(target.table), generation | columns)
    left = [found for found in changed if min(found[2]) < 0]
    if left:  # a fact is no longer so, perhaps of any order
        keys = p.arrays(PROJECTION, left)
        parameters = generation | {name: keys[name] for name in ("partition", *PROJECTION.key)}
        await connection.execute(_delete_empty(target.table), parameters)


PROJECTION = p.Projection(
    name="sales_by_hour",
    version=1,
    key=("hour", "currency", "fact", "detail"),
    values=("orders", "amount_minor"),
    one_row_per_order=False,
    rows=rows,
    add=add,
    write=write,
)

_LIVE = (
    "FROM read_models.sales_by_hour WHERE hour >= :first AND hour < :end AND generation = "
    "(SELECT live_generation FROM read_models WHERE name = 'sales_by_hour') "
)
_SERIES = text(
    "SELECT currency, date_trunc(:by, hour) AS at, "
    "sum(orders) FILTER (WHERE fact = 'placed')::bigint AS orders, "
    "coalesce(sum(amount_minor) FILTER (WHERE fact = 'paid'), 0) "
    "- coalesce(sum(amount_minor) FILTER (WHERE fact = 'refunded'), 0) AS revenue_minor "
    f"{_LIVE} AND fact IN ('placed', 'paid', 'refunded') "
    "GROUP BY currency, at ORDER BY currency, at"
)
_FACTS = text(
    "SELECT currency, fact, detail, sum(orders)::bigint AS orders, "
    f"sum(amount_minor) AS amount_minor {_LIVE} "
    "GROUP BY currency, fact, detail ORDER BY currency, fact, detail"
)


async def series(
    connection: AsyncConnection, first: datetime, end: datetime, by: By
) -> list[Row[Any]]:
    """A row a currency and hour or UTC day that has orders; `end` excluded."""
    parameters = {"first": first, "end": end, "by": by}
    return list((await connection.execute(_SERIES, parameters)).all())


async def summed_facts(
    connection: AsyncConnection, first: datetime, end: datetime
) -> list[Row[Any]]:
    """A row a currency and fact; `end` excluded."""
    return list((await connection.execute(_FACTS, {"first": first, "end": end})).all())
