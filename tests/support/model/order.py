"""An order by the book: plain numbers, written from the rules for orders and not from the code.

`ask` says what has to follow from a command: the names of its events, in their order, or the codes
of which one has to refuse it. Slow and plain on purpose.
"""

import re

from order_service.domain import commands as c
from tests.support.model.facts import Outcome, codes
from tests.support.model.money import Money
from tests.support.model.returns import Returns


class OrderModel(Returns, Money):
    def ask(self, command: c.OrderCommand) -> Outcome:
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(command).__name__).lower()
        outcome: Outcome = getattr(self, name)(command)
        return outcome

    # --- cancellations and refunds ----------------------------------------------------------------

    def cancel_units(self, it: c.CancelUnits) -> Outcome:
        line = self.lines.get(it.line_id)
        if line is None:
            return {"line-not-found", *codes({"invalid-transition": self.canceled})}
        refused = codes(
            {
                "invalid-transition": self.canceled,
                "order-not-editable": self.agreed is not None,
                "quantity-exceeds-outstanding": not 1 <= it.quantity <= line.outstanding,
            }
        )
        if refused:
            return refused
        before, total, kept = self.reached(), self.total, self.kept
        line.canceled += it.quantity
        if it.refund_shipping:
            self.shipping = self.shipping_tax = 0
        if self.sum("active") == 0:
            self.canceled = True
            refund = self.give_back(it.refund_id, self.credit)
            return ["OrderUnitsCanceled", *refund, "OrderCanceled", *self.void_open()]
        paid = self.first_paid()
        paid_for = kept - self.kept - max(0, total - self.captured)
        refund = self.give_back(it.refund_id, max(0, paid_for))
        return ["OrderUnitsCanceled", *paid, *refund, *self.milestones(before)]

    def cancel_order(self, it: c.CancelOrder) -> Outcome:
        if self.canceled:
            return []
        if self.sum("shipped"):
            return {"already-shipped"}
        self.canceled = True
        return ["OrderCanceled", *self.void_open(), *self.give_back(it.refund_id, self.credit)]

    def expire_order(self, it: c.ExpireOrder) -> Outcome:
        if self.status != "PENDING" or self.captured or self.authorized:
            return []
        if "HELD" in self.holds.values():
            return []
        self.canceled = True
        return ["OrderCanceled"]

    # --- the shorthand ----------------------------------------------------------------------------

    def change_status(self, it: c.ChangeStatus) -> Outcome:
        match (self.status, it.to):
            case (present, wanted) if present == wanted:
                return []
            case ("PENDING", "PAID") if self.total == 0:
                self.paid = True
                return ["OrderPaid"]
            case ("PENDING", "PAID"):
                return self.record_payment(c.RecordPayment(it.new_id, it.new_id, None, it.source))
            case ("PENDING", "SHIPPED"):
                return {"payment-required"}
            case ("PAID" | "PARTIALLY_SHIPPED", "SHIPPED"):
                return self.ship(c.Ship(it.new_id, None, it.at, None, it.tracking_number))
            case ("SHIPPED", "DELIVERED"):
                return self.confirm_delivery(c.ConfirmDelivery(None, None, it.at))
            case ("PENDING" | "PAID", "CANCELED"):
                return self.cancel_order(c.CancelOrder(it.reason, it.new_id))
            case ("PARTIALLY_SHIPPED" | "SHIPPED" | "DELIVERED", "CANCELED"):
                return {"already-shipped"}
            case _:
                return {"invalid-transition"}
