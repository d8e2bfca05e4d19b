"""Decisions on payments: authorized, captured, voided, expired, failed, reversed. Pure.

What a provider reports (`source` provider) has happened: it is recorded whatever the order's state,
amount or balance. What somebody records by hand is judged. A report's identity is its reference,
per order and kind: with the same content it is a repeat, with other content a conflict.
"""

from order_service.domain import money
from order_service.domain import state as rules
from order_service.domain.commands import (
    AuthorizePayment,
    CapturePayment,
    ExpireAuthorizations,
    RecordPayment,
    RecordPaymentFailure,
    RestorePayment,
    ReversePayment,
    VoidAuthorization,
)
from order_service.domain.events import (
    OrderEvent,
    PaymentAuthorizationExpired,
    PaymentAuthorizationVoided,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentFailed,
    PaymentReversalUndone,
    PaymentReversed,
    RefundRequested,
)
from order_service.domain.evolve import evolve
from order_service.domain.refusals import (
    or_not_found,
    paid_milestone,
    reference_conflict,
    refuse_canceled,
    violation,
)
from order_service.domain.state import Capture, Order, Payment, identity
from order_service.errors import InvalidRequest

# --- authorizations -------------------------------------------------------------------------------


def authorize_payment(command: AuthorizePayment, order: Order) -> tuple[OrderEvent, ...]:
    existing = _with_reference(order, command.provider_reference)
    if existing is not None and (existing.authorized_minor or command.source != "provider"):
        if existing.authorized_minor and command.amount_minor in (None, existing.authorized_minor):
            return ()
        raise reference_conflict(order, "payment")
    expired = command.expires_at is not None and command.expires_at <= command.at
    free = max(0, rules.amount_due_minor(order) - rules.authorized_minor(order))
    amount = free if command.amount_minor is None else command.amount_minor
    if command.source != "provider":
        refuse_canceled(order, "authorize a payment")
        if expired:
            raise InvalidRequest("validation", "expires_at must lie in the future.")
        _check_due(amount, free, order)
    _check_amount(amount, order)
    # A report that comes after that of its capture completes the same payment.
    payment_id = command.payment_id if existing is None else existing.payment_id
    authorized = PaymentAuthorized(
        payment_id,
        amount,
        command.method,
        command.provider_reference,
        command.expires_at,
        command.source,
    )
    return (authorized, PaymentAuthorizationExpired(payment_id)) if expired else (authorized,)


def capture_payment(command: CapturePayment, order: Order) -> tuple[OrderEvent, ...]:
    payment = or_not_found(order.payments.get(command.payment_id), "payment")
    refuse_canceled(order, "capture a payment")
    expired = payment.expires_at is not None and payment.expires_at <= command.at
    if payment.open_minor == 0 or expired:
        why = "it has expired" if expired else "it has no open amount"
        raise violation(order, "payment-not-capturable", f"Cannot capture the payment: {why}.")
    due = rules.amount_due_minor(order)
    most = min(payment.open_minor, due)
    amount = most if command.amount_minor is None else command.amount_minor
    if amount > most or most == 0:
        open_text = money.to_text(payment.open_minor, order.currency)
        due_text = money.to_text(due, order.currency)
        raise InvalidRequest(
            "amount-exceeds-due",
            f"Cannot capture more than the {open_text} {order.currency} that are open, nor more "
            f"than the {due_text} that are due.",
            open=open_text,
            amount_due=due_text,
        )
    _check_amount(amount, order)
    # Staff capture by hand what the provider holds, so the event keeps the provider's reference.
    captured = PaymentCaptured(payment.payment_id, amount, "manual", payment.provider_reference)
    return (captured, *paid_milestone(evolve(order, captured)))


def void_authorization(command: VoidAuthorization, order: Order) -> tuple[OrderEvent, ...]:
    payment = or_not_found(order.payments.get(command.payment_id), "payment")
    expired = command.source == "provider" and command.reason == "EXPIRED"
    if payment.open_minor == 0:
        if command.source != "provider":
            raise violation(
                order, "payment-not-voidable", "Cannot void the payment: it has no open amount."
            )
        if payment.closed == ("expired" if expired else "voided"):
            return ()
    if expired:
        return (PaymentAuthorizationExpired(payment.payment_id),)
    return (PaymentAuthorizationVoided(payment.payment_id, command.reason),)


def expire_authorizations(command: ExpireAuthorizations, order: Order) -> tuple[OrderEvent, ...]:
    return tuple(
        PaymentAuthorizationExpired(payment.payment_id)
        for payment in order.payments.values()
        if payment.open_minor and payment.expires_at and payment.expires_at <= command.at
    )


def record_payment_failure(command: RecordPaymentFailure, order: Order) -> tuple[OrderEvent, ...]:
    """The open amount of the authorization, if it has one, can no longer be captured."""
    payment = or_not_found(order.payments.get(command.payment_id), "payment")
    if payment.open_minor == 0:
        if payment.failure_code == command.code:
            return ()
        if payment.captured_minor and command.source != "provider":
            raise violation(
                order,
                "payment-captured",
                "Cannot record a failure: the payment is captured. If the money was taken back, "
                "record a reversal.",
            )
    return (PaymentFailed(payment.payment_id, command.code),)


# --- captures -------------------------------------------------------------------------------------


def record_payment(command: RecordPayment, order: Order) -> tuple[OrderEvent, ...]:
    """A provider's payment is a fact, and a refund of it is requested if the order is canceled."""
    held = _held(command, order)
    if _is_recorded(command, held, order):
        return ()
    amount = command.amount_minor
    if amount is None:
        amount = rules.amount_due_minor(order) if held is None else held.authorized_minor
    if command.source != "provider":
        refuse_canceled(order, "record a payment")
        _check_due(amount, rules.amount_due_minor(order), order)
    _check_amount(amount, order)
    payment_id = command.payment_id if held is None else held.payment_id
    captured = PaymentCaptured(payment_id, amount, command.source, command.provider_reference)
    if order.cancel_reason is None:
        return (captured, *paid_milestone(evolve(order, captured)))
    refund = RefundRequested(
        command.refund_id, amount, "late_capture", order.cancel_reason, payment_id
    )
    return (captured, refund)


def _held(command: RecordPayment, order: Order) -> Payment | None:
    """The authorization that the capture draws on; None for a payment without one."""
    if command.authorization_reference is not None:
        found = _with_reference(order, command.authorization_reference)
        return or_not_found(found if found and found.authorized_minor else None, "authorization")
    found = _with_reference(order, command.provider_reference)
    return found if found is not None and found.authorized_minor else None


def _is_recorded(command: RecordPayment, held: Payment | None, order: Order) -> bool:
    """Whether the capture is a repeat. Raises RuleViolation for other content under the same
    reference, and `InvalidRequest` where it cannot be told from another capture."""
    reference = identity(command.provider_reference)
    if reference is None:
        return False
    if held is not None and reference == identity(held.provider_reference):
        return _is_whole_recorded(command, held, order)
    for payment in order.payments.values():
        for capture in payment.captures:
            if identity(capture.reference) == reference:
                _check_same(command, capture, payment, held, order)
                return True
    return False


def _check_same(
    command: RecordPayment, capture: Capture, payment: Payment, held: Payment | None, order: Order
) -> None:
    same_hold = held is None or held.payment_id == payment.payment_id
    if not same_hold or command.amount_minor not in (None, capture.amount_minor):
        raise reference_conflict(order, "payment")


def _is_whole_recorded(command: RecordPayment, held: Payment, order: Order) -> bool:
    """A capture under the authorization's own reference is one of all of it."""
    if command.source != "provider":
        raise reference_conflict(order, "payment")
    if command.amount_minor not in (None, held.authorized_minor):
        if held.captured_minor == held.authorized_minor and len(held.captures) == 1:
            raise reference_conflict(order, "payment")
        raise _needs_own_reference()
    own = identity(held.provider_reference)
    whole = [capture for capture in held.captures if identity(capture.reference) == own]
    if sum(capture.amount_minor for capture in whole) == held.authorized_minor:
        return True
    if held.captured_minor:
        raise _needs_own_reference()
    return False


def _needs_own_reference() -> InvalidRequest:
    return InvalidRequest(
        "capture-reference-required",
        "A capture of a part of an authorization needs a provider_reference of its own: send it, "
        "and the authorization's as authorization_reference.",
    )


# --- reversals ------------------------------------------------------------------------------------


def reverse_payment(command: ReversePayment, order: Order) -> tuple[OrderEvent, ...]:
    payment = or_not_found(order.payments.get(command.payment_id), "payment")
    left = max(0, payment.captured_minor - payment.reversed_minor)
    recorded = _reported(order.reversals, command.provider_reference)
    if recorded is not None:
        if recorded[0] != payment.payment_id or command.amount_minor not in (None, recorded[1]):
            raise reference_conflict(order, "reversal")
        return ()
    amount = left if command.amount_minor is None else command.amount_minor
    _check_reversal(amount, left, order)
    reference = command.provider_reference
    return (PaymentReversed(payment.payment_id, amount, command.kind, reference),)


def restore_payment(command: RestorePayment, order: Order) -> tuple[OrderEvent, ...]:
    payment = or_not_found(order.payments.get(command.payment_id), "payment")
    recorded = _reported(order.restorations, command.provider_reference)
    if recorded is not None:
        if recorded[0] != payment.payment_id or command.amount_minor not in (None, recorded[1]):
            raise reference_conflict(order, "reversal")
        return ()
    left = payment.reversed_minor
    amount = left if command.amount_minor is None else command.amount_minor
    _check_reversal(amount, left, order)
    restored = PaymentReversalUndone(payment.payment_id, amount, command.provider_reference)
    return (restored, *paid_milestone(evolve(order, restored)))


def _check_reversal(amount_minor: int, most: int, order: Order) -> None:
    if not 0 < amount_minor <= most:
        text = money.to_text(most, order.currency)
        raise InvalidRequest(
            "reversal-exceeds-captured",
            f"The amount must be more than zero and at most {text} {order.currency}: what was "
            "captured of the payment and not reversed, or, to restore it, what was reversed.",
            max_amount=text,
        )


# --- shared ---------------------------------------------------------------------------------------


def _reported(facts: rules.Reported, reference: str | None) -> tuple[object, int] | None:
    return None if reference is None else facts.get(identity(reference) or "")


def _with_reference(order: Order, reference: str | None) -> Payment | None:
    wanted = identity(reference)
    if wanted is None:
        return None
    payments = order.payments.values()
    return next((p for p in payments if identity(p.provider_reference) == wanted), None)


def _check_due(amount_minor: int, due: int, order: Order) -> None:
    if amount_minor > due or due == 0:
        due_text = money.to_text(due, order.currency)
        raise InvalidRequest(
            "amount-exceeds-due",
            f"Cannot take more than the {due_text} {order.currency} that are due and not held "
            "by other authorizations.",
            amount_due=due_text,
        )


def _check_amount(amount_minor: int, order: Order) -> None:
    if amount_minor < 1:
        raise InvalidRequest("validation", "The amount of a payment must be more than zero.")
    money.within_bounds(order.captured_minor + amount_minor)
