"""sales_by_hour: what happened to the orders placed in each hour, and after how long.

All facts of an order count in the hour it was placed, whenever they happen, so all shares and times
of an hour describe the same orders.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service.domain.state import Order
from order_service.log.fold import FoldedOrder
from projections.read_models import projection as p
from projections.read_models.generations import live_rows
from projections.read_models.summed import summed

Facts = dict[tuple[str, str], tuple[int, int]]  # (fact, detail) to (orders, amount_minor)
By = Literal["hour", "day"]
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
    _add_money(facts, before.order if before else None, after.order)
    if not facts:
        return {}
    hour = after.created_at.replace(minute=0, second=0, microsecond=0)
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


def _add_money(facts: Facts, before: Order | None, after: Order) -> None:
    """`paid` counts the amount captured, `refunded` the refunds done and pending, `canceled` the
    reason."""
    captured = after.captured_minor - (before.captured_minor if before else 0)
    if captured:
        facts["paid", ""] = (facts.get(("paid", ""), NONE)[0], captured)
    refunded, was_refunded = _refunded(after), _refunded(before)
    if refunded != was_refunded:
        orders = bool(refunded) - bool(was_refunded)
        facts["refunded", ""] = (orders, refunded - was_refunded)
    reason, was_reason = after.cancel_reason, before.cancel_reason if before else None
    if reason != was_reason:
        facts |= {("canceled", was_reason): (-1, 0)} if was_reason else {}
        facts |= {("canceled", reason): ONE} if reason else {}


def _refunded(order: Order | None) -> int:
    return order.refunded_minor + order.refund_pending_minor if order else 0


def _rounded(time: timedelta) -> str:
    """Whole seconds, rounded down to their first five binary digits: few distinct values, each less
    than 1/16 too small."""
    seconds = time // _SECOND
    dropped = max(0, seconds.bit_length() - _DIGITS)
    return str(seconds >> dropped << dropped)


PROJECTION = summed(
    "sales_by_hour",
    version=1,
    key={"hour": "timestamptz", "currency": "text", "fact": "text", "detail": "text"},
    sums={"orders": "bigint", "amount_minor": "numeric"},
    rows=rows,
)

_LIVE = f"FROM {live_rows('sales_by_hour')} AND hour >= :first AND hour < :end"
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
    """One row for each currency and each hour or UTC day with orders; `end` excluded."""
    parameters = {"first": first, "end": end, "by": by}
    return list((await connection.execute(_SERIES, parameters)).all())


async def summed_facts(
    connection: AsyncConnection, first: datetime, end: datetime
) -> list[Row[Any]]:
    """One row for each currency, fact and detail; `end` excluded."""
    return list((await connection.execute(_FACTS, {"first": first, "end": end})).all())
