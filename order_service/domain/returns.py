"""Decisions on returns: requested, approved, rejected, canceled, received. Pure."""

from uuid import UUID

from order_service.domain import state as rules
from order_service.domain.commands import (
    ApproveReturn,
    CancelReturn,
    ReceiveReturn,
    RejectReturn,
    RequestReturn,
)
from order_service.domain.events import (
    OrderEvent,
    ReturnApproved,
    ReturnCanceled,
    ReturnReceived,
    ReturnRejected,
    ReturnRequested,
)
from order_service.domain.evolve import evolve
from order_service.domain.parts import LineQuantity, ReceivedQuantity
from order_service.domain.paying_back import refund_requests
from order_service.domain.refusals import milestones, or_not_found, violation
from order_service.domain.shipments import check_quantities
from order_service.domain.state import Order, Return
from order_service.errors import InvalidRequest


def request_return(command: RequestReturn, order: Order) -> tuple[OrderEvent, ...]:
    check_quantities(command.lines, _returnable(order), order, "return")
    _refuse_late(command, order)
    return (ReturnRequested(command.return_id, command.lines, command.reason, command.text_ref),)


def _returnable(order: Order) -> dict[int, int]:
    """By line: the delivered units that are neither returned nor part of an open return."""
    left = {i: line.delivered - line.returned for i, line in order.lines.items()}
    for earlier in order.returns.values():
        if earlier.status in ("REQUESTED", "APPROVED"):
            for line in earlier.lines:
                left[line.line_id] -= earlier.outstanding(line)
    return left


def _refuse_late(command: RequestReturn, order: Order) -> None:
    """The window begins at the last delivery of the line's units, in the customer's favour."""
    if command.window is None:
        return
    for line in command.lines:
        last = max(
            shipment.delivered_at
            for shipment in order.shipments.values()
            if shipment.delivered_at and any(q.line_id == line.line_id for q in shipment.lines)
        )
        if command.at > last + command.window:
            raise violation(
                order,
                "return-window-closed",
                f"The time to return line {line.line_id} is over: ask the shop's staff.",
                line_id=line.line_id,
            )


def approve_return(command: ApproveReturn, order: Order) -> tuple[OrderEvent, ...]:
    _refuse_unless_requested(order, command.return_id)
    return (ReturnApproved(command.return_id),)


def reject_return(command: RejectReturn, order: Order) -> tuple[OrderEvent, ...]:
    _refuse_unless_requested(order, command.return_id)
    return (ReturnRejected(command.return_id, command.text_ref),)


def cancel_return(command: CancelReturn, order: Order) -> tuple[OrderEvent, ...]:
    _refuse_unless_requested(order, command.return_id)
    return (ReturnCanceled(command.return_id),)


def _refuse_unless_requested(order: Order, return_id: UUID) -> None:
    existing = or_not_found(order.returns.get(return_id), "return")
    if existing.status != "REQUESTED":
        raise _not_pending(order, existing, "REQUESTED")


def _not_pending(order: Order, existing: Return, expected: str) -> Exception:
    return violation(
        order,
        "return-not-pending",
        f"The return is {existing.status}: expected {expected}.",
        return_status=existing.status,
    )


def receive_return(command: ReceiveReturn, order: Order) -> tuple[OrderEvent, ...]:
    """The units are back, and a refund of what was paid for them is requested."""
    approved = or_not_found(order.returns.get(command.return_id), "return")
    if approved.status != "APPROVED":
        raise _not_pending(order, approved, "APPROVED")
    expected = {line.line_id: approved.outstanding(line) for line in approved.lines}
    lines = command.lines
    if lines is None:
        lines = tuple(ReceivedQuantity(i, q, "SELLABLE") for i, q in expected.items() if q)
    _check_received(lines, expected, order)
    value = _value(order, lines)
    shipping = 0
    if command.refund_shipping and not order.shipping_returned:
        shipping = rules.shipping_minor(order)
    received = ReturnReceived(command.return_id, lines, value, shipping)
    after = evolve(order, received)
    owed = value + shipping
    refund = refund_requests(order, owed, "return", approved.reason, command.refund_id)
    return (received, *refund, *milestones(order, after))


def _check_received(
    lines: tuple[ReceivedQuantity, ...], expected: dict[int, int], order: Order
) -> None:
    """A line may come back in two conditions, each with its own quantity."""
    if len({(line.line_id, line.condition) for line in lines}) < len(lines):
        raise InvalidRequest("validation", "Name each line once for each condition.")
    if any(line.quantity < 1 for line in lines):
        raise InvalidRequest("validation", "The quantity of a line must be at least 1.")
    by_line: dict[int, int] = {}
    for line in lines:
        by_line[line.line_id] = by_line.get(line.line_id, 0) + line.quantity
    quantities = tuple(LineQuantity(i, q) for i, q in by_line.items())
    check_quantities(quantities, expected, order, "receive")


def _value(order: Order, received: tuple[ReceivedQuantity, ...]) -> int:
    """What these units were bought for, shipping not in it: the fall of what the customer keeps.

    A unit of an order with an agreed total has no price: its value is known only when all of it is
    back.
    """
    kept = {line_id: line.kept for line_id, line in order.lines.items()}
    for part in received:
        kept[part.line_id] -= part.quantity
    if order.agreed:
        return 0 if any(kept.values()) else order.total_minor
    lines = order.lines.items()
    worth = sum(line.worth(line.active) - line.worth(kept[line_id]) for line_id, line in lines)
    # What was given back for the units before may differ by a minor unit: version 0.1.0 rounded
    # otherwise.
    returned = order.returned_minor
    if order.shipping_returned:
        returned -= rules.shipping_minor(order)
    return max(0, worth - returned)
