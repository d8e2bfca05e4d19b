"""Payments and refunds by the book."""

import unicodedata
from types import SimpleNamespace
from typing import Any

from order_service.domain import commands as c
from tests.support.model.facts import Facts, Outcome, codes


def same(reference: str | None, other: str | None) -> bool:
    if reference is None or other is None:
        return False
    forms = [unicodedata.normalize("NFC", text).strip() for text in (reference, other)]
    return forms[0] == forms[1]


class Money(Facts):
    # --- payments ---------------------------------------------------------------------------------

    def known(self, reference: str | None) -> Any:
        payments = self.payments.values()
        return next((p for p in payments if same(p.reference, reference)), None)

    def new_payment(self, **members: Any) -> SimpleNamespace:
        empty = {"authorized": 0, "open": 0, "captures": [], "expires_at": None, "failure": None}
        return SimpleNamespace(**empty | {"reversed": 0, "closed": None} | members)

    def authorize_payment(self, it: c.AuthorizePayment) -> Outcome:
        known, manual = self.known(it.provider_reference), it.source == "manual"
        if known and (known.authorized or manual):
            repeated = known.authorized and it.amount_minor in (None, known.authorized)
            return [] if repeated else {"payment-reference-conflict"}
        free = max(0, self.due - self.authorized)
        amount = free if it.amount_minor is None else it.amount_minor
        expired = it.expires_at is not None and it.expires_at <= it.at
        refused = codes(
            {
                "invalid-transition": manual and self.canceled,
                "amount-exceeds-due": manual and (amount > free or free == 0),
                "validation": amount < 1 or (manual and expired),
            }
        )
        if refused:
            return refused
        payment = known or self.new_payment(reference=it.provider_reference, source=it.source)
        if not known:
            self.payments[it.payment_id] = payment
        payment.authorized = amount
        payment.open = max(0, amount - self.captured_of(payment))
        payment.expires_at = it.expires_at
        if not expired:
            return ["PaymentAuthorized"]
        payment.open, payment.closed = 0, "expired"
        return ["PaymentAuthorized", "PaymentAuthorizationExpired"]

    def record_payment(self, it: c.RecordPayment) -> Outcome:
        manual = it.source != "provider"
        named = it.authorization_reference is not None
        known = self.known(it.authorization_reference if named else it.provider_reference)
        held = known if known and known.authorized else None
        if named and held is None:
            return {"not-found"}
        if held and same(held.reference, it.provider_reference):
            whole = [amount for amount, ref in held.captures if same(ref, held.reference)]
            if manual:
                return {"payment-reference-conflict"}
            if it.amount_minor not in (None, held.authorized):
                return {"capture-reference-required", "payment-reference-conflict"}
            if sum(whole) == held.authorized:
                return []
            if held.captures:
                return {"capture-reference-required"}
        elif repeated := [
            (payment, amount)
            for payment in self.payments.values()
            for amount, reference in payment.captures
            if same(reference, it.provider_reference)
        ]:
            payment, captured = repeated[0]
            matches = it.amount_minor in (None, captured) and (held is None or held is payment)
            return [] if matches else {"payment-reference-conflict"}
        amount = it.amount_minor
        if amount is None:
            amount = held.authorized if held else self.due
        refused = codes(
            {
                "invalid-transition": manual and self.canceled,
                "amount-exceeds-due": manual and (amount > self.due or self.due == 0),
                "validation": amount < 1,
            }
        )
        if refused:
            return refused
        payment = held or self.new_payment(reference=it.provider_reference)
        if not held:
            self.payments[it.payment_id] = payment
        self.capture(payment, amount, it.provider_reference, it.source)
        if not self.canceled:
            return ["PaymentCaptured", *self.first_paid()]
        self.refunds[it.refund_id] = SimpleNamespace(
            amount=amount, state="PENDING", reference=None, payment=payment
        )
        return ["PaymentCaptured", "RefundRequested"]

    def capture(self, payment: Any, amount: int, reference: str | None, source: str) -> None:
        payment.open = max(0, payment.open - amount)
        payment.captures.append((amount, reference))
        payment.source = source
        self.captured += amount

    def capture_payment(self, it: c.CapturePayment) -> Outcome:
        payment = self.payments.get(it.payment_id)
        if payment is None:
            return {"not-found"}
        most = min(payment.open, self.due)
        amount = most if it.amount_minor is None else it.amount_minor
        expired = payment.expires_at and payment.expires_at <= it.at
        refused = codes(
            {
                "invalid-transition": self.canceled,
                "payment-not-capturable": payment.open == 0 or bool(expired),
                "amount-exceeds-due": amount > most or most == 0,
                "validation": amount < 1,
            }
        )
        if refused:
            return refused
        self.capture(payment, amount, payment.reference, "manual")
        return ["PaymentCaptured", *self.first_paid()]

    def void_authorization(self, it: c.VoidAuthorization) -> Outcome:
        payment = self.payments.get(it.payment_id)
        if payment is None:
            return {"not-found"}
        provider = it.source == "provider"
        ended = "expired" if provider and it.reason == "EXPIRED" else "voided"
        if payment.open == 0 and not provider:
            return {"payment-not-voidable"}
        if payment.open == 0 and payment.closed == ended:
            return []
        payment.open, payment.closed = 0, ended
        return [
            "PaymentAuthorizationExpired" if ended == "expired" else "PaymentAuthorizationVoided"
        ]

    def expire_authorizations(self, it: c.ExpireAuthorizations) -> Outcome:
        over = [
            payment
            for payment in self.payments.values()
            if payment.open and payment.expires_at and payment.expires_at <= it.at
        ]
        for payment in over:
            payment.open, payment.closed = 0, "expired"
        return ["PaymentAuthorizationExpired" for _ in over]

    def record_payment_failure(self, it: c.RecordPaymentFailure) -> Outcome:
        payment = self.payments.get(it.payment_id)
        if payment is None:
            return {"not-found"}
        if payment.open == 0 and payment.failure == it.code:
            return []
        if payment.open == 0 and payment.captures and it.source == "manual":
            return {"payment-captured"}
        payment.failure, payment.open, payment.closed = it.code, 0, "failed"
        return ["PaymentFailed"]

    # --- reversals --------------------------------------------------------------------------------

    def reverse_payment(self, it: c.ReversePayment) -> Outcome:
        return self.turned(it, self.reversals, 1)

    def restore_payment(self, it: c.RestorePayment) -> Outcome:
        return self.turned(it, self.restorations, -1)

    def turned(
        self, it: c.ReversePayment | c.RestorePayment, reported: list[Any], sign: int
    ) -> Outcome:
        payment = self.payments.get(it.payment_id)
        if payment is None:
            return {"not-found"}
        for reference, of, amount in reported:
            if same(reference, it.provider_reference):
                repeated = of is payment and it.amount_minor in (None, amount)
                return [] if repeated else {"payment-reference-conflict"}
        left = payment.reversed if sign < 0 else self.captured_of(payment) - payment.reversed
        turned = left if it.amount_minor is None else it.amount_minor
        if not 0 < turned <= left:
            return {"reversal-exceeds-captured"}
        payment.reversed += sign * turned
        reported.append((it.provider_reference, payment, turned))
        if sign > 0:
            return ["PaymentReversed"]
        return ["PaymentReversalUndone", *self.first_paid()]

    # --- refunds ----------------------------------------------------------------------------------

    def request_refund(self, it: c.RequestRefund) -> Outcome:
        chosen = None if it.payment_id is None else self.payments.get(it.payment_id)
        if it.payment_id is not None and chosen is None:
            return {"not-found"}
        reference = it.provider_reference
        if it.source == "provider" and reference is None:
            return {"validation"}
        if alike := [r for r in self.refunds.values() if same(r.reference, reference)]:
            repeated = it.amount_minor in (None, sum(refund.amount for refund in alike))
            fits = chosen is None or all(refund.payment is chosen for refund in alike)
            return [] if repeated and fits else {"payment-reference-conflict"}
        most = self.refundable if chosen is None else min(self.left_of(chosen), self.refundable)
        amount = most if it.amount_minor is None else it.amount_minor
        if not 0 < amount <= most:
            return {"refund-exceeds-captured"}
        names = self.give_back(it.refund_id, amount, by_itself=False, chosen=chosen)
        if it.source != "provider":
            return names
        for refund in list(self.refunds.values())[-len(names) :]:
            refund.state, refund.reference = "COMPLETED", reference
        return [*names, *["RefundCompleted" for _ in names]]

    def settle_refund(self, it: c.SettleRefund) -> Outcome:
        refund = self.refunds.get(it.refund_id)
        if refund is None:
            return {"not-found"}
        equal = refund.reference == it.provider_reference
        if refund.state == "COMPLETED" and (equal or same(refund.reference, it.provider_reference)):
            return []
        if refund.state != "PENDING":
            return {"refund-not-pending"}
        if any(same(other.reference, it.provider_reference) for other in self.refunds.values()):
            return {"payment-reference-conflict"}
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
