"""Decisions on cancellations, of units or of an order, and on refunds. Pure."""

from uuid import UUID

from order_service.domain import money
from order_service.domain import state as rules
from order_service.domain.commands import (
    CancelOrder,
    CancelUnits,
    FailRefund,
    RequestRefund,
    SettleRefund,
)
from order_service.domain.events import (
    OrderCanceled,
    OrderEvent,
    OrderUnitsCanceled,
    PaymentAuthorizationVoided,
    RefundCompleted,
    RefundFailed,
)
from order_service.domain.evolve import evolve
from order_service.domain.parts import CancelReason
from order_service.domain.paying_back import refund_requests, refundable_minor
from order_service.domain.refusals import (
    line_of,
    milestones,
    or_not_found,
    paid_milestone,
    reference_conflict,
    refuse_canceled,
    violation,
)
from order_service.domain.state import Order, Refund, identity
from order_service.errors import InvalidRequest


def cancel(command: CancelOrder, order: Order) -> tuple[OrderEvent, ...]:
    if order.cancel_reason:
        return ()
    if any(line.shipped for line in order.lines.values()):
        raise violation(
            order,
            "already-shipped",
            "Cannot cancel the order: units have shipped. Cancel the units that have not shipped; "
            "take the others back as a return.",
        )
    canceled = OrderCanceled(command.reason, rules.status(order), command.text_ref)
    after = evolve(order, canceled)
    return (
        canceled,
        *_void_authorizations(order),
        *_refund_of_credit(command.refund_id, command.reason, after),
    )


def cancel_units(command: CancelUnits, order: Order) -> tuple[OrderEvent, ...]:
    refuse_canceled(order, "cancel units")
    line = line_of(order, command.line_id)
    if order.agreed:
        raise violation(
            order,
            "order-not-editable",
            "Cannot cancel units of an order with an agreed total: its units have no price.",
        )
    if not 1 <= command.quantity <= line.outstanding:
        raise InvalidRequest(
            "quantity-exceeds-outstanding",
            f"Cannot cancel that many units of line {command.line_id}: "
            f"{line.outstanding} outstanding.",
            line_id=command.line_id,
            outstanding=line.outstanding,
        )
    fall = line.worth(line.active) - line.worth(line.active - command.quantity)
    shipping = rules.shipping_minor(order) if command.refund_shipping else 0
    canceled = OrderUnitsCanceled(
        command.line_id,
        command.quantity,
        command.reason,
        order.total_minor - fall - shipping,
        command.text_ref,
        shipping,
    )
    after = evolve(order, canceled)
    if rules.units(after) == 0:
        return (canceled, *_cancel_without_units(command, order, after))
    paid = paid_milestone(after)
    owed = owed_for_units(order, after)
    refund = refund_requests(after, owed, "cancel", command.reason, command.refund_id)
    return (canceled, *paid, *refund, *milestones(order, after))


def owed_for_units(before: Order, after: Order) -> int:
    """What was paid for the units that are gone, at most what can be refunded.

    Not the credit: an earlier overpayment stays one, and an earlier refund, for a return or as
    goodwill, has lowered the net payment, but not the price that was paid for these units.
    """
    worth = before.total_minor - before.returned_minor - after.total_minor + after.returned_minor
    unpaid = max(0, before.total_minor - before.captured_minor)
    return max(0, min(worth - unpaid, rules.refundable_minor(after)))


def _cancel_without_units(
    command: CancelUnits, before: Order, after: Order
) -> tuple[OrderEvent, ...]:
    canceled = OrderCanceled(command.reason, rules.status(before), command.text_ref)
    refund = _refund_of_credit(command.refund_id, command.reason, evolve(after, canceled))
    return (*refund, canceled, *_void_authorizations(after))


def expire(order: Order) -> tuple[OrderEvent, ...]:
    """No events if the order has been paid or canceled meanwhile, is on hold, or money is held for
    it."""
    if rules.on_hold(order):
        return ()
    if rules.status(order) != "PENDING" or order.captured_minor or rules.authorized_minor(order):
        return ()
    return (OrderCanceled("EXPIRED", "PENDING"),)


def _void_authorizations(order: Order) -> tuple[OrderEvent, ...]:
    return tuple(
        PaymentAuthorizationVoided(payment.payment_id, "ORDER_CANCELED")
        for payment in order.payments.values()
        if payment.open_minor
    )


def _refund_of_credit(
    refund_id: UUID, reason: CancelReason, after: Order
) -> tuple[OrderEvent, ...]:
    """A refund of the credit due, if there is any."""
    return refund_requests(after, rules.credit_due_minor(after), "cancel", reason, refund_id)


# --- refunds --------------------------------------------------------------------------------------


def request_refund(command: RequestRefund, order: Order) -> tuple[OrderEvent, ...]:
    chosen = command.payment_id
    if chosen is not None:
        or_not_found(order.payments.get(chosen), "payment")
    from_provider = command.source == "provider"
    if from_provider and command.provider_reference is None:
        raise InvalidRequest(
            "validation", "A refund that the provider reports needs its provider_reference."
        )
    existing = _refunds_with_reference(order, command.provider_reference)
    if existing:
        same = command.amount_minor in (None, sum(refund.amount_minor for refund in existing))
        if same and all(chosen in (None, refund.payment_id) for refund in existing):
            return ()
        raise reference_conflict(order, "refund")
    refundable = refundable_minor(order, by_itself=False, payment_id=chosen)
    amount = refundable if command.amount_minor is None else command.amount_minor
    if not 0 < amount <= refundable:
        text = money.to_text(refundable, order.currency)
        raise InvalidRequest(
            "refund-exceeds-captured",
            f"A refund must be more than zero and at most {text} {order.currency}: what was "
            "captured, less what was reversed, and less the refunds that are completed or pending.",
            max_refundable=text,
        )
    requested = refund_requests(
        order,
        amount,
        "manual",
        command.reason,
        command.refund_id,
        by_itself=False,
        payment_id=chosen,
        text_ref=command.text_ref,
    )
    if not from_provider:
        return requested
    reference = command.provider_reference
    completed = (RefundCompleted(r.refund_id, r.amount_minor, reference) for r in requested)
    return (*requested, *completed)


def settle_refund(command: SettleRefund, order: Order) -> tuple[OrderEvent, ...]:
    refund = or_not_found(order.refunds.get(command.refund_id), "refund")
    reference = command.provider_reference
    if refund.status == "COMPLETED" and identity(refund.provider_reference) == identity(reference):
        return ()
    _refuse_unless_pending(order, refund)
    if _refunds_with_reference(order, reference):
        raise reference_conflict(order, "refund")
    return (RefundCompleted(refund.refund_id, refund.amount_minor, reference),)


def _refunds_with_reference(order: Order, reference: str | None) -> list[Refund]:
    """Several, if the provider has paid back parts of several payments at once."""
    wanted = identity(reference)
    if wanted is None:
        return []
    return [r for r in order.refunds.values() if identity(r.provider_reference) == wanted]


def fail_refund(command: FailRefund, order: Order) -> tuple[OrderEvent, ...]:
    refund = or_not_found(order.refunds.get(command.refund_id), "refund")
    _refuse_unless_pending(order, refund)
    return (RefundFailed(refund.refund_id, refund.amount_minor, command.code),)


def _refuse_unless_pending(order: Order, refund: Refund) -> None:
    if refund.status != "PENDING":
        raise violation(
            order, "refund-not-pending", f"The refund is {refund.status}: nothing is pending."
        )
