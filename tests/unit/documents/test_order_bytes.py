"""The document of an order, byte for byte: clients have stored these bytes."""

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import orjson
import pytest

from order_service.documents.order import document
from order_service.domain.events import (
    OrderCanceled,
    OrderEvent,
    OrderPlaced,
    RefundRequested,
    ShipmentDelivered,
    ShipmentDispatched,
)
from order_service.domain.parts import LineQuantity, OrderLine
from order_service.log.codec import RecordedEvent
from order_service.log.fold import FoldedOrder, fold_recorded
from tests.support.log.examples import AT, BY_USER, CAPTURED, NEW_ID, PAID, PLACED, SHIPPED, USER
from tests.support.values import replace

SHIPMENT = UUID(int=7)
EAST = timezone(timedelta(hours=5, minutes=30))
PAIRS = [("b", "1"), ("a", "2")]


def folded(*events: OrderEvent) -> FoldedOrder:
    """The order of these events, recorded a second apart from position 7 on of partition 1."""
    order: FoldedOrder | None = None
    for version, event in enumerate(events, start=1):
        at = datetime(2026, 3, 1, 0, 0, version, tzinfo=UTC)
        recorded = RecordedEvent(
            1, 6 + version, NEW_ID, version, UUID(int=version), event, BY_USER, at
        )
        order = fold_recorded(order, [recorded], 4)
    assert order is not None
    return order


def test_a_document_has_exactly_these_bytes() -> None:
    item = OrderLine(1, "PEN", "漢", 2, 999, {"zeta": "1", "b": "2", "aa": ""})
    dispatched = ShipmentDispatched(SHIPMENT, (LineQuantity(1, 2),), AT, None, "T-1")
    order = folded(
        OrderPlaced(USER, "USD", (item,), 0, 0, 1998, "cart-1"),
        CAPTURED,
        PAID,
        dispatched,
        SHIPPED,
        ShipmentDelivered(SHIPMENT, AT),
    )

    assert document(order).decode() == (
        '{"id":"00000000-0000-7000-8000-0000000000f1","number":"A-29-9",'
        '"user_id":"00000000-0000-7000-8000-00000000000a","status":"DELIVERED",'
        '"payment_status":"OVERPAID","fulfillment_status":"DELIVERED","allowed_transitions":[],'
        '"currency":"USD","total_price":"19.98","shipping_fee":"0.00",'
        '"shipping_tax":"0.00","tax_included":true,"discount":"0.00","prices_trusted":true,'
        '"authorized":"0.00","captured":"24.98","refunded":"0.00","refund_pending":"0.00","reversed":"0.00",'
        '"returned":"0.00",'
        '"amount_due":"0.00",'
        '"credit_due":"5.00","items":[{"line_id":1,"sku":"PEN","name":"漢","quantity":2,'
        '"unit":null,"unit_price":"9.99","discount":"0.00","share":"0.00","tax":"0.00",'
        '"tax_rate":null,"tax_name":null,"value":"19.98","canceled":0,"shipped":2,"delivered":2,"returned":0,'
        '"attributes":{"aa":"","b":"2","zeta":"1"}}],'
        '"payments":[{"id":"00000000-0000-7000-8000-0000000000f1","kind":"capture","closed":null,'
        '"authorized":"0.00","open":"0.00","captured":"24.98",'
        '"captures":[{"amount":"24.98","provider_reference":null}],"refund_pending":"0.00",'
        '"refunded":"0.00","reversed":"0.00","to_void":false,"source":"manual","method":null,'
        '"provider_reference":null,"expires_at":null,"failure_code":null}],'
        '"shipments":[{"id":"00000000-0000-0000-0000-000000000007",'
        '"lines":[{"line_id":1,"quantity":2}],"carrier":null,"tracking_number":"T-1",'
        '"dispatched_at":"2026-03-01T12:00:00.000000Z",'
        '"delivered_at":"2026-03-01T12:00:00.000000Z","voided":false}],"refunds":[],"returns":[],"holds":[],'
        '"external_reference":"cart-1","tags":[],"metadata":{},"cancel_reason":null,"version":6,'
        '"created_at":"2026-03-01T00:00:01.000000Z","updated_at":"2026-03-01T00:00:06.000000Z"}'
    )


def test_the_document_of_a_canceled_order_shows_its_reason_and_its_refund() -> None:
    order = folded(
        PLACED,
        CAPTURED,
        PAID,
        OrderCanceled("FRAUD", "PAID"),
        RefundRequested(NEW_ID, 2498, "cancel", "FRAUD", NEW_ID),
    )

    shown = orjson.loads(document(order))

    assert {name: shown[name] for name in ("status", "cancel_reason", "allowed_transitions")} == {
        "status": "CANCELED",
        "cancel_reason": "FRAUD",
        "allowed_transitions": [],
    }
    assert (shown["captured"], shown["refund_pending"], shown["credit_due"]) == (
        "24.98",
        "24.98",
        "0.00",
    )
    assert shown["refunds"] == [
        {
            "id": str(NEW_ID),
            "status": "PENDING",
            "amount": "24.98",
            "cause": "cancel",
            "reason": "FRAUD",
            "payment_id": str(NEW_ID),
            "provider_reference": None,
            "failure_code": None,
        }
    ]


def test_amounts_have_their_currencys_digits() -> None:
    line = OrderLine(1, "PEN", None, 1, 1500)

    shown = [
        orjson.loads(document(folded(OrderPlaced(USER, currency, (line,), 0, 0, 1500))))
        for currency in ("JPY", "USD", "KWD")
    ]

    assert [order["total_price"] for order in shown] == ["1500", "15.00", "1.500"]


def test_an_order_with_an_agreed_total_shows_no_prices() -> None:
    line = OrderLine(1, "PEN", None, 3, None)

    shown = orjson.loads(document(folded(OrderPlaced(USER, "USD", (line,), 0, 0, 1000))))

    assert (shown["total_price"], shown["items"][0]["unit_price"]) == ("10.00", None)


@pytest.mark.parametrize("microsecond", [0, 1, 100_000, 999_999])
def test_times_always_have_six_digits(microsecond: int) -> None:
    at = datetime(2026, 3, 1, 12, 0, 0, microsecond, tzinfo=UTC)
    dispatched = ShipmentDispatched(SHIPMENT, (LineQuantity(1, 2),), at)

    for then in (dispatched, replace(dispatched, dispatched_at=at.astimezone(EAST))):
        shown = orjson.loads(document(folded(PLACED, then)))

        assert shown["shipments"][0]["dispatched_at"] == f"2026-03-01T12:00:00.{microsecond:06d}Z"


def test_a_text_is_escaped_only_where_json_requires_it() -> None:
    """Stored documents were written so, by another JSON encoder."""
    text = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x11000)]))
    line = OrderLine(1, text, text, 1, 1)

    shown = document(folded(OrderPlaced(USER, "USD", (line,), 0, 0, 1)))

    assert orjson.dumps({"sku": text, "name": text})[1:-1] in shown


def test_the_order_of_attributes_does_not_change_the_document() -> None:
    """The log does not preserve the order."""
    lines = [OrderLine(1, "PEN", None, 1, 1, dict(pairs)) for pairs in (PAIRS, PAIRS[::-1])]

    one, other = (document(folded(OrderPlaced(USER, "USD", (line,), 0, 0, 1))) for line in lines)

    assert one == other
