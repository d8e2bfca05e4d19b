"""How events change an order's payments and refunds. Pure."""

from order_service.domain.events import (
    PaymentAuthorized,
    PaymentCaptured,
    PaymentFailed,
    PaymentReversalUndone,
    PaymentReversed,
    RefundCompleted,
    RefundFailed,
    RefundRequested,
)
from order_service.domain.immutable import Fields, copy_with
from order_service.domain.state import Capture, Order, Payment, Refund, Reported, identity


def with_payment(order: Order, payment: Payment) -> Fields:
    return {"payments": {**order.payments, payment.payment_id: payment}}


def authorized(order: Order, event: PaymentAuthorized) -> Payment:
    payment = order.payments.get(event.payment_id)
    if payment is not None:  # its capture was reported first
        return copy_with(
            payment,
            authorized_minor=event.amount_minor,
            open_minor=max(0, event.amount_minor - payment.captured_minor),
            method=event.method,
            expires_at=event.expires_at,
        )
    return Payment(
        payment_id=event.payment_id,
        authorized_minor=event.amount_minor,
        open_minor=event.amount_minor,
        captured_minor=0,
        provider_reference=event.provider_reference,
        source=event.source if event.source == "provider" else None,
        method=event.method,
        expires_at=event.expires_at,
    )


def captured(order: Order, event: PaymentCaptured) -> Fields:
    payment = order.payments.get(event.payment_id)
    reference, amount = event.provider_reference, event.amount_minor
    capture = Capture(amount, reference)
    if payment is None:
        payment = Payment(
            event.payment_id, 0, 0, amount, reference, event.source, captures=(capture,)
        )
    else:
        payment = copy_with(
            payment,
            open_minor=max(0, payment.open_minor - amount),
            captured_minor=payment.captured_minor + amount,
            source=event.source,
            captures=(*payment.captures, capture),
        )
    return {
        "payments": {**order.payments, payment.payment_id: payment},
        "captured_minor": order.captured_minor + amount,
    }


def failed(payment: Payment, event: PaymentFailed) -> Payment:
    if not event.closes:
        return copy_with(payment, failure_code=event.code)
    return copy_with(payment, failure_code=event.code, open_minor=0, closed="failed")


def reported(before: Reported, event: PaymentReversed | PaymentReversalUndone) -> Reported:
    reference = identity(event.provider_reference)
    if reference is None:
        return before
    return {**before, reference: (event.payment_id, event.amount_minor)}


def reversed_(
    order: Order, event: PaymentReversed | PaymentReversalUndone, amount_minor: int
) -> Fields:
    payment = order.payments[event.payment_id]
    payment = copy_with(payment, reversed_minor=payment.reversed_minor + amount_minor)
    reversed_minor = order.reversed_minor + amount_minor
    return {**with_payment(order, payment), "reversed_minor": reversed_minor}


def _with_refund(order: Order, refund: Refund, pending: int, refunded: int = 0) -> Fields:
    fields: Fields = {
        "refunds": {**order.refunds, refund.refund_id: refund},
        "refund_pending_minor": order.refund_pending_minor + pending,
        "refunded_minor": order.refunded_minor + refunded,
    }
    payment = None if refund.payment_id is None else order.payments.get(refund.payment_id)
    if payment is None:
        return fields
    payment = copy_with(
        payment,
        refund_pending_minor=payment.refund_pending_minor + pending,
        refunded_minor=payment.refunded_minor + refunded,
    )
    return {**fields, **with_payment(order, payment)}


def refund_requested(order: Order, event: RefundRequested) -> Fields:
    refund = Refund(
        event.refund_id, event.amount_minor, event.cause, event.reason, event.payment_id
    )
    return _with_refund(order, refund, event.amount_minor)


def refund_completed(order: Order, event: RefundCompleted) -> Fields:
    refund = order.refunds[event.refund_id]
    reference = event.provider_reference
    completed = copy_with(refund, status="COMPLETED", provider_reference=reference)
    return _with_refund(order, completed, -refund.amount_minor, refund.amount_minor)


def refund_failed(order: Order, event: RefundFailed) -> Fields:
    refund = order.refunds[event.refund_id]
    failed = copy_with(refund, status="FAILED", failure_code=event.code)
    return _with_refund(order, failed, -refund.amount_minor)
