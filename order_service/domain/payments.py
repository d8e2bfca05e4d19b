"""Decisions on payments: authorized, captured, voided, failed. Pure."""

from order_service.domain import money
from order_service.domain import state as rules
from order_service.domain.commands import (
    AuthorizePayment,
    CapturePayment,
    RecordPayment,
    RecordPaymentFailure,
    VoidAuthorization,
)
from order_service.domain.events import (
    OrderEvent,
    PaymentAuthorizationVoided,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentFailed,
    RefundRequested,
)
from order_service.domain.evolve import evolve
from order_service.domain.refusals import (
    or_not_found,
    paid_milestone,
    refuse_canceled,
    violation,
)
from order_service.domain.state import Order, Payment
from order_service.errors import InvalidRequest


def authorize_payment(command: AuthorizePayment, order: Order) -> tuple[OrderEvent, ...]:
    existing = _payment_with_reference(order, command.provider_reference)
    if existing is not None:
        if existing.authorized_minor and command.amount_minor in (None, existing.authorized_minor):
            return ()
        raise _reference_conflict(order)
    refuse_canceled(order, "authorize a payment")
    due = rules.amount_due_minor(order)
    amount = due if command.amount_minor is None else command.amount_minor
    _check_due(amount, order)
    _check_amount(amount, order)
    return (
        PaymentAuthorized(
            command.payment_id,
            amount,
            command.method,
            command.provider_reference,
            command.expires_at,
        ),
    )


def record_payment(command: RecordPayment, order: Order) -> tuple[OrderEvent, ...]:
    """A provider's payment is a fact: it is recorded whatever the order's state, and a refund of it
    is requested if the order is canceled. With the `provider_reference` of an authorization it is
    a capture of that authorization."""
    existing = _payment_with_reference(order, command.provider_reference)
    if existing is not None and _is_recorded(command, existing, order):
        return ()
    payment_id, default_amount = command.payment_id, rules.amount_due_minor(order)
    if existing is not None:
        payment_id, default_amount = existing.payment_id, existing.authorized_minor
    amount = default_amount if command.amount_minor is None else command.amount_minor
    if command.source == "manual":
        refuse_canceled(order, "record a payment")
        _check_due(amount, order)
    _check_amount(amount, order)
    captured = PaymentCaptured(payment_id, amount, command.source, command.provider_reference)
    if order.cancel_reason is None:
        return (captured, *paid_milestone(evolve(order, captured)))
    return (
        captured,
        RefundRequested(command.refund_id, amount, "late_capture", order.cancel_reason, payment_id),
    )


def _is_recorded(command: RecordPayment, existing: Payment, order: Order) -> bool:
    """True for a repeat; False if `existing` is an authorization that is not captured yet.

    Raises RuleViolation for another amount; and for a manual payment with an authorization's
    reference, which would record the same money twice: staff capture an authorization by its id.
    """
    if command.source == "manual" and existing.authorized_minor:
        raise _reference_conflict(order)
    if existing.captured_minor and command.amount_minor not in (None, existing.captured_minor):
        raise _reference_conflict(order)
    return existing.captured_minor > 0


def capture_payment(command: CapturePayment, order: Order) -> tuple[OrderEvent, ...]:
    payment = or_not_found(order.payments.get(command.payment_id), "payment")
    refuse_canceled(order, "capture a payment")
    expired = payment.expires_at is not None and payment.expires_at <= command.at
    if payment.open_minor == 0 or expired:
        why = "it has expired" if expired else "it has no open amount"
        raise violation(order, "payment-not-capturable", f"Cannot capture the payment: {why}.")
    amount = payment.open_minor if command.amount_minor is None else command.amount_minor
    if amount > payment.open_minor:
        open_text = money.to_text(payment.open_minor, order.currency)
        raise InvalidRequest(
            "amount-exceeds-due",
            f"Cannot capture more than the {open_text} {order.currency} that are open.",
            open=open_text,
        )
    _check_amount(amount, order)
    # Staff capture by hand what the provider holds, so the event keeps the provider's reference.
    captured = PaymentCaptured(payment.payment_id, amount, "manual", payment.provider_reference)
    return (captured, *paid_milestone(evolve(order, captured)))


def void_authorization(command: VoidAuthorization, order: Order) -> tuple[OrderEvent, ...]:
    payment = or_not_found(order.payments.get(command.payment_id), "payment")
    if payment.open_minor == 0:
        raise violation(
            order, "payment-not-voidable", "Cannot void the payment: it has no open amount."
        )
    return (PaymentAuthorizationVoided(payment.payment_id, command.reason),)


def record_payment_failure(command: RecordPaymentFailure, order: Order) -> tuple[OrderEvent, ...]:
    payment = or_not_found(order.payments.get(command.payment_id), "payment")
    if payment.failure_code == command.code:
        return ()
    return (PaymentFailed(payment.payment_id, command.code),)


def _payment_with_reference(order: Order, reference: str | None) -> Payment | None:
    if reference is None:
        return None
    payments = order.payments.values()
    return next((p for p in payments if p.provider_reference == reference), None)


def _reference_conflict(order: Order) -> Exception:
    return violation(
        order,
        "payment-reference-conflict",
        "The order has a payment with this provider_reference, of another amount or kind: read the "
        "order's payments, and correct the reference or the amount.",
    )


def _check_due(amount_minor: int, order: Order) -> None:
    due = rules.amount_due_minor(order)
    if amount_minor > due or due == 0:
        due_text = money.to_text(due, order.currency)
        raise InvalidRequest(
            "amount-exceeds-due",
            f"Cannot take more than the {due_text} {order.currency} that are due.",
            amount_due=due_text,
        )


def _check_amount(amount_minor: int, order: Order) -> None:
    if amount_minor < 1:
        raise InvalidRequest("validation", "The amount of a payment must be more than zero.")
    money.within_bounds(order.captured_minor + amount_minor)
