"""Encoding and decoding of events: every type, old shapes, and unreadable events."""

from base64 import urlsafe_b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, get_args
from uuid import UUID

import pytest
from msgspec import Struct, structs

from order_service.domain.events import (
    BillingAddressChanged,
    ContactChanged,
    OrderCanceled,
    OrderEdited,
    OrderEvent,
    OrderHeld,
    OrderHoldReleased,
    OrderLineAdded,
    OrderLineQuantityChanged,
    OrderLineRemoved,
    OrderMetadataChanged,
    OrderNoteAdded,
    OrderPlaced,
    OrderReturned,
    OrderTagged,
    OrderUnitsCanceled,
    PaymentAuthorizationExpired,
    PaymentAuthorizationVoided,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentFailed,
    PaymentReversalUndone,
    PaymentReversed,
    RefundCompleted,
    RefundFailed,
    RefundRequested,
    ReturnApproved,
    ReturnCanceled,
    ReturnReceived,
    ReturnRejected,
    ReturnRequested,
    ShipmentDispatched,
    ShipmentTrackingUpdated,
    ShipmentVoided,
    ShippingAddressChanged,
)
from order_service.domain.parts import LineQuantity, OrderLine, ReceivedQuantity
from order_service.errors import UnreadableEvent
from order_service.log.codec import Metadata, StoredEvent, can_read, decode, encode, encode_metadata
from order_service.log.upcasters import UPCASTERS
from tests.support.log.examples import (
    AT,
    BY_USER,
    DELIVERED,
    DELIVERED_SHIPMENT,
    NEW_ID,
    PAID,
    PEN,
    PLACED,
    SHIPPED,
    USER,
)
from tests.support.values import replace

# Every field has a value, so that a field that gets lost is noticed.
FULL_LINE = OrderLine(
    *(3, "漢", "Ink \U0001f58b", 1, 129, {"b": "2", "a": "", "\u202e": "\n"}),
    *("g", 4, 30, 20, 10, "19", "VAT"),
)
LINES = (LineQuantity(1, 2), LineQuantity(2, 1))
EVENTS: list[OrderEvent] = [
    PLACED,
    OrderPlaced(
        *(USER, "JPY", (PEN, FULL_LINE), 1, 2, 10**15, "cart-1", NEW_ID, USER, NEW_ID),
        *(9, False, False, {"channel": "web"}, ("gift",), NEW_ID),
    ),
    replace(PLACED, user_id=None),
    OrderLineAdded(FULL_LINE, 2498),
    OrderLineQuantityChanged(1, 2, 3, 3497, 9, 8, 7),
    OrderLineRemoved(2, 1998),
    OrderEdited((FULL_LINE,), (1,), 300, 57, 200, 2498, 3000, NEW_ID),
    OrderHeld(NEW_ID, "FRAUD_REVIEW", USER),
    OrderHoldReleased(NEW_ID, USER),
    ShippingAddressChanged(NEW_ID),
    BillingAddressChanged(NEW_ID),
    ContactChanged(NEW_ID),
    OrderMetadataChanged({"b": "2", "a": ""}, ("c",)),
    OrderTagged(("gift", "漢")),
    OrderTagged(()),
    OrderNoteAdded(NEW_ID, "internal", USER),
    PaymentAuthorized(NEW_ID, 2498, "card", "pi_1", AT, "provider"),
    PaymentAuthorizationExpired(NEW_ID),
    PaymentReversed(NEW_ID, 500, "CHARGEBACK", "dp_1"),
    PaymentReversalUndone(NEW_ID, 500, "dp_1"),
    PaymentAuthorizationVoided(NEW_ID, "ORDER_CANCELED"),
    PaymentCaptured(NEW_ID, 2498, "provider", "ch_1"),
    PaymentFailed(NEW_ID, "card_declined", False),
    PAID,
    ShipmentDispatched(NEW_ID, LINES, AT, "Post", "T-1"),
    ShipmentTrackingUpdated(NEW_ID, "Post", "T-2"),
    ShipmentVoided(NEW_ID, "WRONG_LABEL", USER),
    SHIPPED,
    DELIVERED_SHIPMENT,
    DELIVERED,
    OrderUnitsCanceled(1, 2, "OUT_OF_STOCK", 500, NEW_ID, 300),
    OrderCanceled("FRAUD", "PAID", NEW_ID),
    RefundRequested(NEW_ID, 10**15, "cancel", "FRAUD", USER, NEW_ID),
    RefundCompleted(NEW_ID, 500, "re_1"),
    RefundFailed(NEW_ID, 500, "account_closed"),
    ReturnRequested(NEW_ID, LINES, "WRONG_ITEM", USER),
    ReturnApproved(NEW_ID),
    ReturnRejected(NEW_ID, USER),
    ReturnCanceled(NEW_ID),
    ReturnReceived(NEW_ID, (ReceivedQuantity(1, 2, "DAMAGED"),), 1998, 300),
    OrderReturned(),
]


def stored(
    type_: str, data: str, schema_version: int = 1, metadata: str = '["user"]'
) -> StoredEvent:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    return StoredEvent(1, 7, NEW_ID, 1, UUID(int=5), type_, schema_version, data, metadata, at)


@pytest.mark.parametrize(
    ("type_", "schema_version", "readable"),
    [
        ("OrderPlaced", 1, True),
        ("OrderPlaced", 2, True),
        ("OrderPlaced", 3, False),
        ("OrderPlaced", 0, False),
        ("ReturnReceived", 1, True),
        ("OrderFrobnicated", 1, False),
    ],
)
def test_every_known_type_and_version_can_be_read(
    type_: str, schema_version: int, readable: bool
) -> None:
    assert can_read(type_, schema_version) is readable


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_is_read_back_as_it_was_written(event: OrderEvent) -> None:
    metadata = Metadata("staff", USER, "key", "print", "request", "00-trace")

    row = stored(
        type(event).__name__, encode(event), event.SCHEMA_VERSION, encode_metadata(metadata)
    )

    read = decode(row)

    assert (read.event, read.metadata) == (event, metadata)


def test_the_examples_cover_every_event_type() -> None:
    assert {type(event) for event in EVENTS} == set(get_args(OrderEvent))


def test_the_examples_cover_every_field() -> None:
    """With a value that is stored: one that is not the default."""
    values: list[Struct] = [*EVENTS, FULL_LINE]
    given = {
        (type(value), field.name)
        for value in values
        for field in structs.fields(value)
        if getattr(value, field.name) not in (None, field.default)
    }

    assert given == {(type(v), field.name) for v in values for field in structs.fields(v)}


def test_encoded_metadata_omits_trailing_unknown_values() -> None:
    letters = urlsafe_b64encode(USER.bytes)[:22].decode()
    assert encode_metadata(BY_USER) == f'["user","{letters}"]'
    assert encode_metadata(Metadata("system", key="k")) == '["system",null,"k"]'


@pytest.mark.parametrize(
    "event",
    [
        stored("OrderPacked", "{}"),
        stored("OrderPaid", '{"total_minor": 1, "captured_minor": 1}', schema_version=2),
        stored("OrderPaid", '{"total_minor": 1, "captured_minor": 1}', schema_version=0),
        stored("OrderPaid", '{"total_minor": 1}'),
        stored("OrderPaid", '{"total_minor": "much", "captured_minor": 1}'),
        stored("OrderPaid", '{"total_minor": 1.5, "captured_minor": 1}'),
        stored("OrderPaid", "[]"),
        stored("OrderPaid", "{"),
        stored("OrderCanceled", '{"reason": "BORED", "previous_status": "PAID"}'),
        stored("OrderDelivered", "{}", metadata="{}"),
        stored("OrderPlaced", encode(replace(PLACED, currency="XXX"))),
    ],
)
def test_an_event_that_the_code_cannot_decode_is_unreadable_and_names_its_position(
    event: StoredEvent,
) -> None:
    with pytest.raises(UnreadableEvent, match="at partition 1, position 7") as caught:
        decode(event)

    assert caught.value.facts == {"partition": 1, "position": 7, "stream_id": str(NEW_ID)}


@pytest.fixture
def third_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    """OrderPaid with two old shapes: first a field `total`, then no field `captured_minor`."""

    def renamed(data: dict[str, Any]) -> dict[str, Any]:
        return {"total_minor": data["total"]}

    def completed(data: dict[str, Any]) -> dict[str, Any]:
        return {**data, "captured_minor": data["total_minor"]}

    steps: dict[tuple[str, int], Callable[[dict[str, Any]], dict[str, Any]]]
    steps = {("OrderPaid", 1): renamed, ("OrderPaid", 2): completed}
    monkeypatch.setattr(type(PAID), "SCHEMA_VERSION", 3)
    for step, upcaster in steps.items():
        monkeypatch.setitem(UPCASTERS, step, upcaster)


@pytest.mark.usefixtures("third_shape")
@pytest.mark.parametrize(
    ("schema_version", "data"),
    [
        (1, '{"total": 2498}'),
        (2, '{"total_minor": 2498}'),
        (3, '{"total_minor": 2498, "captured_minor": 2498}'),
    ],
)
def test_old_shapes_are_upcast_step_by_step(schema_version: int, data: str) -> None:
    assert decode(stored("OrderPaid", data, schema_version)).event == PAID


@pytest.mark.usefixtures("third_shape")
@pytest.mark.parametrize("data", ['{"sum": 2498}', "[2498]", '"2498"', "null"])
def test_a_payload_that_does_not_fit_its_upcaster_is_unreadable(data: str) -> None:
    with pytest.raises(UnreadableEvent):
        decode(stored("OrderPaid", data, 1))


def test_an_event_whose_upcaster_raises_is_unreadable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(type(PAID), "SCHEMA_VERSION", 2)
    monkeypatch.setitem(UPCASTERS, ("OrderPaid", 1), lambda data: data.total)

    with pytest.raises(UnreadableEvent):
        decode(stored("OrderPaid", "{}", 1))
