"""Whatever is asked in whatever order: the decider does what the plain model says, and the facts of
an order never contradict each other."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar, get_args
from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from order_service.domain import commands as c
from order_service.domain import state as rules
from order_service.domain.events import (
    LineQuantity,
    OrderEvent,
    OrderLine,
    ReceivedQuantity,
    ShipmentVoided,
)
from order_service.domain.order import decide, evolve, initial
from order_service.domain.state import Order
from order_service.errors import OrderServiceError, RuleViolation
from tests.examples import AT, USER
from tests.lives import NOBODY, TEXT
from tests.model.facts import Line
from tests.model.order import OrderModel

T = TypeVar("T")
Parts = Sequence[tuple[int, int]]  # which line, how many of it
MILESTONES = {"OrderPaid", "OrderShipped", "OrderDelivered", "OrderReturned", "OrderCanceled"}
TARGETS = get_args(c.TargetStatus)
REPEATABLE = (
    c.ChangeLineQuantity,
    c.RecordPaymentFailure,
    c.UpdateTracking,
    c.VoidShipment,
    c.ConfirmDelivery,
    c.CancelOrder,
    c.ExpireOrder,
    c.SettleRefund,
    c.ChangeStatus,
)

rarely = st.integers(0, 9).map(lambda n: n == 9)
nth = st.integers(0, 9)  # which of the parts that the order has; 9: none of them
few = st.sampled_from([1, 2, 3, 4, 1, 2, 0, -1])
amounts = st.sampled_from([None, None, 1, 10, 100, 300, 5_000, 0, -1])
hours = st.integers(0, 3).map(lambda n: AT + timedelta(hours=n))
references = st.none() | st.sampled_from(["ref-1", "ref-2", "ref-3"])
names = st.none() | st.sampled_from(["Post", "Rail"])
quantities = st.lists(st.tuples(nth, few), min_size=1, max_size=2)
condition = st.sampled_from(["SELLABLE", "DAMAGED"])
priced = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 900)), min_size=1, max_size=3)


@st.composite
def placing(draw: st.DrawFn) -> c.PlaceOrder:
    """An order with prices, shipping and a discount, or with an agreed total: one in five."""
    if draw(st.integers(0, 4)) == 4:
        line = OrderLine(1, "A", None, 3, None)
        return c.PlaceOrder(USER, "USD", (line,), draw(st.integers(0, 900)))
    lines = tuple(
        OrderLine(n, "A", None, quantity, price)
        for n, (quantity, price) in enumerate(draw(priced), start=1)
    )
    shipping = draw(st.integers(0, 300))
    most = sum(line.quantity * (line.unit_price_minor or 0) for line in lines) + shipping
    discount = draw(st.just(0) | st.integers(0, min(most, 1_000)))
    return c.PlaceOrder(
        USER, "USD", lines, None, shipping_fee_minor=shipping, discount_minor=discount
    )


def model_of(place: c.PlaceOrder) -> OrderModel:
    return OrderModel(
        lines={line.line_id: Line(line.unit_price_minor, line.quantity) for line in place.lines},
        shipping=place.shipping_fee_minor,
        discount=place.discount_minor,
        agreed=place.total_price_minor,
        lines_ever=len(place.lines),
    )


def pick(ids: Iterable[T], n: int, nobody: T) -> T:
    """The n-th of `ids` and round again; at times one that is not there."""
    known = [*ids]
    return known[n % len(known)] if known and n < 9 else nobody


def is_repeatable(command: c.OrderCommand) -> bool:
    """Asking for it again, once it was granted, asks for what is reached already."""
    if isinstance(command, c.AuthorizePayment | c.RecordPayment):
        return command.provider_reference is not None
    return isinstance(command, REPEATABLE)


def names_of(events: Sequence[OrderEvent]) -> list[str]:
    return [type(event).__name__ for event in events]


class DeciderAgainstModel(RuleBasedStateMachine):
    """`orders`: the order after each event; nothing may change them afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[OrderEvent] = []
        self.orders: list[Order] = []
        self.milestones: set[str] = set()
        self.ids = 0

    @initialize(place=placing(), steps=st.sampled_from([0, 0, 0, 0, 1, 1, 2, 3, 4, 4]))
    def placed(self, place: c.PlaceOrder, steps: int) -> None:
        """And up to delivered and asked to come back, so that the late rules have something."""
        self.model = model_of(place)
        events = decide(place, initial)
        assert names_of(events) == ["OrderPlaced", *self.model.first_paid()]
        self.record(events)
        path: tuple[c.TargetStatus, ...] = ("PAID", "SHIPPED", "DELIVERED")
        for to in path[:steps]:
            self.ask(c.ChangeStatus(to, self.new_id(), AT, "OTHER"))
        if steps == 4:
            lines = tuple(LineQuantity(i, line.ordered) for i, line in self.model.lines.items())
            self.ask(c.RequestReturn(self.new_id(), lines, "OTHER", AT))
            self.ask(c.ApproveReturn(UUID(int=self.ids)))

    # --- what is asked ----------------------------------------------------------------------------

    @rule(n=nth, quantity=few, price=st.none() | st.integers(0, 900))
    def edit(self, n: int, quantity: int, price: int | None) -> None:
        self.ask(c.AddNote(self.new_id(), "public", TEXT))
        self.ask(c.ChangeShippingAddress(TEXT))
        if n % 2:
            self.ask(c.AddLine("B", None, quantity, price))
        else:
            self.ask(c.ChangeLineQuantity(self.line(n // 2), quantity))

    @rule(line=nth)
    def remove_line(self, line: int) -> None:
        self.ask(c.RemoveLine(self.line(line)))

    @rule(amount=amounts, reference=references, expires_at=st.none() | hours)
    def authorize(
        self, amount: int | None, reference: str | None, expires_at: datetime | None
    ) -> None:
        self.ask(c.AuthorizePayment(self.new_id(), amount, "card", reference, expires_at))

    @rule(amount=amounts, source=st.sampled_from(["manual", "provider"]), reference=references)
    def pay(self, amount: int | None, source: Any, reference: str | None) -> None:
        self.ask(c.RecordPayment(self.new_id(), self.new_id(), amount, source, reference))

    @precondition(lambda self: self.model.payments)
    @rule(n=nth, amount=amounts, at=hours)
    def capture(self, n: int, amount: int | None, at: datetime) -> None:
        self.ask(c.CapturePayment(pick(self.model.payments, n, NOBODY), amount, at))

    @precondition(lambda self: self.model.payments)
    @rule(n=nth, code=st.sampled_from([None, "declined", "closed"]))
    def give_up_payment(self, n: int, code: str | None) -> None:
        payment_id = pick(self.model.payments, n, NOBODY)
        if code is None:
            self.ask(c.VoidAuthorization(payment_id, "OTHER"))
        else:
            self.ask(c.RecordPaymentFailure(payment_id, code))

    @rule(lines=st.none() | quantities, twice=rarely, at=hours, allow_unpaid=rarely)
    def ship(self, lines: Parts | None, twice: bool, at: datetime, allow_unpaid: bool) -> None:
        parts = None if lines is None else self.parts(lines, twice)
        self.ask(c.Ship(self.new_id(), parts, at, allow_unpaid=allow_unpaid))

    @precondition(lambda self: self.model.shipments)
    @rule(n=nth, carrier=names, number=names)
    def track(self, n: int, carrier: str | None, number: str | None) -> None:
        self.ask(c.UpdateTracking(pick(self.model.shipments, n, NOBODY), carrier, number))

    @precondition(lambda self: self.model.shipments)
    @rule(n=nth)
    def void_shipment(self, n: int) -> None:
        self.ask(c.VoidShipment(pick(self.model.shipments, n, NOBODY), "LOST"))

    @precondition(lambda self: self.model.shipments)
    @rule(n=st.none() | nth, delivered_at=st.none() | hours, at=hours)
    def deliver(self, n: int | None, delivered_at: datetime | None, at: datetime) -> None:
        shipment_id = None if n is None else pick(self.model.shipments, n, NOBODY)
        self.ask(c.ConfirmDelivery(shipment_id, delivered_at, at))

    @rule(line=nth, quantity=few)
    def cancel_units(self, line: int, quantity: int) -> None:
        self.ask(c.CancelUnits(self.line(line), quantity, "OUT_OF_STOCK", self.new_id()))

    @rule(command=st.sampled_from([c.CancelOrder("FRAUD", NOBODY), c.ExpireOrder()]))
    def cancel(self, command: c.CancelOrder | c.ExpireOrder) -> None:
        if isinstance(command, c.CancelOrder):
            command = c.CancelOrder(command.reason, self.new_id())
        self.ask(command)

    @rule(amount=amounts)
    def request_refund(self, amount: int | None) -> None:
        self.ask(c.RequestRefund(self.new_id(), amount, "GOODWILL"))

    @precondition(lambda self: self.model.refunds)
    @rule(n=nth, reference=references, succeeds=st.booleans())
    def end_refund(self, n: int, reference: str | None, succeeds: bool) -> None:
        refund_id = pick(self.model.refunds, n, NOBODY)
        if succeeds:
            self.ask(c.SettleRefund(refund_id, reference))
        else:
            self.ask(c.FailRefund(refund_id, "closed"))

    @precondition(lambda self: self.model.sum("delivered"))
    @rule(lines=quantities, twice=rarely, at=hours, window=st.none() | st.integers(0, 2))
    def request_return(self, lines: Parts, twice: bool, at: datetime, window: int | None) -> None:
        within = None if window is None else timedelta(hours=window)
        parts = self.parts(lines, twice)
        self.ask(c.RequestReturn(self.new_id(), parts, "DAMAGED", at, within))

    @precondition(lambda self: self.model.returns)
    @rule(n=nth, answer=st.sampled_from([c.ApproveReturn, c.RejectReturn, c.CancelReturn]))
    def answer_return(self, n: int, answer: Any) -> None:
        self.ask(answer(pick(self.model.returns, n, NOBODY)))

    @precondition(lambda self: any(r.state == "APPROVED" for r in self.model.returns.values()))
    @rule(n=nth, lines=st.none() | quantities, twice=rarely, conditions=st.tuples(*[condition] * 3))
    def receive_return(
        self, n: int, lines: Parts | None, twice: bool, conditions: Sequence[Any]
    ) -> None:
        parts = None
        if lines is not None:
            asked = zip(self.parts(lines, twice), conditions, strict=False)
            parts = tuple(ReceivedQuantity(q.line_id, q.quantity, how) for q, how in asked)
        self.ask(c.ReceiveReturn(pick(self.model.returns, n, NOBODY), parts, self.new_id()))

    @rule(to=st.sampled_from(TARGETS), at=hours)
    def change_status(self, to: Any, at: datetime) -> None:
        self.ask(c.ChangeStatus(to, self.new_id(), at, "OTHER"))

    # --- how it is asked --------------------------------------------------------------------------

    @property
    def order(self) -> Order:
        return self.orders[-1]

    def line(self, n: int) -> int:
        return pick(self.model.lines, n, 99)

    def parts(self, lines: Parts, twice: bool) -> tuple[LineQuantity, ...]:
        """Each line once; with `twice` the first of them a second time."""
        once = {self.line(n): quantity for n, quantity in lines}
        named = [LineQuantity(line_id, quantity) for line_id, quantity in once.items()]
        return tuple(named + named[:1] if twice else named)

    def new_id(self) -> UUID:
        self.ids += 1
        return UUID(int=self.ids)

    def ask(self, command: c.OrderCommand) -> None:
        """Any error but the service's own fails the test by itself."""
        expected = self.model.ask(command)
        events: tuple[OrderEvent, ...] = ()
        refused: str | None = None
        try:
            events = decide(command, self.order)
        except OrderServiceError as error:
            refused = error.code
        if isinstance(expected, set):
            assert refused in expected, command
            return
        assert (refused, names_of(events)) == (None, expected), command
        self.record(events)
        if is_repeatable(command):
            assert decide(command, self.order) == (), command

    def record(self, events: Sequence[OrderEvent]) -> None:
        for event in events:
            name = type(event).__name__
            if isinstance(event, ShipmentVoided):
                self.milestones.discard("OrderShipped")
            if name in MILESTONES:
                assert name not in self.milestones, "a milestone is recorded once unless undone"
                self.milestones.add(name)
            self.events.append(event)
            self.orders.append(evolve(self.orders[-1] if self.orders else None, event))

    # --- what holds after every step --------------------------------------------------------------

    @invariant()
    def quantities_are_the_models_and_within_bounds(self) -> None:
        assert list(self.order.lines) == list(self.model.lines)
        for line_id, line in self.order.lines.items():
            assert 0 <= line.returned <= line.delivered <= line.shipped <= line.active
            assert 0 <= line.canceled <= line.line.quantity
            model = self.model.lines[line_id]
            assert line.line.quantity == model.ordered
            for column in ("canceled", "shipped", "delivered", "returned"):
                assert getattr(line, column) == getattr(model, column)

    @invariant()
    def money_is_the_models_and_within_bounds(self) -> None:
        order, model = self.order, self.model
        refunded, pending = order.refunded_minor, order.refund_pending_minor
        assert (order.captured_minor, refunded, pending) == (
            model.captured,
            model.refunded,
            model.pending,
        )
        assert min(refunded, pending) >= 0
        assert refunded + pending <= order.captured_minor
        assert sum(p.captured_minor for p in order.payments.values()) == order.captured_minor
        assert (
            rules.total_minor(order),
            rules.authorized_minor(order),
            rules.amount_due_minor(order),
            rules.credit_due_minor(order),
        ) == (model.total, model.authorized, model.due, model.credit)

    @invariant()
    def parts_are_the_models(self) -> None:
        order, model = self.order, self.model
        assert {i: (p.authorized_minor, p.open_minor) for i, p in order.payments.items()} == {
            i: (p.authorized, p.open) for i, p in model.payments.items()
        }
        assert {i: (s.voided, s.delivered_at) for i, s in order.shipments.items()} == {
            i: (s.state == "VOIDED", s.delivered_at) for i, s in model.shipments.items()
        }
        assert {i: (r.status, r.amount_minor) for i, r in order.refunds.items()} == {
            i: (r.state, r.amount) for i, r in model.refunds.items()
        }
        assert {i: (r.status, r.received) for i, r in order.returns.items()} == {
            i: (r.state, r.received) for i, r in model.returns.items()
        }

    @invariant()
    def statuses_are_the_models(self) -> None:
        order, model = self.order, self.model
        assert rules.status(order) == model.status
        assert rules.payment_status(order) == model.payment_status
        assert rules.fulfillment_status(order) == model.fulfillment_status

    @invariant()
    def milestones_stand_for_what_is_reached(self) -> None:
        shipped, delivered, returned = self.model.reached()
        reached = {
            "OrderPaid": self.model.paid,
            "OrderShipped": shipped,
            "OrderDelivered": delivered,
            "OrderReturned": returned,
            "OrderCanceled": self.model.canceled,
        }
        assert self.milestones == {name for name, now in reached.items() if now}

    @invariant()
    def what_is_allowed_can_be_done_and_nothing_else(self) -> None:
        present, allowed = rules.status(self.order), rules.allowed_transitions(self.order)
        for to in TARGETS:
            try:
                events = decide(c.ChangeStatus(to, NOBODY, AT, "OTHER"), self.order)
            except RuleViolation:
                assert to not in (present, *allowed)
            else:
                assert to in (allowed if events else [present])

    def teardown(self) -> None:
        """The order is a function of its events, at every version; and nobody has changed an order
        that was handed to him."""
        order = initial
        for event, seen in zip(self.events, self.orders, strict=True):
            order = evolve(order, event)
            assert order == seen


DeciderAgainstModel.TestCase.settings = settings(
    max_examples=150, stateful_step_count=30, deadline=None
)
TestDeciderAgainstModel = DeciderAgainstModel.TestCase
