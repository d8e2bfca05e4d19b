"""Which payments a refund is taken from. Pure.

The newest payments come first, one refund each. Nothing refunds by itself what an owner recorded by
setting PAID (`self_service`): no money is known to have come in.
"""

from uuid import UUID, uuid5

from order_service.domain import state as rules
from order_service.domain.events import RefundRequested
from order_service.domain.parts import CancelReason, RefundCause, RefundReason, ReturnReason
from order_service.domain.state import Order, Payment

Reason = RefundReason | CancelReason | ReturnReason


def refundable_minor(order: Order, *, by_itself: bool, payment_id: UUID | None = None) -> int:
    """What can be refunded, of all payments or of one."""
    left = sum(_left(payment, by_itself, payment_id) for payment in order.payments.values())
    return min(left, rules.refundable_minor(order))


def refund_requests(
    order: Order,
    amount_minor: int,
    cause: RefundCause,
    reason: Reason,
    refund_id: UUID,
    *,
    by_itself: bool = True,
    payment_id: UUID | None = None,
    text_ref: UUID | None = None,
) -> tuple[RefundRequested, ...]:
    """Refunds of `amount_minor` in all, at most what can be refunded. The first has the id
    `refund_id`, the others have ids that follow from it."""
    rest = min(amount_minor, refundable_minor(order, by_itself=by_itself, payment_id=payment_id))
    refunds: list[RefundRequested] = []
    for payment in reversed([*order.payments.values()]):
        part = min(rest, _left(payment, by_itself, payment_id))
        if part > 0:
            new_id = uuid5(refund_id, str(len(refunds))) if refunds else refund_id
            refunds.append(
                RefundRequested(new_id, part, cause, reason, payment.payment_id, text_ref)
            )
            rest -= part
    return tuple(refunds)


def _left(payment: Payment, by_itself: bool, payment_id: UUID | None) -> int:
    if by_itself and payment.source == "self_service":
        return 0
    return payment.refundable_minor if payment_id in (None, payment.payment_id) else 0
