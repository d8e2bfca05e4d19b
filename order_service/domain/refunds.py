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
    CancelReason,
    OrderCanceled,
    OrderEvent,
    OrderUnitsCanceled,
    PaymentAuthorizationVoided,
    RefundCompleted,
    RefundFailed,
    RefundRequested,
)
from order_service.domain.evolve import evolve
from order_service.domain.refusals import (
    line_of,
    milestones,
    only_payment,
    or_not_found,
    paid_milestone,
    refuse_canceled,
    violation,
)
from order_service.domain.state import Order, Refund
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
    refund = _refund(command.refund_id, command.reason, _owed_for_units(order, after), after)
    return (canceled, *paid, *refund, *milestones(order, after))


def _owed_for_units(before: Order, after: Order) -> int:
    """What was paid for the canceled units, at most what can be refunded.

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
    """No events if the order has been paid or canceled meanwhile."""
    if rules.status(order) != "PENDING" or order.captured_minor:
        return ()
    return (OrderCanceled("EXPIRED", "PENDING"), *_void_authorizations(order))


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
    return _refund(refund_id, reason, rules.credit_due_minor(after), after)


def _refund(
    refund_id: UUID, reason: CancelReason, amount_minor: int, after: Order
) -> tuple[OrderEvent, ...]:
    if amount_minor == 0:
        return ()
    return (RefundRequested(refund_id, amount_minor, "cancel", reason, only_payment(after)),)


# --- refunds --------------------------------------------------------------------------------------


def request_refund(command: RequestRefund, order: Order) -> tuple[OrderEvent, ...]:
    refundable = rules.refundable_minor(order)
    amount = refundable if command.amount_minor is None else command.amount_minor
    if not 0 < amount <= refundable:
        text = money.to_text(refundable, order.currency)
        raise InvalidRequest(
            "refund-exceeds-captured",
            f"A refund must be more than zero and at most {text} {order.currency}: what was "
            "captured, less the refunds that are completed or pending.",
            max_refundable=text,
        )
    payment = only_payment(order)
    return (
        RefundRequested(
            command.refund_id, amount, "manual", command.reason, payment, command.text_ref
        ),
    )


def settle_refund(command: SettleRefund, order: Order) -> tuple[OrderEvent, ...]:
    refund = or_not_found(order.refunds.get(command.refund_id), "refund")
    reference = command.provider_reference
    if refund.status == "COMPLETED" and refund.provider_reference == reference:
        return ()
    _refuse_unless_pending(order, refund)
    return (RefundCompleted(refund.refund_id, refund.amount_minor, reference),)


def fail_refund(command: FailRefund, order: Order) -> tuple[OrderEvent, ...]:
    refund = or_not_found(order.refunds.get(command.refund_id), "refund")
    _refuse_unless_pending(order, refund)
    return (RefundFailed(refund.refund_id, refund.amount_minor, command.code),)


def _refuse_unless_pending(order: Order, refund: Refund) -> None:
    if refund.status != "PENDING":
        raise violation(
            order, "refund-not-pending", f"The refund is {refund.status}: nothing is pending."
        )
