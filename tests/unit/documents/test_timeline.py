"""Recorded events as people see them: amounts as texts, and what an owner is not shown."""

from typing import Any
from uuid import UUID

import orjson
import pytest

from order_service.documents.event import event_as_json, recorded_as_json
from order_service.domain.events import OrderLine, OrderPlaced
from order_service.log.codec import Metadata, StoredEvent, encode, encode_metadata
from tests.support.log.examples import AT, BY_USER, CAPTURED, NEW_ID, USER

STAFF = UUID(int=5)
BY_STAFF = Metadata("staff", STAFF, correlation_id="request-1")


def stored(type_: str, data: str, metadata: Metadata = BY_USER) -> StoredEvent:
    text = encode_metadata(metadata)
    return StoredEvent(0, 9, NEW_ID, 2, UUID(int=9), type_, 1, data, text, AT)


def note(visibility: str) -> StoredEvent:
    data: dict[str, Any] = {"note_id": NEW_ID, "visibility": visibility, "text_ref": NEW_ID}
    return stored("OrderNoteAdded", orjson.dumps(data).decode(), BY_STAFF)


def test_amounts_are_texts_in_the_order_s_currency_at_any_depth() -> None:
    line = OrderLine(1, "PEN", None, 2, 999, {"cost_minor": "5"})
    unpriced = OrderLine(2, "INK", None, 1, None)

    shown = event_as_json(OrderPlaced(USER, "KWD", (line, unpriced), 0, 50, 1948), "KWD")

    assert (shown["total"], shown["discount"], shown["shipping_fee"]) == ("1.948", "0.050", "0.000")
    assert [shown_line["unit_price"] for shown_line in shown["lines"]] == ["0.999", None]
    assert shown["lines"][0]["attributes"] == {"cost_minor": "5"}
    assert shown["user_id"] == str(USER)


def test_an_event_is_shown_with_what_is_known_around_it() -> None:
    event = stored("PaymentCaptured", encode(CAPTURED), BY_STAFF)

    shown = recorded_as_json(event, "USD", "staff")

    assert shown == {
        "version": 2,
        "type": "PaymentCaptured",
        "at": "2026-03-01T12:00:00.000000Z",
        "event_id": "00000000-0000-0000-0000-000000000009",
        "actor": {"type": "staff", "id": str(STAFF)},
        "correlation_id": "request-1",
        "data": {
            "payment_id": str(NEW_ID),
            "amount": "24.98",
            "source": "manual",
            "provider_reference": None,
        },
    }


def test_an_owner_is_not_told_who_of_the_staff_acted() -> None:
    by_staff = recorded_as_json(stored("OrderDelivered", "{}", BY_STAFF), "USD", "owner")
    by_user = recorded_as_json(stored("OrderDelivered", "{}"), "USD", "owner")

    assert by_staff is not None
    assert by_user is not None
    assert by_staff["actor"] == {"type": "staff"}
    assert "correlation_id" not in by_staff
    assert by_user["actor"] == {"type": "user", "id": str(USER)}


def test_an_event_that_cannot_be_read_is_shown_without_its_payload() -> None:
    shown = recorded_as_json(stored("OrderFrobnicated", "{}"), "USD", "owner")
    without_currency = recorded_as_json(stored("OrderDelivered", "{}"), None, "staff")

    assert shown is not None
    assert without_currency is not None
    assert (shown["type"], shown["version"], shown["data"]) == ("OrderFrobnicated", 2, None)
    assert shown["unreadable"] is without_currency["unreadable"] is True


@pytest.mark.parametrize(
    "event", [note("internal"), stored("OrderNoteAdded", '{"visibility": "secret"}')]
)
def test_an_owner_is_not_shown_internal_notes_nor_notes_that_cannot_be_read(event: Any) -> None:
    assert recorded_as_json(event, "USD", "owner") is None
    assert recorded_as_json(event, "USD", "staff") is not None


def test_an_owner_is_shown_public_notes() -> None:
    assert recorded_as_json(note("public"), "USD", "owner") is not None
