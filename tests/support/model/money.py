"""Payments and refunds by the book."""

from types import SimpleNamespace
from typing import Any

from order_service.domain import commands as c
from tests.support.model.facts import Facts, Outcome, codes


class Money(Facts):
    # --- payments ---------------------------------------------------------------------------------

    def known(self, reference: str | None) -> Any:
        payments = self.payments.values()
        return next((p for p in payments if reference and p.reference == reference), None)

    def authorize_payment(self, it: c.AuthorizePayment) -> Outcome:
        if known := self.known(it.provider_reference):
            same = known.authorized and it.amount_minor in (None, known.authorized)
            return [] if same else {"payment-reference-conflict"}
        amount = self.due if it.amount_minor is None else it.amount_minor
        refused = codes(
            {
                "invalid-transition": self.canceled,
                "amount-exceeds-due": amount > self.due or self.due == 0,
                "validation": amount < 1,
            }
        )
        if refused:
            return refused
        self.payments[it.payment_id] = SimpleNamespace(
            authorized=amount,
            open=amount,
            captured=0,
            reference=it.provider_reference,
            expires_at=it.expires_at,
            failure=None,
        )
        return ["PaymentAuthorized"]

    def record_payment(self, it: c.RecordPayment) -> Outcome:
        manual = it.source == "manual"
        known = self.known(it.provider_reference)
        if known and (known.captured or manual):
            same = it.amount_minor in (None, known.captured)
            taken = same and not (manual and known.authorized)
            return [] if taken else {"payment-reference-conflict"}
        whole = known.authorized if known else self.due
        amount = whole if it.amount_minor is None else it.amount_minor
        refused = codes(
            {
                "invalid-transition": manual and self.canceled,
                "amount-exceeds-due": manual and (amount > self.due or self.due == 0),
                "validation": amount < 1,
            }
        )
        if refused:
            return refused
        payment = known or SimpleNamespace(
            authorized=0, open=0, captured=0, reference=it.provider_reference, failure=None
        )
        if not known:
            self.payments[it.payment_id] = payment
        payment.open = max(0, payment.open - amount)
        payment.captured += amount
        self.captured += amount
        if self.canceled:
            return ["PaymentCaptured", *self.give_back(it.refund_id, amount)]
        return ["PaymentCaptured", *self.first_paid()]

    def capture_payment(self, it: c.CapturePayment) -> Outcome:
        payment = self.payments.get(it.payment_id)
        if payment is None:
            return {"not-found"}
        amount = payment.open if it.amount_minor is None else it.amount_minor
        expired = payment.open and payment.expires_at and payment.expires_at <= it.at
        refused = codes(
            {
                "invalid-transition": self.canceled,
                "payment-not-capturable": payment.open == 0 or bool(expired),
                "amount-exceeds-due": amount > payment.open,
                "validation": amount < 1,
            }
        )
        if refused:
            return refused
        payment.open -= amount
        payment.captured += amount
        self.captured += amount
        return ["PaymentCaptured", *self.first_paid()]

    def void_authorization(self, it: c.VoidAuthorization) -> Outcome:
        payment = self.payments.get(it.payment_id)
        if payment is None:
            return {"not-found"}
        if payment.open == 0:
            return {"payment-not-voidable"}
        payment.open = 0
        return ["PaymentAuthorizationVoided"]

    def record_payment_failure(self, it: c.RecordPaymentFailure) -> Outcome:
        payment = self.payments.get(it.payment_id)
        if payment is None:
            return {"not-found"}
        before, payment.failure = payment.failure, it.code
        return [] if before == it.code else ["PaymentFailed"]

    # --- refunds ----------------------------------------------------------------------------------

    def request_refund(self, it: c.RequestRefund) -> Outcome:
        amount = self.refundable if it.amount_minor is None else it.amount_minor
        if not 0 < amount <= self.refundable:
            return {"refund-exceeds-captured"}
        return self.give_back(it.refund_id, amount)

    def settle_refund(self, it: c.SettleRefund) -> Outcome:
        refund = self.refunds.get(it.refund_id)
        if refund is None:
            return {"not-found"}
        if refund.state == "COMPLETED" and refund.reference == it.provider_reference:
            return []
        if refund.state != "PENDING":
            return {"refund-not-pending"}
        refund.state, refund.reference = "COMPLETED", it.provider_reference
        return ["RefundCompleted"]

    def fail_refund(self, it: c.FailRefund) -> Outcome:
        refund = self.refunds.get(it.refund_id)
        if refund is None:
            return {"not-found"}
        if refund.state != "PENDING":
            return {"refund-not-pending"}
        refund.state = "FAILED"
        return ["RefundFailed"]
