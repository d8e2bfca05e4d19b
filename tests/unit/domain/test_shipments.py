"""Shipments: dispatched, tracked, voided, delivered; and the milestones of the whole order."""

from datetime import datetime, timedelta
from uuid import UUID

import pytest

from order_service.domain.commands import ConfirmDelivery, Ship, UpdateTracking, VoidShipment
from order_service.domain.events import (
    OrderShipped,
    OrderUnitsCanceled,
    ShipmentDelivered,
    ShipmentDispatched,
    ShipmentTrackingUpdated,
    ShipmentVoided,
)
from order_service.domain.parts import LineQuantity
from order_service.errors import InvalidRequest, NotFound, RuleViolation
from tests.support.log.examples import (
    AT,
    CAPTURED,
    DELIVERED,
    DELIVERED_SHIPMENT,
    DISPATCHED,
    NEW_ID,
    PLACED,
    SHIPPED,
)
from tests.support.log.given import given
from tests.support.log.lives import (
    IS_CANCELED,
    IS_DELIVERED,
    IS_PAID,
    IS_PARTIALLY_SHIPPED,
    IS_RETURNED,
    IS_SHIPPED,
    PARCEL,
    PENS_SENT,
    TEXT,
    UNKNOWN_ID,
    Events,
)

HOUR = timedelta(hours=1)
INK_SENT = ShipmentDispatched(NEW_ID, (LineQuantity(2, 1),), AT)
IN_TWO_PARCELS: Events = (*IS_PARTIALLY_SHIPPED, INK_SENT, SHIPPED)
VOIDED = ShipmentVoided(NEW_ID, "LOST")

# --- dispatched -----------------------------------------------------------------------------------


def test_shipping_everything_ships_the_order() -> None:
    given(*IS_PAID).when(Ship(NEW_ID, None, AT)).then(DISPATCHED, SHIPPED)


def test_a_shipment_keeps_every_field() -> None:
    given(*IS_PAID).when(
        Ship(PARCEL, (LineQuantity(2, 1), LineQuantity(1, 1)), AT + HOUR, "Post", "T-1")
    ).then(
        ShipmentDispatched(
            PARCEL, (LineQuantity(2, 1), LineQuantity(1, 1)), AT + HOUR, "Post", "T-1"
        )
    )


def test_shipping_a_part_does_not_ship_the_order() -> None:
    given(*IS_PAID).when(Ship(PARCEL, (LineQuantity(1, 2),), AT)).then(PENS_SENT)


@pytest.mark.parametrize("lines", [None, (LineQuantity(2, 1),)])
def test_shipping_the_rest_ships_the_order(lines: tuple[LineQuantity, ...] | None) -> None:
    given(*IS_PARTIALLY_SHIPPED).when(Ship(NEW_ID, lines, AT)).then(INK_SENT, SHIPPED)


def test_shipping_everything_excludes_canceled_units() -> None:
    canceled = OrderUnitsCanceled(1, 1, "OUT_OF_STOCK", 1499)

    given(*IS_PAID, canceled).when(Ship(NEW_ID, None, AT)).then(
        ShipmentDispatched(NEW_ID, (LineQuantity(1, 1), LineQuantity(2, 1)), AT), SHIPPED
    )


@pytest.mark.parametrize(
    ("events", "line", "outstanding"),
    [
        (IS_PAID, LineQuantity(1, 3), 2),
        (IS_PARTIALLY_SHIPPED, LineQuantity(1, 1), 0),
        ((*IS_PAID, OrderUnitsCanceled(1, 1, "OTHER", 1499)), LineQuantity(1, 2), 1),
    ],
)
def test_shipping_more_than_is_outstanding_is_refused(
    events: Events, line: LineQuantity, outstanding: int
) -> None:
    given(*events).when(Ship(NEW_ID, (LineQuantity(2, 1), line), AT)).then_refused(
        InvalidRequest, "quantity-exceeds-outstanding", line_id=1, outstanding=outstanding
    )


@pytest.mark.parametrize(
    "lines",
    [
        (),
        (LineQuantity(1, 0),),
        (LineQuantity(1, -1),),
        (LineQuantity(9, 0),),
        (LineQuantity(1, 1), LineQuantity(1, 1)),
    ],
)
def test_a_shipment_must_name_each_line_once_with_at_least_one_unit(
    lines: tuple[LineQuantity, ...],
) -> None:
    given(*IS_PAID).when(Ship(NEW_ID, lines, AT)).then_refused(InvalidRequest, "validation")


def test_a_shipment_of_an_unknown_line_is_not_found() -> None:
    given(*IS_PAID).when(Ship(NEW_ID, (LineQuantity(9, 1),), AT)).then_refused(
        NotFound, "line-not-found"
    )


def test_an_unpaid_order_cannot_be_shipped() -> None:
    given(PLACED).when(Ship(NEW_ID, None, AT)).then_refused(
        RuleViolation,
        "payment-required",
        status="PENDING",
        allowed_transitions=["PAID", "CANCELED"],
    )


def test_an_unpaid_order_can_be_shipped_if_the_shop_allows_it() -> None:
    given(PLACED).when(Ship(NEW_ID, None, AT, allow_unpaid=True)).then(DISPATCHED, SHIPPED)


def test_the_rest_of_an_order_that_was_shipped_unpaid_waits_for_the_payment() -> None:
    given(PLACED, PENS_SENT).when(Ship(NEW_ID, None, AT)).then_refused(
        RuleViolation, "payment-required"
    )
    given(PLACED, PENS_SENT, CAPTURED).when(Ship(NEW_ID, None, AT)).then(INK_SENT, SHIPPED)


@pytest.mark.parametrize("events", [IS_SHIPPED, IS_DELIVERED, IS_RETURNED, (PLACED, DISPATCHED)])
def test_shipping_without_outstanding_units_is_refused(events: Events) -> None:
    given(*events).when(Ship(PARCEL, None, AT)).then_refused(RuleViolation, "nothing-to-ship")


def test_a_canceled_order_is_not_shipped() -> None:
    given(*IS_CANCELED).when(Ship(NEW_ID, None, AT, allow_unpaid=True)).then_refused(
        RuleViolation, "invalid-transition"
    )


# --- tracked --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("carrier", "number", "expected"),
    [
        ("Rail", None, ("Rail", "T-1")),
        (None, "T-2", ("Post", "T-2")),
        ("Rail", "T-2", ("Rail", "T-2")),
    ],
)
@pytest.mark.parametrize("since", [(), (DELIVERED_SHIPMENT,)])
def test_an_update_of_tracking_keeps_members_that_are_left_out(
    carrier: str | None, number: str | None, expected: tuple[str, str], since: Events
) -> None:
    sent = ShipmentDispatched(NEW_ID, (LineQuantity(1, 1),), AT, "Post", "T-1")

    given(*IS_PAID, sent, *since).when(UpdateTracking(NEW_ID, carrier, number)).then(
        ShipmentTrackingUpdated(NEW_ID, *expected)
    )


@pytest.mark.parametrize(("carrier", "number"), [(None, None), ("Post", "T-2"), ("Post", None)])
def test_tracking_that_is_already_recorded_changes_nothing(
    carrier: str | None, number: str | None
) -> None:
    known = ShipmentTrackingUpdated(NEW_ID, "Post", "T-2")

    given(*IS_SHIPPED, known).when(UpdateTracking(NEW_ID, carrier, number)).then()


def test_a_voided_shipment_is_not_tracked() -> None:
    given(*IS_SHIPPED, VOIDED).when(UpdateTracking(NEW_ID, "Post", "T-1")).then_refused(
        RuleViolation, "invalid-transition"
    )


# --- voided ---------------------------------------------------------------------------------------


def test_a_shipment_that_never_arrives_is_voided() -> None:
    given(*IS_SHIPPED).when(VoidShipment(NEW_ID, "LOST", TEXT)).then(
        ShipmentVoided(NEW_ID, "LOST", TEXT)
    )


def test_a_shipment_is_voided_once() -> None:
    given(*IS_SHIPPED, VOIDED).when(VoidShipment(NEW_ID, "STAFF_ERROR")).then()


def test_a_delivered_shipment_is_not_voided() -> None:
    given(*IS_DELIVERED).when(VoidShipment(NEW_ID, "LOST")).then_refused(
        RuleViolation, "shipment-delivered"
    )


def test_voided_units_are_outstanding_and_ship_the_order_again() -> None:
    again = UUID(int=60)

    given(*IN_TWO_PARCELS, VOIDED).when(Ship(again, None, AT)).then(
        ShipmentDispatched(again, (LineQuantity(2, 1),), AT), OrderShipped(again)
    )


# --- delivered ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shipment_id", [None, NEW_ID])
def test_delivery_of_everything_delivers_the_order(shipment_id: UUID | None) -> None:
    given(*IS_SHIPPED).when(ConfirmDelivery(shipment_id, AT, AT)).then(
        DELIVERED_SHIPMENT, DELIVERED
    )


def test_delivery_of_every_shipment_skips_voided_and_delivered_ones() -> None:
    lost = UUID(int=60)
    life: Events = (
        *IS_PAID,
        ShipmentDispatched(lost, (LineQuantity(2, 1),), AT),
        ShipmentVoided(lost, "LOST"),
        PENS_SENT,
        ShipmentDelivered(PARCEL, AT),
        INK_SENT,
        SHIPPED,
    )

    given(*life).when(ConfirmDelivery(None, None, AT)).then(DELIVERED_SHIPMENT, DELIVERED)


def test_delivery_of_two_shipments_is_in_the_order_of_their_dispatch() -> None:
    given(*IN_TWO_PARCELS).when(ConfirmDelivery(None, None, AT)).then(
        ShipmentDelivered(PARCEL, AT), DELIVERED_SHIPMENT, DELIVERED
    )


@pytest.mark.parametrize("events", [IS_PARTIALLY_SHIPPED, IN_TWO_PARCELS])
def test_delivery_of_a_part_does_not_deliver_the_order(events: Events) -> None:
    given(*events).when(ConfirmDelivery(PARCEL, AT, AT)).then(ShipmentDelivered(PARCEL, AT))


@pytest.mark.parametrize("shipment_id", [None, NEW_ID])
@pytest.mark.parametrize("delivered_at", [None, AT, AT - HOUR])
def test_a_delivery_is_confirmed_once(
    shipment_id: UUID | None, delivered_at: datetime | None
) -> None:
    given(*IS_DELIVERED).when(ConfirmDelivery(shipment_id, delivered_at, AT + HOUR)).then()


@pytest.mark.parametrize("events", [(PLACED,), IS_PAID, IS_CANCELED])
def test_where_nothing_is_on_its_way_nothing_is_delivered(events: Events) -> None:
    given(*events).when(ConfirmDelivery(None, None, AT)).then()


@pytest.mark.parametrize("hours", [0, 1, 2])
def test_a_delivery_lies_between_the_dispatch_and_now(hours: int) -> None:
    given(*IS_SHIPPED).when(ConfirmDelivery(NEW_ID, AT + hours * HOUR, AT + 2 * HOUR)).then(
        ShipmentDelivered(NEW_ID, AT + hours * HOUR), DELIVERED
    )


@pytest.mark.parametrize("seconds", [-1, 3601])
def test_a_delivery_before_the_dispatch_or_in_the_future_is_refused(seconds: int) -> None:
    delivered_at = AT + timedelta(seconds=seconds)

    given(*IS_SHIPPED).when(ConfirmDelivery(NEW_ID, delivered_at, AT + HOUR)).then_refused(
        InvalidRequest, "validation"
    )


@pytest.mark.parametrize(("now", "expected"), [(AT + HOUR, AT + HOUR), (AT - HOUR, AT)])
def test_a_delivery_of_no_time_is_now_but_never_before_its_dispatch(
    now: datetime, expected: datetime
) -> None:
    given(*IS_SHIPPED).when(ConfirmDelivery(NEW_ID, None, now)).then(
        ShipmentDelivered(NEW_ID, expected), DELIVERED
    )


def test_a_voided_shipment_is_not_delivered() -> None:
    given(*IS_SHIPPED, VOIDED).when(ConfirmDelivery(NEW_ID, None, AT)).then_refused(
        RuleViolation, "invalid-transition"
    )


@pytest.mark.parametrize(
    "command",
    [
        UpdateTracking(UNKNOWN_ID, "Post", "T-1"),
        VoidShipment(UNKNOWN_ID, "LOST"),
        ConfirmDelivery(UNKNOWN_ID, None, AT),
    ],
)
def test_an_unknown_shipment_is_not_found(
    command: UpdateTracking | VoidShipment | ConfirmDelivery,
) -> None:
    given(*IS_SHIPPED).when(command).then_refused(NotFound, "not-found")
