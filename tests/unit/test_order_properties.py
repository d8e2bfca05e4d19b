"""Whatever is asked in whatever order: the facts of an order never contradict each other."""

from dataclasses import replace
from functools import reduce
from itertools import pairwise
from typing import Any
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from order_service.domain import state as rules
from order_service.domain.commands import (
    CancelOrder,
    ChangeStatus,
    ConfirmDelivery,
    OrderCommand,
    PlaceOrder,
    RecordPayment,
    Ship,
)
from order_service.domain.events import LineQuantity, OrderEvent, OrderLine
from order_service.domain.money import AMOUNT_MINOR_MAX
from order_service.domain.order import decide, evolve, initial
from order_service.domain.state import Order
from order_service.errors import OrderServiceError, RuleViolation
from tests.examples import AT, USER

MILESTONES = {"OrderPlaced", "OrderPaid", "OrderShipped", "OrderDelivered", "OrderCanceled"}

small = st.integers(-1, 4)
ids = st.integers(1, 6).map(lambda n: UUID(int=n))  # of shipments that are there, perhaps
shipped_lines = st.lists(st.builds(LineQuantity, small, small), max_size=4).map(tuple)
priced = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 900)), min_size=1, max_size=3)
placing = st.one_of(
    priced.map(
        lambda lines: PlaceOrder(
            USER,
            "USD",
            tuple(OrderLine(n, "A", None, q, p) for n, (q, p) in enumerate(lines, start=1)),
            None,
        )
    ),
    st.integers(0, 900).map(
        lambda total: PlaceOrder(USER, "USD", (OrderLine(1, "A", None, 3, None),), total)
    ),
)
commands: st.SearchStrategy[OrderCommand] = st.one_of(
    st.builds(
        RecordPayment,
        ids,
        ids,
        st.none() | st.integers(-1, 2_000),
        st.sampled_from(["manual", "provider"]),
    ),
    st.builds(Ship, ids, st.none() | shipped_lines, st.just(AT)),
    st.builds(ConfirmDelivery, st.none() | ids, st.just(AT), st.just(AT)),
    st.builds(CancelOrder, st.just("FRAUD"), ids),
    st.builds(
        ChangeStatus,
        st.sampled_from(["PENDING", "PAID", "SHIPPED", "DELIVERED", "CANCELED"]),
        ids,
        st.just(AT),
        st.just("FRAUD"),
    ),
)


def with_new_id(command: OrderCommand, number: int) -> OrderCommand:
    """What a command makes has an id of its own: the edge makes them up."""
    fields: dict[type, str] = {RecordPayment: "payment_id", Ship: "shipment_id"}
    fields |= {CancelOrder: "refund_id", ChangeStatus: "new_id"}
    changed: Any = {fields[type(command)]: UUID(int=number)} if type(command) in fields else {}
    if isinstance(command, RecordPayment):
        changed["refund_id"] = UUID(int=number)
    return replace(command, **changed)


def life(place: PlaceOrder, asked: list[OrderCommand]) -> list[OrderEvent]:
    """The events of an order that was asked all this; what is refused leaves none."""
    events = list(decide(place, initial))
    for number, command in enumerate(asked, start=1):
        try:
            events += decide(with_new_id(command, number), reduce(evolve, events, initial))
        except OrderServiceError:
            continue
    return events


def check_facts(order: Order) -> None:
    for line in order.lines.values():
        assert 0 <= line.canceled <= line.line.quantity
        assert 0 <= line.returned <= line.delivered <= line.shipped <= line.active
    assert 0 <= order.refunded_minor + order.refund_pending_minor <= order.captured_minor
    assert order.captured_minor == sum(p.captured_minor for p in order.payments.values())
    assert 0 <= rules.total_minor(order) <= AMOUNT_MINOR_MAX
    assert min(rules.amount_due_minor(order), rules.credit_due_minor(order)) == 0
    if order.agreed_total_minor is None:
        assert rules.total_minor(order) == sum(
            (state.line.unit_price_minor or 0) * state.active for state in order.lines.values()
        )


def check_statuses(before: Order, after: Order) -> None:
    """Nobody goes anywhere but along the graph, and `allowed_transitions` is true."""
    old, new = rules.status(before), rules.status(after)
    reachable = {old, *rules.TRANSITIONS[old]}
    partly = {"PAID", "PARTIALLY_SHIPPED", "SHIPPED"}
    assert new in reachable or {old, new} <= partly


@settings(max_examples=150, deadline=None)
@given(placing, st.lists(commands, max_size=12))
def test_facts_agree_after_every_event(place: PlaceOrder, asked: list[OrderCommand]) -> None:
    order = initial
    for event in life(place, asked):
        order = evolve(order, event)
        check_facts(order)


@settings(max_examples=150, deadline=None)
@given(placing, st.lists(commands, max_size=12))
def test_statuses_move_along_the_graph_and_follow_from_the_events(
    place: PlaceOrder, asked: list[OrderCommand]
) -> None:
    events = life(place, asked)
    orders = [reduce(evolve, events[:n], initial) for n in range(1, len(events) + 1)]

    for before, after in pairwise(orders):
        assert before is not None
        assert after is not None
        check_statuses(before, after)
    names = [type(event).__name__ for event in events]
    assert all(names.count(milestone) <= 1 for milestone in MILESTONES)


@settings(max_examples=150, deadline=None)
@given(placing, st.lists(commands, max_size=8), ids)
def test_what_is_allowed_can_be_done_and_nothing_else(
    place: PlaceOrder, asked: list[OrderCommand], new_id: UUID
) -> None:
    order = reduce(evolve, life(place, asked), initial)
    assert order is not None

    for wanted in ("PENDING", "PAID", "SHIPPED", "DELIVERED", "CANCELED"):
        try:
            events = decide(ChangeStatus(wanted, new_id, AT, "FRAUD"), order)
        except RuleViolation:
            assert wanted not in {*rules.allowed_transitions(order), rules.status(order)}
        else:
            after = reduce(evolve, events, order)
            assert rules.status(after) == wanted
            assert (wanted in rules.allowed_transitions(order)) == bool(events)
