"""What an order has earned: one meaning for all reports.

Gross is the money that was captured, revenue what is left of it after refunds, made and pending,
and reversals. An order that is PENDING has earned nothing yet. What owners have set to PAID
themselves is counted apart: no money is known to have moved.
"""

from typing import NamedTuple

from order_service.domain.state import Order, Payment, Status


class Revenue(NamedTuple):
    """In minor units."""

    gross: int = 0
    net: int = 0
    self_service: int = 0


def revenue(order: Order, status: Status) -> Revenue:
    if status == "PENDING" or not order.captured_minor:
        return Revenue()
    set_by_owner = [p for p in order.payments.values() if p.source == "self_service"]
    gone = order.refunded_minor + order.refund_pending_minor + order.reversed_minor
    apart = sum([payment.captured_minor for payment in set_by_owner])
    gross = order.captured_minor - apart
    return Revenue(gross, gross - gone + sum(map(_gone, set_by_owner)), apart)


def _gone(payment: Payment) -> int:
    return payment.refunded_minor + payment.refund_pending_minor + payment.reversed_minor
