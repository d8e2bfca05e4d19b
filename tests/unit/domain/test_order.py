"""The shorthand of PATCH, from each status to each; and the decider's assertions."""

import pytest

from order_service.domain.commands import ChangeStatus, ExpireOrder, TargetStatus
from order_service.domain.events import (
    OrderCanceled,
    OrderNoteAdded,
    OrderPaid,
    PaymentAuthorizationVoided,
    PaymentCaptured,
    RefundRequested,
    ShipmentDelivered,
    ShipmentDispatched,
)
from order_service.domain.order import decide
from order_service.domain.parts import LineQuantity
from order_service.errors import RuleViolation
from tests.support.log.examples import (
    AT,
    CAPTURED,
    DELIVERED,
    DELIVERED_SHIPMENT,
    DISPATCHED,
    NEW_ID,
    PAID,
    PLACED,
    SHIPPED,
    placing,
    to_status,
)
from tests.support.log.given import given
from tests.support.log.lives import (
    AUTHORIZED,
    CANCELED,
    IS_CANCELED,
    IS_DELIVERED,
    IS_PAID,
    IS_PARTIALLY_SHIPPED,
    IS_PENDING,
    IS_RETURNED,
    IS_SHIPPED,
    PARCEL,
    PAYMENT,
    PENS_SENT,
    TEXT,
    Events,
)
from tests.support.values import replace

LIVES: dict[str, Events] = {
    "PENDING": IS_PENDING,
    "PAID": IS_PAID,
    "PARTIALLY_SHIPPED": IS_PARTIALLY_SHIPPED,
    "SHIPPED": IS_SHIPPED,
    "DELIVERED": IS_DELIVERED,
    "RETURNED": IS_RETURNED,
    "CANCELED": IS_CANCELED,
}
REST_DISPATCHED = ShipmentDispatched(NEW_ID, (LineQuantity(2, 1),), AT)
FULL_REFUND = RefundRequested(NEW_ID, 2498, "cancel", "CUSTOMER_REQUEST", NEW_ID)
REACHED: dict[tuple[str, TargetStatus], Events] = {
    ("PENDING", "PENDING"): (),
    ("PENDING", "PAID"): (CAPTURED, PAID),
    ("PENDING", "CANCELED"): (CANCELED,),
    ("PAID", "PAID"): (),
    ("PAID", "SHIPPED"): (DISPATCHED, SHIPPED),
    ("PAID", "CANCELED"): (OrderCanceled("CUSTOMER_REQUEST", "PAID"), FULL_REFUND),
    ("PARTIALLY_SHIPPED", "SHIPPED"): (REST_DISPATCHED, SHIPPED),
    ("SHIPPED", "SHIPPED"): (),
    ("SHIPPED", "DELIVERED"): (DELIVERED_SHIPMENT, DELIVERED),
    ("DELIVERED", "DELIVERED"): (),
    ("CANCELED", "CANCELED"): (),
}
REFUSED: dict[tuple[str, TargetStatus], str] = {
    ("PENDING", "SHIPPED"): "payment-required",
    ("PENDING", "DELIVERED"): "invalid-transition",
    ("PAID", "PENDING"): "invalid-transition",
    ("PAID", "DELIVERED"): "invalid-transition",
    ("PARTIALLY_SHIPPED", "PENDING"): "invalid-transition",
    ("PARTIALLY_SHIPPED", "PAID"): "invalid-transition",
    ("PARTIALLY_SHIPPED", "DELIVERED"): "invalid-transition",
    ("PARTIALLY_SHIPPED", "CANCELED"): "already-shipped",
    ("SHIPPED", "PENDING"): "invalid-transition",
    ("SHIPPED", "PAID"): "invalid-transition",
    ("SHIPPED", "CANCELED"): "already-shipped",
    ("DELIVERED", "PENDING"): "invalid-transition",
    ("DELIVERED", "PAID"): "invalid-transition",
    ("DELIVERED", "SHIPPED"): "invalid-transition",
    ("DELIVERED", "CANCELED"): "already-shipped",
    ("RETURNED", "PENDING"): "invalid-transition",
    ("RETURNED", "PAID"): "invalid-transition",
    ("RETURNED", "SHIPPED"): "invalid-transition",
    ("RETURNED", "DELIVERED"): "invalid-transition",
    ("RETURNED", "CANCELED"): "invalid-transition",
    ("CANCELED", "PENDING"): "invalid-transition",
    ("CANCELED", "PAID"): "invalid-transition",
    ("CANCELED", "SHIPPED"): "invalid-transition",
    ("CANCELED", "DELIVERED"): "invalid-transition",
}


@pytest.mark.parametrize("cell", REACHED, ids=" to ".join)
def test_setting_an_allowed_status_records_the_events_of_its_command(
    cell: tuple[str, TargetStatus],
) -> None:
    present, wanted = cell

    given(*LIVES[present]).when(to_status(wanted)).then(*REACHED[cell])


@pytest.mark.parametrize("cell", REFUSED, ids=" to ".join)
def test_setting_a_status_that_the_present_one_forbids_is_refused(
    cell: tuple[str, TargetStatus],
) -> None:
    present, wanted = cell

    given(*LIVES[present]).when(to_status(wanted)).then_refused(
        RuleViolation, REFUSED[cell], status=present
    )


def test_both_tables_cover_every_pair_of_statuses() -> None:
    wanted = ("PENDING", "PAID", "SHIPPED", "DELIVERED", "CANCELED")

    assert {*REACHED, *REFUSED} == {(present, to) for present in LIVES for to in wanted}
    assert len(REACHED) + len(REFUSED) == 35


def test_the_refusal_of_a_status_lists_the_allowed_ones() -> None:
    given(*IS_PAID).when(to_status("DELIVERED")).then_refused(
        RuleViolation,
        "invalid-transition",
        from_status="PAID",
        to_status="DELIVERED",
        allowed_transitions=["SHIPPED", "CANCELED"],
    )


def test_setting_paid_records_a_payment_of_the_amount_due() -> None:
    part = PaymentCaptured(PAYMENT, 1000, "manual")

    given(PLACED, part).when(to_status("PAID")).then(
        PaymentCaptured(NEW_ID, 1498, "manual"), OrderPaid(2498, 2498)
    )


def test_setting_shipped_keeps_the_tracking_number() -> None:
    lines = (LineQuantity(1, 2), LineQuantity(2, 1))

    given(*IS_PAID).when(ChangeStatus("SHIPPED", NEW_ID, AT, "OTHER", tracking_number="T-1")).then(
        ShipmentDispatched(NEW_ID, lines, AT, None, "T-1"), SHIPPED
    )


def test_setting_delivered_confirms_every_shipment_in_transit() -> None:
    given(*IS_PARTIALLY_SHIPPED, REST_DISPATCHED, SHIPPED).when(to_status("DELIVERED")).then(
        ShipmentDelivered(PARCEL, AT), DELIVERED_SHIPMENT, DELIVERED
    )


def test_setting_canceled_keeps_the_reason_and_voids_authorizations() -> None:
    given(PLACED, AUTHORIZED).when(ChangeStatus("CANCELED", NEW_ID, AT, "FRAUD", TEXT)).then(
        OrderCanceled("FRAUD", "PENDING", TEXT),
        PaymentAuthorizationVoided(PAYMENT, "ORDER_CANCELED"),
    )


def test_a_partly_shipped_order_can_be_shipped_once_paid_but_not_set_to_paid() -> None:
    given(PLACED, PENS_SENT, CAPTURED).when(to_status("SHIPPED")).then(REST_DISPATCHED, SHIPPED)
    given(PLACED, PENS_SENT).when(to_status("PAID")).then_refused(
        RuleViolation, "invalid-transition", from_status="PARTIALLY_SHIPPED"
    )


def test_an_order_is_placed_exactly_once_before_other_commands() -> None:
    """The caller must look this up first: it is a mistake in the code, not a refusal."""
    with pytest.raises(AssertionError):
        decide(placing(), given(PLACED).order)
    with pytest.raises(AssertionError):
        decide(ExpireOrder(), None)


def test_a_note_on_a_status_is_recorded_after_the_other_events() -> None:
    command = replace(to_status("PAID"), text_ref=TEXT, note_visibility="internal")

    given(PLACED).when(command).then(CAPTURED, PAID, OrderNoteAdded(TEXT, "internal", TEXT))
    given(PLACED, CAPTURED, PAID).when(command).then()
