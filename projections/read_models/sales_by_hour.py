"""sales_by_hour: what happened to the orders that were placed in each hour, and how soon.

An order counts in the hour it was placed, whenever the rest happens, so that shares and times are
those of the same orders.
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

Facts = dict[tuple[str, str], tuple[int, int]]  # what and its detail: orders, amount_minor
By = Literal["hour", "day"]
ONE, NONE = (1, 0), (0, 0)
_DIGITS = 5
_SECOND = timedelta(seconds=1)


def rows(change: p.Change) -> p.Rows:
    """What the change makes true of the order, or no longer so, at its hour. Most changes make
    nothing: that is found out first."""
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
    """Of the milestones that are new; times have their seconds for detail."""
    facts: Facts = {}
    reached = after.milestones
    paid_at = reached.get("OrderPaid")
    if paid_at is not None and "OrderPaid" not in was_reached:
        facts["paid", ""] = ONE
        facts["place_to_pay", _rounded(paid_at - after.created_at)] = ONE
    shipped_at = reached.get("ShipmentDispatched")
    if shipped_at is not None and "ShipmentDispatched" not in was_reached:
        facts["shipped", ""] = ONE
        # Not so if it was sent unpaid, which may be of the same moment where a clock went back.
        if paid_at is not None and shipped_at > paid_at:
            facts["pay_to_ship", _rounded(shipped_at - paid_at)] = ONE
    if "OrderDelivered" in reached and "OrderDelivered" not in was_reached:
        facts["delivered", ""] = ONE
    return facts


def _add_money(facts: Facts, before: Order | None, after: Order) -> None:
    """`paid` has what was captured, `refunded` what was or will be paid back, `canceled` its
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
    """Whole seconds, of which the first five binary digits are kept: less than 1/16 too small, and
    few different ones."""
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
    """A row a currency and hour or UTC day that has orders; `end` excluded."""
    parameters = {"first": first, "end": end, "by": by}
    return list((await connection.execute(_SERIES, parameters)).all())


async def summed_facts(
    connection: AsyncConnection, first: datetime, end: datetime
) -> list[Row[Any]]:
    """A row a currency and fact; `end` excluded."""
    return list((await connection.execute(_FACTS, {"first": first, "end": end})).all())
