"""For random commands in random order, the decider agrees with a plain model, and the facts of an
order never contradict each other."""

from collections.abc import Sequence

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from order_service.domain import commands as c
from order_service.domain import state as rules
from order_service.domain.events import OrderEdited, OrderEvent, ShipmentVoided
from order_service.domain.lines import gross_minor
from order_service.domain.order import decide, evolve, initial
from order_service.domain.parts import LineQuantity
from order_service.domain.state import Order
from order_service.errors import OrderServiceError, RuleViolation
from tests.support.log.examples import AT
from tests.support.log.lives import UNKNOWN_ID
from tests.support.model.asks import ASKS, TARGETS, Asking, placing
from tests.support.model.goods import line_of
from tests.support.model.order import OrderModel

MILESTONES = {"OrderPaid", "OrderShipped", "OrderDelivered", "OrderReturned", "OrderCanceled"}
REPEATABLE = (
    c.ChangeLineQuantity,
    c.RecordPaymentFailure,
    c.ExpireAuthorizations,
    c.ReleaseHold,
    c.UpdateTracking,
    c.VoidShipment,
    c.ConfirmDelivery,
    c.CancelOrder,
    c.ExpireOrder,
    c.SettleRefund,
    c.ChangeStatus,
)


def model_of(place: c.PlaceOrder) -> OrderModel:
    included = place.tax_included
    return OrderModel(
        lines={line.line_id: line_of(line, included) for line in place.lines},
        shipping=place.shipping_fee_minor,
        shipping_tax=0 if included else place.shipping_tax_minor,
        discount=place.discount_minor,
        agreed=place.total_price_minor,
        lines_ever=len(place.lines),
        tax_included=included,
        trusted=place.prices_trusted,
    )


def is_repeatable(command: c.OrderCommand) -> bool:
    """Whether the same command, given again, has no events."""
    if isinstance(command, c.AuthorizePayment | c.RecordPayment | c.RequestRefund):
        return command.provider_reference is not None
    if isinstance(command, c.ReversePayment | c.RestorePayment):
        return command.provider_reference is not None
    return isinstance(command, REPEATABLE)


def names_of(events: Sequence[OrderEvent]) -> list[str]:
    return [type(event).__name__ for event in events]


class DeciderAgainstModel(RuleBasedStateMachine):
    """`orders`: the order after each event; later events must not change them."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[OrderEvent] = []
        self.orders: list[Order] = []
        self.milestones: set[str] = set()

    @property
    def order(self) -> Order:
        return self.orders[-1]

    @initialize(place=placing(), steps=st.sampled_from([0, 0, 0, 0, 1, 1, 2, 3, 4, 4]))
    def placed(self, place: c.PlaceOrder, steps: int) -> None:
        """Some orders are delivered with an open return at once, so that late commands apply."""
        self.model = model_of(place)
        self.asking = Asking(self.model)
        events = decide(place, initial)
        assert names_of(events) == ["OrderPlaced", *self.model.first_paid()]
        self.record(events)
        path: tuple[c.TargetStatus, ...] = ("PAID", "SHIPPED", "DELIVERED")
        for to in path[:steps]:
            self.ask(c.ChangeStatus(to, self.asking.new_id(), AT, "OTHER"))
        if steps == 4:
            lines = tuple(LineQuantity(i, line.ordered) for i, line in self.model.lines.items())
            return_id = self.asking.new_id()
            self.ask(c.RequestReturn(return_id, lines, "OTHER", AT))
            self.ask(c.ApproveReturn(return_id))

    # One rule for all commands: of one each, Hypothesis would disable many in a run.
    @rule(data=st.data(), n=st.integers(0, 9_999))
    def anything(self, data: st.DataObject, n: int) -> None:
        fitting = [kind for kind in ASKS if kind.when(self.model)]
        kind = fitting[n % len(fitting)]
        arguments = data.draw(kind.arguments, label=kind.command.__name__)
        self.ask(kind.command(self.asking, **arguments))

    def ask(self, command: c.OrderCommand) -> None:
        """Any error that is no OrderServiceError fails the test."""
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
            if isinstance(event, OrderEdited):  # new units have not shipped yet
                self.milestones &= {"OrderPaid"} | self.reached_names()
            if name in MILESTONES:
                assert name not in self.milestones, "a milestone is recorded once unless undone"
                self.milestones.add(name)
            self.events.append(event)
            self.orders.append(evolve(self.orders[-1] if self.orders else None, event))

    def reached_names(self) -> set[str]:
        names = ("OrderShipped", "OrderDelivered", "OrderReturned")
        pairs = zip(names, self.model.reached(), strict=True)
        return {name for name, reached in pairs if reached}

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
    def the_lines_of_an_order_add_up(self) -> None:
        order = self.order
        if order.agreed:
            return
        for state in order.lines.values():
            line, parts = state.line, range(state.line.quantity + 1)
            tax = 0 if order.tax_included else line.tax_minor
            net = gross_minor(line) - line.discount_minor - line.share_minor
            assert state.value_minor == net + tax >= 0
            assert min(line.discount_minor, line.share_minor, line.tax_minor) >= 0
            falls = [state.worth(n) - state.worth(n - 1) for n in parts[1:]]
            assert sum(falls) == state.value_minor
            assert min(falls) >= 0
        goods = sum(line.worth(line.active) for line in order.lines.values())
        assert order.total_minor == goods + rules.shipping_minor(order) >= 0

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
        for column in ("captured_minor", "reversed_minor", "refunded_minor"):
            of_payments = sum(getattr(p, column) for p in order.payments.values())
            assert of_payments == getattr(order, column)
        for payment in order.payments.values():
            assert payment.reversed_minor <= payment.captured_minor
            gone = payment.refunded_minor + payment.refund_pending_minor
            assert gone <= payment.captured_minor
        assert (
            order.total_minor,
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
        assert rules.summary(order).payment_status == model.payment_status
        assert rules.summary(order).fulfillment_status == model.fulfillment_status

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
                events = decide(c.ChangeStatus(to, UNKNOWN_ID, AT, "OTHER"), self.order)
            except RuleViolation:
                assert to not in (present, *allowed)
            else:
                assert to in (allowed if events else [present])

    def teardown(self) -> None:
        """The order is a function of its events at every version, and later events have not changed
        an earlier order."""
        order = initial
        for event, recorded_order in zip(self.events, self.orders, strict=True):
            order = evolve(order, event)
            assert order == recorded_order


DeciderAgainstModel.TestCase.settings = settings(max_examples=150, stateful_step_count=30)
TestDeciderAgainstModel = DeciderAgainstModel.TestCase
