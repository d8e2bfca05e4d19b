"""Recorded events as clients see them: amounts as texts; what owners do not see."""

from typing import Any
from uuid import UUID

import orjson
import pytest

from order_service.documents.event import Viewer, event_data, event_for
from order_service.documents.shape import to_json
from order_service.domain.events import OrderPlaced
from order_service.domain.parts import OrderLine
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


def shown_to(viewer: Viewer, event: StoredEvent, currency: str | None = "USD") -> Any:
    """As it is on the wire."""
    return orjson.loads(to_json(event_for(viewer, event, currency)))


def test_amounts_are_texts_in_the_order_s_currency_at_any_depth() -> None:
    line = OrderLine(1, "PEN", None, 2, 999, {"cost_minor": "5"})
    unpriced = OrderLine(2, "INK", None, 1, None)

    placed = event_data(OrderPlaced(USER, "KWD", (line, unpriced), 0, 50, 1948), "KWD")
    shown = orjson.loads(to_json(placed))

    assert (shown["total"], shown["discount"], shown["shipping_fee"]) == ("1.948", "0.050", "0.000")
    assert [shown_line["unit_price"] for shown_line in shown["lines"]] == ["0.999", None]
    assert shown["lines"][0]["attributes"] == {"cost_minor": "5"}
    assert shown["user_id"] == str(USER)


def test_a_shown_event_has_its_metadata_and_its_payload() -> None:
    event = stored("PaymentCaptured", encode(CAPTURED), BY_STAFF)

    shown = shown_to("staff", event)

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
            "currency": "USD",
        },
    }


def test_an_owner_does_not_see_which_staff_member_acted() -> None:
    by_staff = shown_to("owner", stored("OrderDelivered", "{}", BY_STAFF))
    by_user = shown_to("owner", stored("OrderDelivered", "{}"))

    assert by_staff["actor"] == {"type": "staff"}
    assert "correlation_id" not in by_staff
    assert by_user["actor"] == {"type": "user", "id": str(USER)}


def test_an_event_that_cannot_be_read_is_shown_without_its_payload() -> None:
    shown = shown_to("owner", stored("OrderFrobnicated", "{}"))
    without_currency = shown_to("staff", stored("OrderDelivered", "{}"), None)

    assert (shown["type"], shown["version"], shown["data"]) == ("OrderFrobnicated", 2, None)
    assert shown["unreadable"] is without_currency["unreadable"] is True


@pytest.mark.parametrize(
    "event", [note("internal"), stored("OrderNoteAdded", '{"visibility": "secret"}')]
)
def test_an_owner_sees_neither_internal_nor_unreadable_notes(event: Any) -> None:
    assert shown_to("owner", event) is None
    assert shown_to("staff", event) is not None


def test_an_owner_is_shown_public_notes() -> None:
    assert shown_to("owner", note("public")) is not None
