"""The numbers of an order by the book, and what follows from them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import floor
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid5

Outcome = list[str] | set[str]


def codes(checks: Mapping[str, bool]) -> set[str]:
    return {code for code, broken in checks.items() if broken}


def half_up(amount: Fraction) -> int:
    return floor(amount + Fraction(1, 2))


def shares(amount: int, weights: list[int]) -> list[int]:
    """By largest remainder, coin by coin."""
    whole = sum(weights) or 1
    parts = [amount * weight // whole for weight in weights]
    remainders = [amount * weight % whole for weight in weights]
    while sum(parts) < amount:
        luckiest = remainders.index(max(remainders))
        parts[luckiest] += 1
        remainders[luckiest] = -1
    return parts


@dataclass
class Line:
    """`price`: of one unit, in minor units and fractions of them. `value`: what all units ordered
    are worth, less `discount` and `share`, and with `tax`."""

    price: Fraction | int | None
    ordered: int
    canceled: int = 0
    shipped: int = 0
    delivered: int = 0
    returned: int = 0
    discount: int = 0
    tax: int = 0
    share: int = 0
    value: int = 0

    def __post_init__(self) -> None:
        self.renew()

    @property
    def net(self) -> int:
        return half_up(Fraction(self.price or 0) * self.ordered) - self.discount

    @property
    def active(self) -> int:
        return self.ordered - self.canceled

    @property
    def outstanding(self) -> int:
        return self.active - self.shipped

    def worth(self, units: int) -> int:
        return half_up(Fraction(self.value * units, self.ordered)) if self.ordered else 0

    def order(self, quantity: int) -> None:
        """Units taken away take their part of discounts and tax along; units added bring none."""
        active, price = quantity - self.canceled, Fraction(self.price or 0)
        kept = min(active, self.active)
        worth = self.worth(kept) + half_up(price * (active - kept))
        plain = not (self.discount or self.share or self.tax)
        if self.ordered:
            part = Fraction(kept + self.canceled, self.ordered)
            self.tax, self.discount = half_up(self.tax * part), half_up(self.discount * part)
        self.ordered = quantity
        whole = half_up(price * quantity) + self.tax
        spread = half_up(Fraction(worth * quantity, active))
        self.value = whole if plain else min(whole, spread)
        self.discount = min(self.discount, whole - self.value)
        self.share = whole - self.value - self.discount

    def renew(self) -> None:
        self.value = self.net - self.share + self.tax


@dataclass
class Facts:
    lines: dict[int, Line]
    shipping: int
    discount: int
    agreed: int | None
    lines_ever: int = 0
    tax_included: bool = True
    trusted: bool = True
    shipping_tax: int = 0
    shipping_returned: int = 0
    payments: dict[UUID, Any] = field(default_factory=dict)
    shipments: dict[UUID, Any] = field(default_factory=dict)
    refunds: dict[UUID, Any] = field(default_factory=dict)
    returns: dict[UUID, Any] = field(default_factory=dict)
    holds: dict[UUID, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    reversals: list[Any] = field(default_factory=list)
    restorations: list[Any] = field(default_factory=list)
    captured: int = 0
    paid: bool = False
    canceled: bool = False

    def __post_init__(self) -> None:
        self.shipping += self.shipping_tax
        nets = [line.net for line in self.lines.values()]
        for line, share in zip(self.lines.values(), shares(self.discount, nets), strict=True):
            line.share = share
            line.renew()

    # --- what follows from the numbers ------------------------------------------------------------

    def sum(self, column: str) -> int:
        return sum(getattr(line, column) for line in self.lines.values())

    def whole(self, column: str) -> bool:
        return 0 < self.sum("active") == self.sum(column)

    @property
    def total(self) -> int:
        if self.agreed is not None:
            return self.agreed
        return self.shipping + sum(line.worth(line.active) for line in self.lines.values())

    @property
    def kept(self) -> int:
        """The total without what came back; an agreed total is one piece."""
        if self.agreed is not None:
            return 0 if self.whole("returned") else self.agreed
        goods = [line.worth(line.active - line.returned) for line in self.lines.values()]
        return self.shipping - self.shipping_returned + sum(goods)

    def refunds_of(self, state: str) -> int:
        return sum(refund.amount for refund in self.refunds.values() if refund.state == state)

    @property
    def refunded(self) -> int:
        return self.refunds_of("COMPLETED")

    @property
    def pending(self) -> int:
        return self.refunds_of("PENDING")

    @property
    def authorized(self) -> int:
        return sum(payment.open for payment in self.payments.values())

    @property
    def reversed(self) -> int:
        return sum(payment.reversed for payment in self.payments.values())

    @property
    def net(self) -> int:
        return self.captured - self.refunded - self.reversed

    def captured_of(self, payment: Any) -> int:
        return sum(amount for amount, _ in payment.captures)

    def left_of(self, payment: Any) -> int:
        """What can be refunded of it."""
        refunds = [r for r in self.refunds.values() if r.payment is payment]
        gone = sum(refund.amount for refund in refunds if refund.state != "FAILED")
        return max(0, self.captured_of(payment) - payment.reversed - gone)

    @property
    def payable(self) -> int:
        return 0 if self.canceled else self.kept

    @property
    def due(self) -> int:
        return max(0, self.payable - self.net)

    @property
    def credit(self) -> int:
        return max(0, self.net - self.pending - self.payable)

    @property
    def status(self) -> str:
        fits = {
            "CANCELED": self.canceled,
            "RETURNED": self.whole("returned"),
            "DELIVERED": self.whole("delivered"),
            "SHIPPED": self.whole("shipped"),
            "PARTIALLY_SHIPPED": self.sum("shipped") > 0,
            "PAID": self.paid,
            "PENDING": True,
        }
        return next(status for status, fit in fits.items() if fit)

    @property
    def payment_status(self) -> str:
        nothing = self.captured == 0
        fits = {
            "DISPUTED": self.reversed > 0 and self.net < self.payable,
            "AUTHORIZED": nothing and self.authorized > 0,
            "PAID": nothing
            and not self.canceled
            and self.total == 0
            and (self.trusted or self.paid),
            "UNPAID": nothing,
            "REFUNDED": self.refunded >= self.captured,
            "PARTIALLY_REFUNDED": self.refunded > 0,
            "OVERPAID": self.net > self.payable,
            "PARTIALLY_PAID": self.net < self.payable,
        }
        return next((status for status, fit in fits.items() if fit), "PAID")

    @property
    def fulfillment_status(self) -> str:
        if self.canceled:
            return "CANCELED"
        for column in ("returned", "delivered", "shipped"):
            if self.sum(column):
                return column.upper() if self.whole(column) else f"PARTIALLY_{column.upper()}"
        return "UNFULFILLED"

    @property
    def refundable(self) -> int:
        return self.most_back(by_itself=False)

    def most_back(self, *, by_itself: bool) -> int:
        """What can be refunded; by itself, nothing that an owner has recorded."""
        payments = [
            payment
            for payment in self.payments.values()
            if not (by_itself and payment.source == "self_service")
        ]
        whole = max(0, self.net - self.pending)
        return min(whole, sum(self.left_of(payment) for payment in payments))

    # --- what several commands lead to ------------------------------------------------------------

    def first_paid(self) -> list[str]:
        if self.paid or self.canceled or self.net < self.total:
            return []
        if self.total == 0 and self.captured == 0 and not self.trusted:
            return []
        self.paid = True
        return ["OrderPaid"]

    def reached(self) -> list[bool]:
        return [self.whole(column) for column in ("shipped", "delivered", "returned")]

    def milestones(self, before: list[bool]) -> list[str]:
        names = ("OrderShipped", "OrderDelivered", "OrderReturned")
        both = zip(names, before, self.reached(), strict=True)
        return [name for name, was, now in both if now and not was]

    def give_back(
        self, refund_id: UUID, amount: int, *, by_itself: bool = True, chosen: Any = None
    ) -> list[str]:
        """A refund of each payment, the newest first, until the amount is reached."""
        rest, new = min(amount, self.most_back(by_itself=by_itself)), 0
        for payment in reversed(list(self.payments.values())):
            if (chosen or payment) is not payment:
                continue
            if by_itself and payment.source == "self_service":
                continue
            part = min(rest, self.left_of(payment))
            if part:
                new_id = uuid5(refund_id, str(new)) if new else refund_id
                self.refunds[new_id] = SimpleNamespace(
                    amount=part, state="PENDING", reference=None, payment=payment
                )
                rest, new = rest - part, new + 1
        return ["RefundRequested"] * new

    def void_open(self) -> list[str]:
        still_open = [payment for payment in self.payments.values() if payment.open]
        for payment in still_open:
            payment.open, payment.closed = 0, "voided"
        return ["PaymentAuthorizationVoided" for _ in still_open]
