"""What all decisions share: refusals, look-ups of parts, and milestone events. Pure."""

from typing import TypeVar

from order_service.domain import state as rules
from order_service.domain.events import (
    OrderDelivered,
    OrderEvent,
    OrderPaid,
    OrderReturned,
    OrderShipped,
)
from order_service.domain.lines import LineState
from order_service.domain.state import Order
from order_service.errors import NotFound, RuleViolation

T = TypeVar("T")


def violation(order: Order, code: str, detail: str, **facts: object) -> RuleViolation:
    return RuleViolation(
        code,
        detail,
        status=rules.status(order),
        allowed_transitions=list(rules.allowed_transitions(order)),
        **facts,
    )


def refuse_canceled(order: Order, what: str) -> None:
    if order.cancel_reason:
        raise violation(order, "invalid-transition", f"Cannot {what}: the order is CANCELED.")


def or_not_found(part: T | None, what: str) -> T:
    """`part`. Raises NotFound if it is None."""
    if part is None:
        raise NotFound(
            "not-found", f"The order has no such {what}: read the order and take the id from it."
        )
    return part


def line_of(order: Order, line_id: int) -> LineState:
    line = order.lines.get(line_id)
    if line is None:
        raise NotFound(
            "line-not-found",
            "The order has no such line: read it and take the line_id of one of its items.",
        )
    return line


def reference_conflict(order: Order, kind: str) -> RuleViolation:
    return violation(
        order,
        "payment-reference-conflict",
        f"The order has a {kind} with this provider_reference, of another amount or kind: read the "
        "order, and correct the reference or the amount.",
    )


def paid_milestone(order: Order) -> tuple[OrderEvent, ...]:
    """OrderPaid when the net payments first reach the total; no event before and after."""
    total = order.total_minor
    if order.was_paid or order.cancel_reason or rules.net_minor(order) < total:
        return ()
    if total == 0 and not order.captured_minor and not rules.is_free(order):
        return ()
    return (OrderPaid(total_minor=total, captured_minor=order.captured_minor),)


def milestones(before: Order, after: Order) -> tuple[OrderEvent, ...]:
    """An event for each milestone that `after` has reached and `before` had not: the whole order is
    shipped, delivered, returned. A correction can undo a milestone, which is then reached again."""
    events: list[OrderEvent] = []
    was, now = rules.sums(before), rules.sums(after)
    if now.is_shipped and not was.is_shipped:
        events.append(OrderShipped([i for i, s in after.shipments.items() if not s.voided][-1]))
    if now.is_delivered and not was.is_delivered:
        events.append(OrderDelivered())
    if now.is_returned and not was.is_returned:
        events.append(OrderReturned())
    return tuple(events)
