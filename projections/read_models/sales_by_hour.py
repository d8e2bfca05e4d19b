"""sales_by_hour: what happened to the orders placed in each hour, and after how long.

All facts of an order count in the hour it was placed, whenever they happen, so all shares and times
of an hour describe the same orders.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service.documents.sales import SalesStep
from order_service.log.fold import FoldedOrder
from projections.read_models import projection as p
from projections.read_models import shop_time
from projections.read_models.generations import live_rows
from projections.read_models.revenue import Revenue, revenue
from projections.read_models.shop_time import hour_of, version_here
from projections.read_models.summed import summed

Facts = dict[tuple[str, str], tuple[int, int]]  # (fact, detail) to (orders, amount_minor)
By = SalesStep
ONE, NONE = (1, 0), (0, 0)
_DIGITS = 5
_SECOND = timedelta(seconds=1)


def rows(change: p.Change) -> p.Rows:
    """The facts that the change adds to the order's hour or removes from it. Most changes add none,
    so that case returns early."""
    before, after = change
    facts: Facts = {} if before else {("placed", ""): ONE}
    reached = after.milestones
    was_reached = before.milestones if before else {}
    if len(reached) > len(was_reached):
        facts |= _milestones(after, was_reached)
    _add_money(facts, before, after)
    if not facts:
        return {}
    hour = hour_of(after.created_at)
    currency = after.order.currency
    return {(hour, currency, *fact): counted for fact, counted in facts.items()}


def _milestones(after: FoldedOrder, was_reached: Mapping[str, datetime]) -> Facts:
    """The facts of new milestones. The detail of a duration is its seconds."""
    facts: Facts = {}
    reached = after.milestones
    paid_at = reached.get("OrderPaid")
    if paid_at is not None and "OrderPaid" not in was_reached:
        facts["paid", ""] = ONE
        facts["place_to_pay", _rounded(paid_at - after.created_at)] = ONE
    shipped_at = reached.get("ShipmentDispatched")
    if shipped_at is not None and "ShipmentDispatched" not in was_reached:
        facts["shipped", ""] = ONE
        # Not for an order shipped unpaid; its times may be equal if a clock was set back.
        if paid_at is not None and shipped_at > paid_at:
            facts["pay_to_ship", _rounded(shipped_at - paid_at)] = ONE
    if "OrderDelivered" in reached and "OrderDelivered" not in was_reached:
        facts["delivered", ""] = ONE
    return facts


def _add_money(facts: Facts, before: FoldedOrder | None, after: FoldedOrder) -> None:
    """The amounts of `paid` are gross, those of `refunded` what is no revenue of them; `canceled`
    has the reason."""
    earned = revenue(after.order, after.summary.status)
    was = revenue(before.order, before.summary.status) if before else Revenue()
    if earned != was:
        if earned.gross != was.gross:
            orders = facts.get(("paid", ""), NONE)[0]
            facts["paid", ""] = (orders, earned.gross - was.gross)
        _add_part(facts, "refunded", earned.gross - earned.net, was.gross - was.net)
        _add_part(facts, "self_service", earned.self_service, was.self_service)
    reason = after.order.cancel_reason
    was_reason = before.order.cancel_reason if before else None
    if reason != was_reason:
        facts |= {("canceled", was_reason): (-1, 0)} if was_reason else {}
        facts |= {("canceled", reason): ONE} if reason else {}


def _add_part(facts: Facts, fact: str, amount: int, was: int) -> None:
    if amount != was:
        facts[fact, ""] = (bool(amount) - bool(was), amount - was)


def _rounded(time: timedelta) -> str:
    """Whole seconds, rounded down to their first five binary digits: few distinct values, each less
    than 1/16 too small."""
    seconds = time // _SECOND
    dropped = max(0, seconds.bit_length() - _DIGITS)
    return str(seconds >> dropped << dropped)


PROJECTION = summed(
    "sales_by_hour",
    version=version_here(2),
    key={"hour": "timestamptz", "currency": "text", "fact": "text", "detail": "text"},
    sums={"orders": "bigint", "amount_minor": "numeric"},
    rows=rows,
)

_LIVE = f"FROM {live_rows('sales_by_hour')} AND hour >= :first AND hour < :end"
_SERIES = text(
    "SELECT currency, "
    "CASE WHEN :by = 'day' THEN date_trunc('day', hour, :zone) ELSE hour END AS at, "
    "coalesce(sum(orders) FILTER (WHERE fact = 'placed'), 0)::bigint AS orders, "
    "coalesce(sum(amount_minor) FILTER (WHERE fact = 'paid'), 0) AS gross_minor, "
    "coalesce(sum(amount_minor) FILTER (WHERE fact = 'refunded'), 0) AS refunded_minor, "
    "coalesce(sum(amount_minor) FILTER (WHERE fact = 'self_service'), 0) AS self_service_minor "
    f"{_LIVE} AND fact IN ('placed', 'paid', 'refunded', 'self_service') "
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
    """One row for each currency and each hour or day of the shop with orders, counted by whole
    hours; `end` excluded."""
    parameters = {"first": first, "end": end, "by": by, "zone": shop_time.ZONE.key}
    return list((await connection.execute(_SERIES, parameters)).all())


async def summed_facts(
    connection: AsyncConnection, first: datetime, end: datetime
) -> list[Row[Any]]:
    """One row for each currency, fact and detail; `end` excluded."""
    return list((await connection.execute(_FACTS, {"first": first, "end": end})).all())
