"""What each event makes of an order. Pure. May import events and state.

What is recorded has happened, so nothing is refused here.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal, assert_never

from order_service.domain.events import (
    LineQuantity,
    OrderCanceled,
    OrderDelivered,
    OrderEvent,
    OrderLineAdded,
    OrderLineQuantityChanged,
    OrderLineRemoved,
    OrderNoteAdded,
    OrderPaid,
    OrderPlaced,
    OrderReturned,
    OrderShipped,
    OrderUnitsCanceled,
    PaymentAuthorizationVoided,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentFailed,
    ReceivedQuantity,
    RefundCompleted,
    RefundFailed,
    RefundRequested,
    ReturnApproved,
    ReturnCanceled,
    ReturnReceived,
    ReturnRejected,
    ReturnRequested,
    ShipmentDelivered,
    ShipmentDispatched,
    ShipmentTrackingUpdated,
    ShipmentVoided,
    ShippingAddressChanged,
)
from order_service.domain.state import LineState, Order, Payment, Refund, Return, Shipment

initial: Order | None = None


def evolve(order: Order | None, event: OrderEvent) -> Order:
    """The order after `event`. Never refuses: what is recorded has happened."""
    if isinstance(event, OrderPlaced):
        assert order is None, "an order is placed once, as the first event of its stream"
        return _placed(event)
    assert order is not None, "the first event of a stream is OrderPlaced"
    match event:
        case OrderLineAdded():
            lines = {**order.lines, event.line.line_id: LineState(event.line)}
            return replace(order, lines=lines, last_line_id=event.line.line_id)
        case OrderLineQuantityChanged():
            return _quantity_changed(order, event)
        case OrderLineRemoved():
            lines = {i: line for i, line in order.lines.items() if i != event.line_id}
            return replace(order, lines=lines)
        case ShippingAddressChanged():
            return replace(order, address_ref=event.address_ref)
        case PaymentAuthorized():
            return _with_payment(order, _authorized(event))
        case PaymentAuthorizationVoided():
            payment = order.payments[event.payment_id]
            return _with_payment(order, replace(payment, open_minor=0))
        case PaymentCaptured():
            return _captured(order, event)
        case PaymentFailed():
            payment = order.payments[event.payment_id]
            return _with_payment(order, replace(payment, failure_code=event.code))
        case OrderPaid():
            return replace(order, was_paid=True)
        case ShipmentDispatched():
            return _dispatched(order, event)
        case ShipmentTrackingUpdated():
            return _tracking_updated(order, event)
        case ShipmentVoided():
            return _shipment_voided(order, event)
        case ShipmentDelivered():
            return _delivered(order, event)
        case OrderUnitsCanceled():
            return _moved(order, "canceled", [LineQuantity(event.line_id, event.quantity)])
        case OrderCanceled():
            return replace(order, cancel_reason=event.reason)
        case RefundRequested():
            return _refund_requested(order, event)
        case RefundCompleted():
            return _refund_completed(order, event)
        case RefundFailed():
            return _refund_failed(order, event)
        case ReturnRequested():
            return _with_return(order, Return(event.return_id, event.lines, event.reason))
        case ReturnApproved():
            approved = replace(order.returns[event.return_id], status="APPROVED")
            return _with_return(order, approved)
        case ReturnRejected():
            rejected = replace(order.returns[event.return_id], status="REJECTED")
            return _with_return(order, rejected)
        case ReturnCanceled():
            canceled = replace(order.returns[event.return_id], status="CANCELED")
            return _with_return(order, canceled)
        case ReturnReceived():
            return _return_received(order, event)
        case OrderNoteAdded() | OrderShipped() | OrderDelivered() | OrderReturned():
            return order  # notes are beside the order; milestones only tell what quantities say
        case _:
            assert_never(event)


def _placed(event: OrderPlaced) -> Order:
    agreed = any(line.unit_price_minor is None for line in event.lines)
    return Order(
        user_id=event.user_id,
        currency=event.currency,
        lines={line.line_id: LineState(line) for line in event.lines},
        last_line_id=max(line.line_id for line in event.lines),
        shipping_fee_minor=event.shipping_fee_minor,
        discount_minor=event.discount_minor,
        agreed_total_minor=event.total_minor if agreed else None,
        external_reference=event.external_reference,
        address_ref=event.address_ref,
    )


def _quantity_changed(order: Order, event: OrderLineQuantityChanged) -> Order:
    state = order.lines[event.line_id]
    changed = replace(state, line=replace(state.line, quantity=event.to_quantity))
    return replace(order, lines={**order.lines, event.line_id: changed})


def _moved(
    order: Order,
    column: Literal["canceled", "shipped", "delivered", "returned"],
    moved: Iterable[LineQuantity | ReceivedQuantity],
    sign: Literal[1, -1] = 1,
) -> Order:
    """Units of lines counted in one more column, or taken back from it."""
    lines = dict(order.lines)
    for part in moved:
        state = lines[part.line_id]
        match column:
            case "canceled":
                state = replace(state, canceled=state.canceled + part.quantity)
            case "shipped":
                state = replace(state, shipped=state.shipped + sign * part.quantity)
            case "delivered":
                state = replace(state, delivered=state.delivered + part.quantity)
            case "returned":
                state = replace(state, returned=state.returned + part.quantity)
        lines[part.line_id] = state
    return replace(order, lines=lines)


# --- payments and refunds -------------------------------------------------------------------------


def _with_payment(order: Order, payment: Payment) -> Order:
    return replace(order, payments={**order.payments, payment.payment_id: payment})


def _authorized(event: PaymentAuthorized) -> Payment:
    return Payment(
        payment_id=event.payment_id,
        authorized_minor=event.amount_minor,
        open_minor=event.amount_minor,
        captured_minor=0,
        provider_reference=event.provider_reference,
        method=event.method,
        expires_at=event.expires_at,
    )


def _captured(order: Order, event: PaymentCaptured) -> Order:
    payment = order.payments.get(event.payment_id)
    if payment is None:
        reference = event.provider_reference
        payment = Payment(event.payment_id, 0, 0, event.amount_minor, reference, event.source)
    else:
        payment = replace(
            payment,
            open_minor=max(0, payment.open_minor - event.amount_minor),
            captured_minor=payment.captured_minor + event.amount_minor,
            source=event.source,
        )
    captured = order.captured_minor + event.amount_minor
    return replace(_with_payment(order, payment), captured_minor=captured)


def _with_refund(order: Order, refund: Refund, pending: int, refunded: int = 0) -> Order:
    return replace(
        order,
        refunds={**order.refunds, refund.refund_id: refund},
        refund_pending_minor=order.refund_pending_minor + pending,
        refunded_minor=order.refunded_minor + refunded,
    )


def _refund_requested(order: Order, event: RefundRequested) -> Order:
    refund = Refund(
        event.refund_id, event.amount_minor, event.cause, event.reason, event.payment_id
    )
    return _with_refund(order, refund, event.amount_minor)


def _refund_completed(order: Order, event: RefundCompleted) -> Order:
    refund = order.refunds[event.refund_id]
    reference = event.provider_reference
    completed = replace(refund, status="COMPLETED", provider_reference=reference)
    return _with_refund(order, completed, -refund.amount_minor, refund.amount_minor)


def _refund_failed(order: Order, event: RefundFailed) -> Order:
    refund = order.refunds[event.refund_id]
    failed = replace(refund, status="FAILED", failure_code=event.code)
    return _with_refund(order, failed, -refund.amount_minor)


# --- shipments and returns ------------------------------------------------------------------------


def _with_shipment(order: Order, shipment: Shipment) -> Order:
    return replace(order, shipments={**order.shipments, shipment.shipment_id: shipment})


def _dispatched(order: Order, event: ShipmentDispatched) -> Order:
    shipment = Shipment(
        event.shipment_id, event.lines, event.dispatched_at, event.carrier, event.tracking_number
    )
    return _moved(_with_shipment(order, shipment), "shipped", event.lines)


def _tracking_updated(order: Order, event: ShipmentTrackingUpdated) -> Order:
    shipment = order.shipments[event.shipment_id]
    carrier, number = event.carrier, event.tracking_number
    return _with_shipment(order, replace(shipment, carrier=carrier, tracking_number=number))


def _shipment_voided(order: Order, event: ShipmentVoided) -> Order:
    shipment = order.shipments[event.shipment_id]
    voided = _with_shipment(order, replace(shipment, voided=True))
    return _moved(voided, "shipped", shipment.lines, -1)


def _delivered(order: Order, event: ShipmentDelivered) -> Order:
    shipment = order.shipments[event.shipment_id]
    arrived = _with_shipment(order, replace(shipment, delivered_at=event.delivered_at))
    return _moved(arrived, "delivered", shipment.lines)


def _with_return(order: Order, returned: Return) -> Order:
    return replace(order, returns={**order.returns, returned.return_id: returned})


def _return_received(order: Order, event: ReturnReceived) -> Order:
    before = order.returns[event.return_id]
    received = dict(before.received)
    for part in event.lines:
        received[part.line_id] = received.get(part.line_id, 0) + part.quantity
    after = replace(before, received=received)
    if all(after.outstanding(line) <= 0 for line in after.lines):
        after = replace(after, status="RECEIVED")
    return _moved(_with_return(order, after), "returned", event.lines)
