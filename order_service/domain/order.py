"""One order as a decider: `initial`, `evolve`, `decide`. Pure.

May import money, events, commands, state and errors. What is recorded has happened, so `evolve`
refuses nothing; `decide` alone says what may happen next.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import assert_never

from order_service.domain import money
from order_service.domain.commands import (
    CancelOrder,
    ChangeStatus,
    ConfirmDelivery,
    OrderCommand,
    PlaceOrder,
    RecordPayment,
    Ship,
)
from order_service.domain.events import (
    LineQuantity,
    OrderCanceled,
    OrderDelivered,
    OrderEvent,
    OrderPaid,
    OrderPlaced,
    OrderShipped,
    PaymentCaptured,
    RefundRequested,
    ShipmentDelivered,
    ShipmentDispatched,
)
from order_service.domain.state import (
    LINES_MAX,
    LineState,
    Order,
    Payment,
    Refund,
    Shipment,
    allowed_transitions,
    amount_due_minor,
    credit_due_minor,
    net_minor,
    status,
    total_minor,
)
from order_service.errors import InvalidRequest, RuleViolation

initial: Order | None = None


# --- evolve ---------------------------------------------------------------------------------------


def evolve(order: Order | None, event: OrderEvent) -> Order:
    """The order after `event`. Never refuses: what is recorded has happened."""
    if isinstance(event, OrderPlaced):
        assert order is None, "an order is placed once, as the first event of its stream"
        return _placed(event)
    assert order is not None, "the first event of a stream is OrderPlaced"
    match event:
        case PaymentCaptured():
            return _captured(order, event)
        case OrderPaid():
            return replace(order, was_paid=True)
        case ShipmentDispatched():
            return _dispatched(order, event)
        case ShipmentDelivered():
            return _delivered(order, event)
        case OrderCanceled():
            return replace(order, cancel_reason=event.reason)
        case RefundRequested():
            return _refund_requested(order, event)
        case OrderShipped() | OrderDelivered():
            return order  # milestones for subscribers: the quantities already say it
        case _:
            assert_never(event)


def _placed(event: OrderPlaced) -> Order:
    agreed = any(line.unit_price_minor is None for line in event.lines)
    return Order(
        user_id=event.user_id,
        currency=event.currency,
        lines={line.line_id: LineState(line) for line in event.lines},
        shipping_fee_minor=event.shipping_fee_minor,
        discount_minor=event.discount_minor,
        agreed_total_minor=event.total_minor if agreed else None,
        external_reference=event.external_reference,
    )


def _captured(order: Order, event: PaymentCaptured) -> Order:
    payment = Payment(event.payment_id, event.amount_minor, event.source, event.provider_reference)
    return replace(
        order,
        payments={**order.payments, event.payment_id: payment},
        captured_minor=order.captured_minor + event.amount_minor,
    )


def _dispatched(order: Order, event: ShipmentDispatched) -> Order:
    lines = dict(order.lines)
    for moved in event.lines:
        state = lines[moved.line_id]
        lines[moved.line_id] = replace(state, shipped=state.shipped + moved.quantity)
    shipment = Shipment(event.shipment_id, event.lines, event.carrier, event.tracking_number)
    return replace(order, lines=lines, shipments={**order.shipments, event.shipment_id: shipment})


def _delivered(order: Order, event: ShipmentDelivered) -> Order:
    shipment = order.shipments[event.shipment_id]
    lines = dict(order.lines)
    for moved in shipment.lines:
        state = lines[moved.line_id]
        lines[moved.line_id] = replace(state, delivered=state.delivered + moved.quantity)
    arrived = replace(shipment, delivered_at=event.delivered_at)
    return replace(order, lines=lines, shipments={**order.shipments, event.shipment_id: arrived})


def _refund_requested(order: Order, event: RefundRequested) -> Order:
    refund = Refund(event.refund_id, event.amount_minor, event.cause, event.reason)
    return replace(
        order,
        refunds={**order.refunds, event.refund_id: refund},
        refund_pending_minor=order.refund_pending_minor + event.amount_minor,
    )


# --- decide ---------------------------------------------------------------------------------------


def decide(command: OrderCommand, order: Order | None) -> tuple[OrderEvent, ...]:
    """What happens now: events in the order they are to be recorded; none where the wanted state is
    reached already.

    Raises `RuleViolation` for what the state forbids, `InvalidRequest` for what could never be
    applied as given.
    """
    if isinstance(command, PlaceOrder):
        assert order is None, "the caller looks an existing order up before it places one"
        return place(command)
    assert order is not None, "the caller answers 404 for an order that does not exist"
    match command:
        case RecordPayment():
            return record_payment(command, order)
        case Ship():
            return ship(command, order)
        case ConfirmDelivery():
            return confirm_delivery(command, order)
        case CancelOrder():
            return cancel(command, order)
        case ChangeStatus():
            return change_status(command, order)
        case _:
            assert_never(command)


def place(command: PlaceOrder) -> tuple[OrderEvent, ...]:
    total = _total_to_place(command)
    placed = OrderPlaced(
        user_id=command.user_id,
        currency=command.currency,
        lines=command.lines,
        shipping_fee_minor=command.shipping_fee_minor,
        discount_minor=command.discount_minor,
        total_minor=total,
        external_reference=command.external_reference,
    )
    return (placed,) if total > 0 else (placed, OrderPaid(total_minor=0, captured_minor=0))


def _total_to_place(command: PlaceOrder) -> int:
    assert 1 <= len(command.lines) <= LINES_MAX
    prices = [line.unit_price_minor for line in command.lines]
    if all(price is None for price in prices):
        if command.total_price_minor is None:
            raise InvalidRequest(
                "validation", "Give every item a price, or the order a total_price."
            )
        return money.within_bounds(command.total_price_minor)
    if any(price is None for price in prices):
        raise InvalidRequest("validation", "Give all items a price, or none of them.")
    goods = sum((line.unit_price_minor or 0) * line.quantity for line in command.lines)
    total = money.within_bounds(goods + command.shipping_fee_minor - command.discount_minor)
    if command.total_price_minor not in (None, total):
        expected = money.to_text(total, command.currency)
        raise InvalidRequest(
            "total-mismatch",
            f"total_price differs from the sum of the items, {expected} {command.currency}. "
            "Leave total_price out, or send that sum.",
            expected=expected,
        )
    return total


def record_payment(command: RecordPayment, order: Order) -> tuple[OrderEvent, ...]:
    _refuse_canceled(order, "record a payment")
    due = amount_due_minor(order)
    amount = due if command.amount_minor is None else command.amount_minor
    if amount < 1:
        raise InvalidRequest("validation", "The amount of a payment is more than nothing.")
    if command.source == "manual" and amount > due:
        raise InvalidRequest(
            "amount-exceeds-due",
            f"Cannot record a payment above the {money.to_text(due, order.currency)} "
            f"{order.currency} that are due.",
            amount_due=money.to_text(due, order.currency),
        )
    captured = PaymentCaptured(
        command.payment_id, amount, command.source, command.provider_reference
    )
    return (captured, *_paid_milestone(evolve(order, captured)))


def _paid_milestone(order: Order) -> tuple[OrderEvent, ...]:
    """OrderPaid, once, by whatever first brings the net payments up to the total."""
    total = total_minor(order)
    if order.was_paid or net_minor(order) < total:
        return ()
    return (OrderPaid(total_minor=total, captured_minor=order.captured_minor),)


def ship(command: Ship, order: Order) -> tuple[OrderEvent, ...]:
    if status(order) == "PENDING":
        raise _violation(
            order,
            "payment-required",
            "Cannot ship an order that is not paid: record its payment first.",
        )
    if status(order) not in ("PAID", "PARTIALLY_SHIPPED"):
        raise _violation(order, "nothing-to-ship", f"Cannot ship: the order is {status(order)}.")
    outstanding = {i: line.outstanding for i, line in order.lines.items() if line.outstanding}
    lines = command.lines
    if lines is None:
        lines = tuple(LineQuantity(i, q) for i, q in outstanding.items())
    _check_quantities(lines, outstanding)
    dispatched = ShipmentDispatched(
        command.shipment_id, lines, command.carrier, command.tracking_number
    )
    if status(evolve(order, dispatched)) == "SHIPPED":
        return (dispatched, OrderShipped(command.shipment_id))
    return (dispatched,)


def _check_quantities(lines: tuple[LineQuantity, ...], outstanding: Mapping[int, int]) -> None:
    if not lines or len({line.line_id for line in lines}) < len(lines):
        raise InvalidRequest("validation", "A shipment names its lines, each of them once.")
    for line in lines:
        left = outstanding.get(line.line_id, 0)
        if line.quantity < 1:
            raise InvalidRequest("validation", "A shipment has at least one unit of each line.")
        if line.quantity > left:
            raise InvalidRequest(
                "quantity-exceeds-outstanding",
                f"Cannot ship {line.quantity} of line {line.line_id}: {left} outstanding.",
                line_id=line.line_id,
                outstanding=left,
            )


def confirm_delivery(command: ConfirmDelivery, order: Order) -> tuple[OrderEvent, ...]:
    events: list[OrderEvent] = []
    after = order
    for shipment in order.shipments.values():
        wanted = command.shipment_id in (None, shipment.shipment_id)
        if wanted and shipment.delivered_at is None:
            events.append(ShipmentDelivered(shipment.shipment_id, command.delivered_at))
            after = evolve(after, events[-1])
    if events and status(after) == "DELIVERED":
        events.append(OrderDelivered())
    return tuple(events)


def cancel(command: CancelOrder, order: Order) -> tuple[OrderEvent, ...]:
    if order.cancel_reason:
        return ()
    if any(line.shipped for line in order.lines.values()):
        raise _violation(
            order,
            "already-shipped",
            "Cannot cancel an order of which units have been shipped: cancel the units that "
            "are still here, or take the others back as a return.",
        )
    canceled = OrderCanceled(command.reason, status(order), command.text_ref)
    credit = credit_due_minor(evolve(order, canceled))
    if credit == 0:
        return (canceled,)
    return (canceled, RefundRequested(command.refund_id, credit, "cancel", command.reason))


def change_status(command: ChangeStatus, order: Order) -> tuple[OrderEvent, ...]:
    """The table of section 3 of the life of an order: from the present status to `command.to`."""
    match (status(order), command.to):
        case (present, wanted) if present == wanted:
            return ()
        case ("PENDING", "PAID"):
            return record_payment(RecordPayment(command.new_id, None, "manual"), order)
        case ("PENDING", "SHIPPED") | ("PAID" | "PARTIALLY_SHIPPED", "SHIPPED"):
            return ship(Ship(command.new_id, None, None, command.tracking_number), order)
        case ("SHIPPED", "DELIVERED"):
            return confirm_delivery(ConfirmDelivery(None, command.at), order)
        case ("PENDING" | "PAID" | "PARTIALLY_SHIPPED" | "SHIPPED" | "DELIVERED", "CANCELED"):
            return cancel(CancelOrder(command.reason, command.new_id, command.text_ref), order)
        case (present, wanted):
            allowed = ", ".join(allowed_transitions(order)) or "none"
            raise _violation(
                order,
                "invalid-transition",
                f"Cannot go from {present} to {wanted}: allowed from here: {allowed}.",
                from_status=present,
                to_status=wanted,
            )


def _refuse_canceled(order: Order, what: str) -> None:
    if order.cancel_reason:
        raise _violation(order, "invalid-transition", f"Cannot {what}: the order is CANCELED.")


def _violation(order: Order, code: str, detail: str, **facts: object) -> RuleViolation:
    return RuleViolation(
        code,
        detail,
        status=status(order),
        allowed_transitions=list(allowed_transitions(order)),
        **facts,
    )
