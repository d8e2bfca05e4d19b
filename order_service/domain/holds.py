"""Decisions on holds: while one stands, nothing of the order ships. Pure."""

from order_service.domain import state as rules
from order_service.domain.commands import HoldOrder, ReleaseHold
from order_service.domain.events import OrderEvent, OrderHeld, OrderHoldReleased
from order_service.domain.refusals import or_not_found, violation
from order_service.domain.state import Order


def hold_order(command: HoldOrder, order: Order) -> tuple[OrderEvent, ...]:
    status = rules.status(order)
    if status in ("CANCELED", "RETURNED"):
        raise violation(
            order, "invalid-transition", f"Cannot hold the order: it is {status}, for good."
        )
    return (OrderHeld(command.hold_id, command.reason, command.text_ref),)


def release_hold(command: ReleaseHold, order: Order) -> tuple[OrderEvent, ...]:
    hold = or_not_found(order.holds.get(command.hold_id), "hold")
    return () if hold.released else (OrderHoldReleased(hold.hold_id, command.text_ref),)


def refuse_on_hold(order: Order) -> None:
    reasons = [hold.reason for hold in order.holds.values() if not hold.released]
    if reasons:
        raise violation(
            order,
            "order-on-hold",
            f"Cannot ship: the order is on hold ({', '.join(reasons)}). Release the holds first.",
        )
