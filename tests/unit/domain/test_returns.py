"""Returns: asked for, answered, received."""

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
    LineQuantity,
    OrderLine,
    OrderPlaced,
    OrderReturned,
    ReceivedQuantity,
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
    NOBODY,
    PARCEL,
    REFUND,
    RETURN,
    TEXT,
    Events,
)

DAY = timedelta(days=1)
ASKED = ReturnRequested(RETURN, (LineQuantity(1, 2),), "DAMAGED")
APPROVED = ReturnApproved(RETURN)
PEN_BACK = ReturnReceived(RETURN, (ReceivedQuantity(1, 1, "SELLABLE"),))
PENS_BACK = ReturnReceived(RETURN, (ReceivedQuantity(1, 2, "SELLABLE"),))
REJECTED = ReturnRejected(RETURN)
RETURN_CANCELED = ReturnCanceled(RETURN)


def ask(line_id: int, quantity: int) -> RequestReturn:
    return RequestReturn(NEW_ID, (LineQuantity(line_id, quantity),), "DAMAGED", AT)


def refund(amount: int, payment_id: UUID | None = NEW_ID) -> RefundRequested:
    return RefundRequested(REFUND, amount, "return", "DAMAGED", payment_id)


# --- asked for ------------------------------------------------------------------------------------


def test_a_return_keeps_all_it_was_given() -> None:
    given(*IS_DELIVERED).when(RequestReturn(RETURN, EVERYTHING, "OTHER", AT, None, TEXT)).then(
        ReturnRequested(RETURN, EVERYTHING, "OTHER", TEXT)
    )


@pytest.mark.parametrize(
    ("since", "left"),
    [
        ((), 2),
        ((ASKED,), 0),
        ((ASKED, APPROVED), 0),
        ((ASKED, APPROVED, PEN_BACK), 0),
        ((ASKED, APPROVED, PENS_BACK), 0),
        ((ASKED, REJECTED), 2),
        ((ASKED, RETURN_CANCELED), 2),
    ],
)
def test_a_unit_is_returned_once(since: Events, left: int) -> None:
    given(*IS_DELIVERED, *since).when(ask(1, left + 1)).then_refused(
        InvalidRequest, "quantity-exceeds-outstanding", line_id=1, outstanding=left
    )


@pytest.mark.parametrize("since", [(), (ASKED, REJECTED), (ASKED, RETURN_CANCELED)])
def test_what_a_refused_return_named_may_be_asked_for_again(since: Events) -> None:
    given(*IS_DELIVERED, *since).when(ask(1, 2)).then(
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
def test_what_was_not_delivered_is_not_returned(events: Events) -> None:
    given(*events).when(ask(1, 1)).then_refused(
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
def test_a_return_names_each_line_once_with_something_of_it(
    lines: tuple[LineQuantity, ...],
) -> None:
    given(*IS_DELIVERED).when(RequestReturn(RETURN, lines, "OTHER", AT)).then_refused(
        InvalidRequest, "validation"
    )


def test_a_return_of_a_line_that_is_not_there_is_not_found() -> None:
    given(*IS_DELIVERED).when(ask(9, 1)).then_refused(NotFound, "line-not-found")


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
def test_a_return_is_asked_for_within_the_window_of_the_last_delivery_of_its_line(
    since: Events, lines: tuple[LineQuantity, ...], last_day: datetime
) -> None:
    in_time = RequestReturn(RETURN, lines, "OTHER", last_day, 14 * DAY)
    late = RequestReturn(RETURN, lines, "OTHER", last_day + timedelta(seconds=1), 14 * DAY)

    given(*IN_THREE, *since).when(in_time).then(ReturnRequested(RETURN, lines, "OTHER"))
    given(*IN_THREE, *since).when(late).then_refused(
        RuleViolation, "return-window-closed", line_id=lines[-1].line_id
    )


def test_without_a_window_a_return_is_never_late() -> None:
    lines = (LineQuantity(1, 1),)

    given(*IN_THREE).when(RequestReturn(RETURN, lines, "OTHER", AT + 999 * DAY)).then(
        ReturnRequested(RETURN, lines, "OTHER")
    )


# --- answered -------------------------------------------------------------------------------------


def test_a_return_that_was_asked_for_is_answered() -> None:
    given(*IS_DELIVERED, ASKED).when(ApproveReturn(RETURN)).then(APPROVED)
    given(*IS_DELIVERED, ASKED).when(RejectReturn(RETURN, TEXT)).then(ReturnRejected(RETURN, TEXT))
    given(*IS_DELIVERED, ASKED).when(CancelReturn(RETURN)).then(RETURN_CANCELED)


@pytest.mark.parametrize(
    ("since", "found"),
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
def test_a_return_is_answered_once(
    since: Events, found: str, command: ApproveReturn | RejectReturn | CancelReturn
) -> None:
    given(*IS_DELIVERED, ASKED, *since).when(command).then_refused(
        RuleViolation, "return-not-pending", return_status=found
    )


@pytest.mark.parametrize(
    "command",
    [
        ApproveReturn(NOBODY),
        RejectReturn(NOBODY),
        CancelReturn(NOBODY),
        ReceiveReturn(NOBODY, None, REFUND),
    ],
)
def test_a_return_that_the_order_does_not_have_is_not_found(
    command: ApproveReturn | RejectReturn | CancelReturn | ReceiveReturn,
) -> None:
    given(*IS_DELIVERED, ASKED).when(command).then_refused(NotFound, "not-found")


# --- received -------------------------------------------------------------------------------------


@pytest.mark.parametrize("lines", [None, EVERYTHING_BACK])
def test_when_everything_is_back_the_order_is_returned(
    lines: tuple[ReceivedQuantity, ...] | None,
) -> None:
    given(*IS_SENT_BACK).when(ReceiveReturn(RETURN, lines, REFUND)).then(
        ReturnReceived(RETURN, EVERYTHING_BACK), refund(2498), OrderReturned()
    )


def test_a_return_may_come_in_parts_and_in_two_conditions() -> None:
    first = ReturnReceived(
        RETURN, (ReceivedQuantity(1, 1, "DAMAGED"), ReceivedQuantity(1, 1, "SELLABLE"))
    )

    given(*IS_SENT_BACK).when(ReceiveReturn(RETURN, first.lines, REFUND)).then(first, refund(1998))
    given(*IS_SENT_BACK, first).when(ReceiveReturn(RETURN, None, REFUND)).then(
        ReturnReceived(RETURN, (ReceivedQuantity(2, 1, "SELLABLE"),)),
        refund(500),
        OrderReturned(),
    )


def test_a_part_of_the_order_returned_does_not_return_the_order() -> None:
    given(*IS_DELIVERED, ASKED, APPROVED).when(ReceiveReturn(RETURN, None, REFUND)).then(
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
def test_more_than_was_approved_is_not_received(
    since: Events, line: ReceivedQuantity, outstanding: int
) -> None:
    given(*IS_DELIVERED, ASKED, APPROVED, *since).when(
        ReceiveReturn(RETURN, (line,), REFUND)
    ).then_refused(
        InvalidRequest,
        "quantity-exceeds-outstanding",
        line_id=line.line_id,
        outstanding=outstanding,
    )


def test_both_conditions_of_a_line_count_together() -> None:
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
def test_what_is_received_names_each_line_once_a_condition_with_something_of_it(
    lines: tuple[ReceivedQuantity, ...],
) -> None:
    given(*IS_SENT_BACK).when(ReceiveReturn(RETURN, lines, REFUND)).then_refused(
        InvalidRequest, "validation"
    )


def test_a_line_that_is_not_there_is_not_received() -> None:
    lines = (ReceivedQuantity(9, 1, "SELLABLE"),)

    given(*IS_SENT_BACK).when(ReceiveReturn(RETURN, lines, REFUND)).then_refused(
        NotFound, "line-not-found"
    )


@pytest.mark.parametrize(
    ("since", "found"),
    [
        ((), "REQUESTED"),
        ((REJECTED,), "REJECTED"),
        ((RETURN_CANCELED,), "CANCELED"),
        ((APPROVED, PENS_BACK), "RECEIVED"),
    ],
)
def test_a_return_is_received_while_it_is_approved(since: Events, found: str) -> None:
    given(*IS_DELIVERED, ASKED, *since).when(ReceiveReturn(RETURN, None, REFUND)).then_refused(
        RuleViolation, "return-not-pending", return_status=found
    )
