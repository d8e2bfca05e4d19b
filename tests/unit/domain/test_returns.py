"""Returns: requested, decided, received."""

from datetime import datetime, timedelta
from uuid import UUID

import pytest

from order_service.domain.commands import (
    ApproveReturn,
    CancelReturn,
    ReceiveReturn,
    RejectReturn,
    RequestReturn,
)
from order_service.domain.events import (
    OrderPlaced,
    OrderReturned,
    RefundRequested,
    ReturnApproved,
    ReturnCanceled,
    ReturnReceived,
    ReturnRejected,
    ReturnRequested,
    ShipmentDelivered,
    ShipmentDispatched,
    ShipmentVoided,
)
from order_service.domain.parts import LineQuantity, OrderLine, ReceivedQuantity
from order_service.errors import InvalidRequest, NotFound, RuleViolation
from tests.support.log.examples import AT, INK, NEW_ID, PLACED, USER
from tests.support.log.given import given
from tests.support.log.lives import (
    EVERYTHING,
    EVERYTHING_BACK,
    IS_CANCELED,
    IS_DELIVERED,
    IS_PAID,
    IS_PARTIALLY_SHIPPED,
    IS_RETURNED,
    IS_SENT_BACK,
    IS_SHIPPED,
    PARCEL,
    REFUND,
    RETURN,
    TEXT,
    UNKNOWN_ID,
    Events,
)

DAY = timedelta(days=1)
REQUESTED = ReturnRequested(RETURN, (LineQuantity(1, 2),), "DAMAGED")
APPROVED = ReturnApproved(RETURN)
PEN_BACK = ReturnReceived(RETURN, (ReceivedQuantity(1, 1, "SELLABLE"),), 999)
PENS_BACK = ReturnReceived(RETURN, (ReceivedQuantity(1, 2, "SELLABLE"),), 1998)
REJECTED = ReturnRejected(RETURN)
RETURN_CANCELED = ReturnCanceled(RETURN)


def request(line_id: int, quantity: int) -> RequestReturn:
    return RequestReturn(NEW_ID, (LineQuantity(line_id, quantity),), "DAMAGED", AT)


def refund(amount: int, payment_id: UUID | None = NEW_ID) -> RefundRequested:
    return RefundRequested(REFUND, amount, "return", "DAMAGED", payment_id)


# --- requested ------------------------------------------------------------------------------------


def test_a_requested_return_keeps_every_field() -> None:
    given(*IS_DELIVERED).when(RequestReturn(RETURN, EVERYTHING, "OTHER", AT, None, TEXT)).then(
        ReturnRequested(RETURN, EVERYTHING, "OTHER", TEXT)
    )


@pytest.mark.parametrize(
    ("since", "left"),
    [
        ((), 2),
        ((REQUESTED,), 0),
        ((REQUESTED, APPROVED), 0),
        ((REQUESTED, APPROVED, PEN_BACK), 0),
        ((REQUESTED, APPROVED, PENS_BACK), 0),
        ((REQUESTED, REJECTED), 2),
        ((REQUESTED, RETURN_CANCELED), 2),
    ],
)
def test_a_unit_can_be_returned_only_once(since: Events, left: int) -> None:
    given(*IS_DELIVERED, *since).when(request(1, left + 1)).then_refused(
        InvalidRequest, "quantity-exceeds-outstanding", line_id=1, outstanding=left
    )


@pytest.mark.parametrize("since", [(), (REQUESTED, REJECTED), (REQUESTED, RETURN_CANCELED)])
def test_units_of_a_rejected_or_canceled_return_can_be_requested_again(since: Events) -> None:
    given(*IS_DELIVERED, *since).when(request(1, 2)).then(
        ReturnRequested(NEW_ID, (LineQuantity(1, 2),), "DAMAGED")
    )


@pytest.mark.parametrize(
    "events",
    [
        (PLACED,),
        IS_PAID,
        IS_PARTIALLY_SHIPPED,
        IS_SHIPPED,
        (*IS_SHIPPED, ShipmentVoided(NEW_ID, "LOST")),
        IS_RETURNED,
        IS_CANCELED,
    ],
)
def test_units_that_were_not_delivered_cannot_be_returned(events: Events) -> None:
    given(*events).when(request(1, 1)).then_refused(
        InvalidRequest, "quantity-exceeds-outstanding", line_id=1, outstanding=0
    )


@pytest.mark.parametrize(
    "lines",
    [
        (),
        (LineQuantity(1, 0),),
        (LineQuantity(1, -1),),
        (LineQuantity(1, 1), LineQuantity(1, 1)),
    ],
)
def test_a_return_must_name_each_line_once_with_at_least_one_unit(
    lines: tuple[LineQuantity, ...],
) -> None:
    given(*IS_DELIVERED).when(RequestReturn(RETURN, lines, "OTHER", AT)).then_refused(
        InvalidRequest, "validation"
    )


def test_a_return_of_an_unknown_line_is_not_found() -> None:
    given(*IS_DELIVERED).when(request(9, 1)).then_refused(NotFound, "line-not-found")


# Pens delivered a day before the ink, and one more pen on the third day.
IN_THREE: Events = (
    OrderPlaced(USER, "USD", (OrderLine(1, "PEN", None, 3, 999), INK), 0, 0, 3497),
    ShipmentDispatched(PARCEL, (LineQuantity(1, 2),), AT),
    ShipmentDelivered(PARCEL, AT),
    ShipmentDispatched(NEW_ID, (LineQuantity(2, 1),), AT),
    ShipmentDelivered(NEW_ID, AT + DAY),
)
ANOTHER_PEN: Events = (
    ShipmentDispatched(UUID(int=60), (LineQuantity(1, 1),), AT),
    ShipmentDelivered(UUID(int=60), AT + 2 * DAY),
)


@pytest.mark.parametrize(
    ("since", "lines", "last_day"),
    [
        ((), (LineQuantity(1, 1),), AT + 14 * DAY),
        ((), (LineQuantity(2, 1),), AT + 15 * DAY),
        (ANOTHER_PEN, (LineQuantity(1, 1),), AT + 16 * DAY),
        ((), (LineQuantity(2, 1), LineQuantity(1, 1)), AT + 14 * DAY),
    ],
    ids=["pens", "ink", "pens since the last of them", "the first to end"],
)
def test_a_return_must_be_requested_within_the_window_after_the_last_delivery_of_its_line(
    since: Events, lines: tuple[LineQuantity, ...], last_day: datetime
) -> None:
    in_time = RequestReturn(RETURN, lines, "OTHER", last_day, 14 * DAY)
    late = RequestReturn(RETURN, lines, "OTHER", last_day + timedelta(seconds=1), 14 * DAY)

    given(*IN_THREE, *since).when(in_time).then(ReturnRequested(RETURN, lines, "OTHER"))
    given(*IN_THREE, *since).when(late).then_refused(
        RuleViolation, "return-window-closed", line_id=lines[-1].line_id
    )


def test_a_return_without_a_window_is_never_too_late() -> None:
    lines = (LineQuantity(1, 1),)

    given(*IN_THREE).when(RequestReturn(RETURN, lines, "OTHER", AT + 999 * DAY)).then(
        ReturnRequested(RETURN, lines, "OTHER")
    )


# --- decided --------------------------------------------------------------------------------------


def test_a_requested_return_can_be_approved_rejected_or_canceled() -> None:
    given(*IS_DELIVERED, REQUESTED).when(ApproveReturn(RETURN)).then(APPROVED)
    given(*IS_DELIVERED, REQUESTED).when(RejectReturn(RETURN, TEXT)).then(
        ReturnRejected(RETURN, TEXT)
    )
    given(*IS_DELIVERED, REQUESTED).when(CancelReturn(RETURN)).then(RETURN_CANCELED)


@pytest.mark.parametrize(
    ("since", "status"),
    [
        ((APPROVED,), "APPROVED"),
        ((APPROVED, PEN_BACK), "APPROVED"),
        ((APPROVED, PENS_BACK), "RECEIVED"),
        ((REJECTED,), "REJECTED"),
        ((RETURN_CANCELED,), "CANCELED"),
    ],
)
@pytest.mark.parametrize(
    "command", [ApproveReturn(RETURN), RejectReturn(RETURN), CancelReturn(RETURN)]
)
def test_a_return_is_decided_only_once(
    since: Events, status: str, command: ApproveReturn | RejectReturn | CancelReturn
) -> None:
    given(*IS_DELIVERED, REQUESTED, *since).when(command).then_refused(
        RuleViolation, "return-not-pending", return_status=status
    )


@pytest.mark.parametrize(
    "command",
    [
        ApproveReturn(UNKNOWN_ID),
        RejectReturn(UNKNOWN_ID),
        CancelReturn(UNKNOWN_ID),
        ReceiveReturn(UNKNOWN_ID, None, REFUND),
    ],
)
def test_an_unknown_return_is_not_found(
    command: ApproveReturn | RejectReturn | CancelReturn | ReceiveReturn,
) -> None:
    given(*IS_DELIVERED, REQUESTED).when(command).then_refused(NotFound, "not-found")


# --- received -------------------------------------------------------------------------------------


@pytest.mark.parametrize("lines", [None, EVERYTHING_BACK])
def test_the_order_is_returned_when_all_units_are_received(
    lines: tuple[ReceivedQuantity, ...] | None,
) -> None:
    given(*IS_SENT_BACK).when(ReceiveReturn(RETURN, lines, REFUND)).then(
        ReturnReceived(RETURN, EVERYTHING_BACK, 2498), refund(2498), OrderReturned()
    )


def test_a_return_can_be_received_in_parts_and_in_two_conditions() -> None:
    first = ReturnReceived(
        RETURN, (ReceivedQuantity(1, 1, "DAMAGED"), ReceivedQuantity(1, 1, "SELLABLE")), 1998
    )

    given(*IS_SENT_BACK).when(ReceiveReturn(RETURN, first.lines, REFUND)).then(first, refund(1998))
    given(*IS_SENT_BACK, first).when(ReceiveReturn(RETURN, None, REFUND)).then(
        ReturnReceived(RETURN, (ReceivedQuantity(2, 1, "SELLABLE"),), 500),
        refund(500),
        OrderReturned(),
    )


def test_a_partial_return_does_not_return_the_order() -> None:
    given(*IS_DELIVERED, REQUESTED, APPROVED).when(ReceiveReturn(RETURN, None, REFUND)).then(
        PENS_BACK, refund(1998)
    )


@pytest.mark.parametrize(
    ("since", "line", "outstanding"),
    [
        ((), ReceivedQuantity(1, 3, "DAMAGED"), 2),
        ((PEN_BACK,), ReceivedQuantity(1, 2, "DAMAGED"), 1),
        ((), ReceivedQuantity(2, 1, "DAMAGED"), 0),
    ],
    ids=["more than approved", "more than is to come", "not in this return"],
)
def test_more_units_than_approved_cannot_be_received(
    since: Events, line: ReceivedQuantity, outstanding: int
) -> None:
    given(*IS_DELIVERED, REQUESTED, APPROVED, *since).when(
        ReceiveReturn(RETURN, (line,), REFUND)
    ).then_refused(
        InvalidRequest,
        "quantity-exceeds-outstanding",
        line_id=line.line_id,
        outstanding=outstanding,
    )


def test_the_quantities_of_both_conditions_of_a_line_are_added() -> None:
    lines = (ReceivedQuantity(1, 2, "DAMAGED"), ReceivedQuantity(1, 1, "SELLABLE"))

    given(*IS_SENT_BACK).when(ReceiveReturn(RETURN, lines, REFUND)).then_refused(
        InvalidRequest, "quantity-exceeds-outstanding", line_id=1, outstanding=2
    )


@pytest.mark.parametrize(
    "lines",
    [
        (),
        (ReceivedQuantity(1, 0, "SELLABLE"),),
        (ReceivedQuantity(1, 2, "SELLABLE"), ReceivedQuantity(1, -1, "DAMAGED")),
        (ReceivedQuantity(1, 1, "SELLABLE"), ReceivedQuantity(1, 1, "SELLABLE")),
    ],
)
def test_received_lines_must_be_named_once_for_each_condition_with_at_least_one_unit(
    lines: tuple[ReceivedQuantity, ...],
) -> None:
    given(*IS_SENT_BACK).when(ReceiveReturn(RETURN, lines, REFUND)).then_refused(
        InvalidRequest, "validation"
    )


def test_receiving_an_unknown_line_is_not_found() -> None:
    lines = (ReceivedQuantity(9, 1, "SELLABLE"),)

    given(*IS_SENT_BACK).when(ReceiveReturn(RETURN, lines, REFUND)).then_refused(
        NotFound, "line-not-found"
    )


@pytest.mark.parametrize(
    ("since", "status"),
    [
        ((), "REQUESTED"),
        ((REJECTED,), "REJECTED"),
        ((RETURN_CANCELED,), "CANCELED"),
        ((APPROVED, PENS_BACK), "RECEIVED"),
    ],
)
def test_only_an_approved_return_can_be_received(since: Events, status: str) -> None:
    given(*IS_DELIVERED, REQUESTED, *since).when(ReceiveReturn(RETURN, None, REFUND)).then_refused(
        RuleViolation, "return-not-pending", return_status=status
    )
