"""Decisions on returns: requested, approved, rejected, canceled, received. Pure."""

from uuid import UUID

from order_service.domain import money
from order_service.domain import state as rules
from order_service.domain.commands import (
    ApproveReturn,
    CancelReturn,
    ReceiveReturn,
    RejectReturn,
    RequestReturn,
)
from order_service.domain.events import (
    LineQuantity,
    OrderEvent,
    ReceivedQuantity,
    RefundRequested,
    ReturnApproved,
    ReturnCanceled,
    ReturnReceived,
    ReturnRejected,
    ReturnRequested,
)
from order_service.domain.evolve import evolve
from order_service.domain.refusals import milestones, only_payment, or_not_found, violation
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
    received = ReturnReceived(command.return_id, lines)
    after = evolve(order, received)
    amount = min(_returned_value(after) - _returned_value(order), rules.refundable_minor(order))
    refund: tuple[OrderEvent, ...] = ()
    if amount > 0:
        payment = only_payment(order)
        refund = (RefundRequested(command.refund_id, amount, "return", approved.reason, payment),)
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


def _returned_value(order: Order) -> int:
    """The price of all returned units, less their share of the discount and without shipping.

    Shares are split by largest remainder, over the lines and then over each line's units, so that
    the parts of several returns sum to the whole. In an order with an agreed total a single unit
    has no price: its value is 0 until all units are returned.
    """
    if order.agreed_total_minor is not None:
        return order.agreed_total_minor if rules.sums(order).is_returned else 0
    states = list(order.lines.values())
    goods = [(state.line.unit_price_minor or 0) * state.active for state in states]
    discounts = money.allocate(min(order.discount_minor, sum(goods)), goods)
    return sum(
        _share(cost - discount, state.active, state.returned)
        for state, cost, discount in zip(states, goods, discounts, strict=True)
    )


def _share(minor: int, units: int, first_units: int) -> int:
    """What `allocate` gives to the `first_units` of equal `units`, without a list of them all."""
    if first_units == 0:
        return 0
    each, remainder = divmod(minor, units)
    return first_units * each + min(first_units, remainder)
