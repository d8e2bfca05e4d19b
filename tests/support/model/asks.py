"""What may be asked of an order: commands that make sense more often than not, for Hypothesis."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar, get_args
from uuid import UUID

from hypothesis import strategies as st

from order_service.domain import commands as c
from order_service.domain.lines import gross_minor
from order_service.domain.parts import (
    AuthorizationVoidReason,
    LineQuantity,
    OrderLine,
    PaymentSource,
    ReceivedQuantity,
)
from tests.support.log.examples import AT, USER
from tests.support.log.lives import TEXT, UNKNOWN_ID
from tests.support.model.order import OrderModel
from tests.support.values import replace

T = TypeVar("T")
Parts = Sequence[tuple[int, int]]  # which line, how many of it
TARGETS = get_args(c.TargetStatus)

rarely = st.integers(0, 9).map(lambda n: n == 9)
nth = st.integers(0, 9)  # which of the parts that the order has; 9: none of them
few = st.sampled_from([1, 2, 3, 4, 1, 2, 0, -1])
prices = st.integers(0, 900)
scales = st.sampled_from([0, 0, 0, 1, 2, 6])
amounts = st.sampled_from([None, None, 1, 10, 100, 300, 5_000, 0, -1])
hours = st.integers(0, 3).map(lambda n: AT + timedelta(hours=n))
references = st.none() | st.sampled_from(["ref-1", " ref-1", "ref-2", "caf\u00e9", "cafe\u0301"])
sources: st.SearchStrategy[PaymentSource] = st.sampled_from(["manual", "provider"])
names = st.none() | st.sampled_from(["Post", "Rail"])
quantities = st.lists(st.tuples(nth, few), min_size=1, max_size=2)
condition = st.sampled_from(["SELLABLE", "DAMAGED"])


@st.composite
def priced(draw: st.DrawFn, number: int, quantity: int) -> OrderLine:
    """A line with a price, which may be finer than the currency, a discount of its own and tax."""
    line = OrderLine(number, "A", None, quantity, draw(prices), {}, None, draw(scales))
    discount = draw(st.just(0) | st.integers(0, max(0, gross_minor(line))))
    return replace(line, discount_minor=discount, tax_minor=draw(st.sampled_from([0, 0, 7, 50])))


@st.composite
def placing(draw: st.DrawFn) -> c.PlaceOrder:
    """An order with prices, shipping, discounts and taxes, or with an agreed total: one in ten."""
    if draw(rarely):
        line = OrderLine(1, "A", None, 3, None)
        return c.PlaceOrder(USER, "USD", (line,), draw(prices))
    numbers = range(1, draw(st.integers(1, 3)) + 1)
    lines = tuple(draw(priced(n, draw(st.integers(1, 4)))) for n in numbers)
    most = sum(gross_minor(line) - line.discount_minor for line in lines)
    return c.PlaceOrder(
        USER,
        "USD",
        lines,
        None,
        shipping_fee_minor=draw(st.integers(0, 300)),
        discount_minor=draw(st.just(0) | st.integers(0, min(most, 1_000))),
        shipping_tax_minor=draw(st.sampled_from([0, 0, 19])),
        tax_included=draw(st.booleans()),
        prices_trusted=draw(st.booleans()),
    )


class Asking:
    """An order that can be asked: the model knows which parts it has."""

    def __init__(self, model: OrderModel) -> None:
        self.model = model
        self.ids = 0

    def new_id(self) -> UUID:
        self.ids += 1
        return UUID(int=self.ids)

    def line(self, n: int) -> int:
        return pick(self.model.lines, n, 99)

    def parts(self, lines: Parts, twice: bool) -> tuple[LineQuantity, ...]:
        """Each line once; with `twice` the first of them a second time."""
        once = {self.line(n): quantity for n, quantity in lines}
        named = [LineQuantity(line_id, quantity) for line_id, quantity in once.items()]
        return tuple(named + named[:1] if twice else named)


def pick(ids: Iterable[T], n: int, nobody: T) -> T:
    """The n-th of `ids` and round again; at times one that is not there."""
    known = [*ids]
    return known[n % len(known)] if known and n < 9 else nobody


@dataclass(frozen=True)
class Ask:
    """One kind of command, for orders of which it makes sense."""

    command: Callable[..., c.OrderCommand]
    arguments: st.SearchStrategy[dict[str, Any]]
    when: Callable[[OrderModel], object]


ASKS: list[Ask] = []


def asked(
    when: Callable[[OrderModel], object] = lambda model: True, **arguments: st.SearchStrategy[Any]
) -> Callable[[Callable[..., c.OrderCommand]], Callable[..., c.OrderCommand]]:
    def keep(command: Callable[..., c.OrderCommand]) -> Callable[..., c.OrderCommand]:
        ASKS.append(Ask(command, st.fixed_dictionaries(arguments), when))
        return command

    return keep


def may_be_edited(m: OrderModel) -> bool:
    return m.status in ("PENDING", "CANCELED")


@asked(to=st.sampled_from(TARGETS), at=hours)
def change_status(it: Asking, to: c.TargetStatus, at: datetime) -> c.OrderCommand:
    return c.ChangeStatus(to, it.new_id(), at, "OTHER")


@asked(when=may_be_edited, line=few.flatmap(lambda quantity: priced(0, quantity)), priceless=rarely)
def add_line(it: Asking, line: OrderLine, priceless: bool) -> c.OrderCommand:
    return c.AddLine(replace(line, unit_price_minor=None) if priceless else line)


@asked(when=may_be_edited, n=nth, quantity=few)
def change_line_quantity(it: Asking, n: int, quantity: int) -> c.OrderCommand:
    return c.ChangeLineQuantity(it.line(n), quantity)


@asked(when=may_be_edited, n=nth)
def remove_line(it: Asking, n: int) -> c.OrderCommand:
    return c.RemoveLine(it.line(n))


@asked(
    n=nth,
    other=nth,
    quantity=st.none() | few,
    price=st.none() | prices,
    discounts=st.tuples(*[st.none() | st.integers(0, 500)] * 2),
    fee=st.none() | st.integers(0, 300),
    line=st.none() | few.map(abs).filter(bool).flatmap(lambda quantity: priced(0, quantity)),
    keep_credit=st.booleans(),
    removes=rarely,
)
def edit(
    it: Asking,
    n: int,
    other: int,
    quantity: int | None,
    price: int | None,
    discounts: tuple[int | None, int | None],
    fee: int | None,
    line: OrderLine | None,
    keep_credit: bool,
    removes: bool,
) -> c.OrderCommand:
    of_line, of_order = discounts
    changed = c.LineEdit(it.line(n), quantity, price, 0, of_line)
    return c.EditOrder(
        it.new_id(),
        () if line is None else (line,),
        () if quantity == price == of_line is None else (changed,),
        (it.line(other),) if removes else (),
        fee,
        None,
        of_order,
        keep_credit,
    )


@asked(n=nth, hold=rarely)
def hold(it: Asking, n: int, hold: bool) -> c.OrderCommand:
    if hold:
        return c.HoldOrder(it.new_id(), "FRAUD_REVIEW")
    return c.ReleaseHold(pick(it.model.holds, n, UNKNOWN_ID))


@asked(kind=st.sampled_from([c.ChangeShippingAddress, c.ChangeBillingAddress, c.ChangeContact]))
def change_text(it: Asking, kind: Callable[[UUID], c.OrderCommand]) -> c.OrderCommand:
    return kind(TEXT)


@asked()
def add_note(it: Asking) -> c.OrderCommand:
    return c.AddNote(it.new_id(), "public", TEXT)


@asked(
    values=st.dictionaries(
        st.integers(0, 60).map(str), st.sampled_from(["x", "y", None]), max_size=40
    )
)
def set_metadata(it: Asking, values: dict[str, str | None]) -> c.OrderCommand:
    return c.SetMetadata(values)


@asked(tags=st.lists(st.sampled_from(["gift", "express"]), unique=True))
def set_tags(it: Asking, tags: list[str]) -> c.OrderCommand:
    return c.SetTags(tuple(tags))


# --- payments -------------------------------------------------------------------------------------


@asked(
    when=lambda m: m.due or m.canceled or m.captured,
    amount=amounts,
    reference=references,
    at=hours,
    expires_at=st.none() | hours,
    source=sources,
)
def authorize(
    it: Asking,
    amount: int | None,
    reference: str | None,
    at: datetime,
    expires_at: datetime | None,
    source: PaymentSource,
) -> c.OrderCommand:
    new_id = it.new_id()
    return c.AuthorizePayment(new_id, amount, at, "card", reference, expires_at, source)


@asked(
    amount=amounts,
    source=sources | st.just("self_service"),
    reference=references,
    held=st.none() | references,
)
def pay(
    it: Asking,
    amount: int | None,
    source: PaymentSource,
    reference: str | None,
    held: str | None,
) -> c.OrderCommand:
    return c.RecordPayment(it.new_id(), it.new_id(), amount, source, reference, held)


@asked(when=lambda m: m.authorized, n=nth, amount=amounts, at=hours)
def capture(it: Asking, n: int, amount: int | None, at: datetime) -> c.OrderCommand:
    return c.CapturePayment(pick(it.model.payments, n, UNKNOWN_ID), amount, at)


@asked(
    when=lambda m: m.payments,
    n=nth,
    code=st.sampled_from([None, "declined", "closed"]),
    reason=st.sampled_from(["OTHER", "EXPIRED"]),
    source=sources,
)
def give_up_payment(
    it: Asking, n: int, code: str | None, reason: AuthorizationVoidReason, source: PaymentSource
) -> c.OrderCommand:
    payment_id = pick(it.model.payments, n, UNKNOWN_ID)
    if code is None:
        return c.VoidAuthorization(payment_id, reason, source)
    return c.RecordPaymentFailure(payment_id, code, source)


@asked(when=lambda m: m.authorized, at=hours)
def expire_payments(it: Asking, at: datetime) -> c.OrderCommand:
    return c.ExpireAuthorizations(at)


@asked(when=lambda m: m.captured, n=nth, amount=amounts, reference=references, back=st.booleans())
def reverse(
    it: Asking, n: int, amount: int | None, reference: str | None, back: bool
) -> c.OrderCommand:
    payment_id = pick(it.model.payments, n, UNKNOWN_ID)
    if back:
        return c.RestorePayment(payment_id, amount, reference)
    return c.ReversePayment(payment_id, amount, "CHARGEBACK", reference)


# --- shipments ------------------------------------------------------------------------------------


@asked(lines=st.none() | quantities, twice=rarely, at=hours, allow_unpaid=rarely)
def ship(
    it: Asking, lines: Parts | None, twice: bool, at: datetime, allow_unpaid: bool
) -> c.OrderCommand:
    parts = None if lines is None else it.parts(lines, twice)
    return c.Ship(it.new_id(), parts, at, allow_unpaid=allow_unpaid)


@asked(when=lambda m: m.shipments, n=nth, carrier=names, number=names)
def track(it: Asking, n: int, carrier: str | None, number: str | None) -> c.OrderCommand:
    return c.UpdateTracking(pick(it.model.shipments, n, UNKNOWN_ID), carrier, number)


@asked(when=lambda m: m.shipments, n=nth)
def void_shipment(it: Asking, n: int) -> c.OrderCommand:
    return c.VoidShipment(pick(it.model.shipments, n, UNKNOWN_ID), "LOST")


@asked(when=lambda m: m.shipments, n=st.none() | nth, delivered_at=st.none() | hours, at=hours)
def deliver(
    it: Asking, n: int | None, delivered_at: datetime | None, at: datetime
) -> c.OrderCommand:
    shipment_id = None if n is None else pick(it.model.shipments, n, UNKNOWN_ID)
    return c.ConfirmDelivery(shipment_id, delivered_at, at)


# --- cancellations and refunds --------------------------------------------------------------------


@asked(n=nth, quantity=few, shipping=rarely)
def cancel_units(it: Asking, n: int, quantity: int, shipping: bool) -> c.OrderCommand:
    line, refund_id = it.line(n), it.new_id()
    return c.CancelUnits(line, quantity, "OUT_OF_STOCK", refund_id, refund_shipping=shipping)


@asked(expired=st.booleans(), really=rarely)
def end_the_order(it: Asking, expired: bool, really: bool) -> c.OrderCommand:
    """Rarely, where it would be granted: little can be asked of the order after it."""
    if not really and it.model.status in ("PENDING", "PAID"):
        return c.ChangeStatus("PAID", it.new_id(), AT, "OTHER")
    return c.ExpireOrder() if expired else c.CancelOrder("FRAUD", it.new_id())


@asked(
    when=lambda m: m.captured,
    amount=amounts,
    n=st.none() | nth,
    source=sources,
    reference=references,
)
def request_refund(
    it: Asking, amount: int | None, n: int | None, source: PaymentSource, reference: str | None
) -> c.OrderCommand:
    payment_id = None if n is None else pick(it.model.payments, n, UNKNOWN_ID)
    reported = reference if source == "provider" else None
    new_id = it.new_id()
    return c.RequestRefund(new_id, amount, "GOODWILL", None, payment_id, source, reported)


@asked(when=lambda m: m.refunds, n=nth, reference=references, succeeds=st.booleans())
def end_refund(it: Asking, n: int, reference: str | None, succeeds: bool) -> c.OrderCommand:
    refund_id = pick(it.model.refunds, n, UNKNOWN_ID)
    if succeeds:
        return c.SettleRefund(refund_id, reference)
    return c.FailRefund(refund_id, "closed")


# --- returns --------------------------------------------------------------------------------------


@asked(
    when=lambda m: m.sum("delivered"),
    lines=quantities,
    twice=rarely,
    at=hours,
    window=st.none() | st.integers(0, 2),
)
def request_return(
    it: Asking, lines: Parts, twice: bool, at: datetime, window: int | None
) -> c.OrderCommand:
    within = None if window is None else timedelta(hours=window)
    return c.RequestReturn(it.new_id(), it.parts(lines, twice), "DAMAGED", at, within)


@asked(
    when=lambda m: m.returns,
    n=nth,
    answer=st.sampled_from([c.ApproveReturn, c.ApproveReturn, c.RejectReturn, c.CancelReturn]),
)
def answer_return(it: Asking, n: int, answer: Callable[[UUID], c.OrderCommand]) -> c.OrderCommand:
    return answer(pick(it.model.returns, n, UNKNOWN_ID))


@asked(
    when=lambda m: m.returns,
    n=nth,
    lines=st.none() | quantities,
    twice=rarely,
    conditions=st.tuples(*[condition] * 3),
    shipping=st.booleans(),
)
def receive_return(
    it: Asking,
    n: int,
    lines: Parts | None,
    twice: bool,
    conditions: Sequence[Any],
    shipping: bool,
) -> c.OrderCommand:
    parts = None
    if lines is not None:
        asked_for = zip(it.parts(lines, twice), conditions, strict=False)
        parts = tuple(ReceivedQuantity(q.line_id, q.quantity, how) for q, how in asked_for)
    return_id = pick(it.model.returns, n, UNKNOWN_ID)
    return c.ReceiveReturn(return_id, parts, it.new_id(), shipping)
