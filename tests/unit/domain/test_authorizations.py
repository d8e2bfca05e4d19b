"""Authorizations: given, captured, voided; and payments that failed."""

from datetime import timedelta

import pytest

from order_service.domain.commands import (
    AuthorizePayment,
    CapturePayment,
    RecordPaymentFailure,
    VoidAuthorization,
)
from order_service.domain.events import (
    OrderCanceled,
    PaymentAuthorizationVoided,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentFailed,
)
from order_service.errors import InvalidRequest, NotFound, RuleViolation
from tests.support.log.examples import AT, NEW_ID, PAID, PLACED
from tests.support.log.given import given
from tests.support.log.lives import AUTHORIZED, IS_CANCELED, IS_PAID, NOBODY, PAYMENT, Events

VOIDED = PaymentAuthorizationVoided(PAYMENT, "CUSTOMER_REQUEST")
CHARGED = PaymentCaptured(PAYMENT, 2498, "provider", "ch-1")


# --- authorized -----------------------------------------------------------------------------------


def test_an_authorization_is_of_whatever_is_due_and_keeps_all_it_was_given() -> None:
    given(PLACED, PaymentCaptured(NEW_ID, 498, "manual")).when(
        AuthorizePayment(PAYMENT, None, "card", "auth-1", AT)
    ).then(PaymentAuthorized(PAYMENT, 2000, "card", "auth-1", AT))


@pytest.mark.parametrize("amount", [1, 2498])
def test_an_authorization_may_be_of_a_part_of_what_is_due(amount: int) -> None:
    given(PLACED).when(AuthorizePayment(PAYMENT, amount)).then(PaymentAuthorized(PAYMENT, amount))


@pytest.mark.parametrize(
    ("events", "amount", "due"),
    [
        ((PLACED,), 2499, "24.98"),
        ((PLACED, PaymentCaptured(NEW_ID, 2000, "manual")), 499, "4.98"),
        (IS_PAID, 1, "0.00"),
        (IS_PAID, None, "0.00"),
    ],
)
def test_an_authorization_above_what_is_due_is_refused(
    events: Events, amount: int | None, due: str
) -> None:
    given(*events).when(AuthorizePayment(PAYMENT, amount)).then_refused(
        InvalidRequest, "amount-exceeds-due", amount_due=due
    )


@pytest.mark.parametrize("amount", [0, -1])
def test_an_authorization_of_nothing_is_refused(amount: int) -> None:
    given(PLACED).when(AuthorizePayment(PAYMENT, amount)).then_refused(InvalidRequest, "validation")


def test_nothing_is_authorized_for_a_canceled_order() -> None:
    given(*IS_CANCELED).when(AuthorizePayment(PAYMENT, 100)).then_refused(
        RuleViolation, "invalid-transition", status="CANCELED", allowed_transitions=[]
    )


@pytest.mark.parametrize("amount", [None, 2498])
@pytest.mark.parametrize("since", [(), (VOIDED,)])
def test_an_authorization_is_recorded_once_a_reference(amount: int | None, since: Events) -> None:
    given(PLACED, AUTHORIZED, *since).when(
        AuthorizePayment(NEW_ID, amount, "card", "auth-1")
    ).then()


@pytest.mark.parametrize(
    ("events", "reference"),
    [((PLACED, AUTHORIZED), "auth-1"), ((PLACED, CHARGED), "ch-1")],
    ids=["another amount", "another kind"],
)
def test_a_reference_stands_for_one_authorization(events: Events, reference: str) -> None:
    given(*events).when(AuthorizePayment(NEW_ID, 100, "card", reference)).then_refused(
        RuleViolation, "payment-reference-conflict"
    )


# --- captured -------------------------------------------------------------------------------------


@pytest.mark.parametrize("amount", [None, 2498])
def test_capture_of_all_that_is_authorized_pays_the_order(amount: int | None) -> None:
    given(PLACED, AUTHORIZED).when(CapturePayment(PAYMENT, amount, AT)).then(
        PaymentCaptured(PAYMENT, 2498, "manual", "auth-1"), PAID
    )


def test_an_authorization_is_captured_in_parts_up_to_what_is_open() -> None:
    part = PaymentCaptured(PAYMENT, 1000, "manual", "auth-1")

    given(PLACED, AUTHORIZED).when(CapturePayment(PAYMENT, 1000, AT)).then(part)
    given(PLACED, AUTHORIZED, part).when(CapturePayment(PAYMENT, None, AT)).then(
        PaymentCaptured(PAYMENT, 1498, "manual", "auth-1"), PAID
    )
    given(PLACED, AUTHORIZED, part).when(CapturePayment(PAYMENT, 1499, AT)).then_refused(
        InvalidRequest, "amount-exceeds-due", open="14.98"
    )


@pytest.mark.parametrize("amount", [0, -1])
def test_a_capture_of_nothing_is_refused(amount: int) -> None:
    given(PLACED, AUTHORIZED).when(CapturePayment(PAYMENT, amount, AT)).then_refused(
        InvalidRequest, "validation"
    )


@pytest.mark.parametrize(
    "events",
    [
        (PLACED, AUTHORIZED, VOIDED),
        (PLACED, AUTHORIZED, PaymentCaptured(PAYMENT, 2498, "manual", "auth-1"), PAID),
        (PLACED, CHARGED, PAID),
    ],
    ids=["voided", "captured", "no authorization"],
)
def test_a_payment_of_which_nothing_is_open_is_not_captured(events: Events) -> None:
    given(*events).when(CapturePayment(PAYMENT, None, AT)).then_refused(
        RuleViolation, "payment-not-capturable"
    )


def test_an_authorization_is_captured_until_it_expires() -> None:
    expiring = PaymentAuthorized(PAYMENT, 2498, "card", "auth-1", AT)

    given(PLACED, expiring).when(CapturePayment(PAYMENT, None, AT)).then_refused(
        RuleViolation, "payment-not-capturable"
    )
    given(PLACED, expiring).when(CapturePayment(PAYMENT, None, AT - timedelta(seconds=1))).then(
        PaymentCaptured(PAYMENT, 2498, "manual", "auth-1"), PAID
    )


def test_nothing_is_captured_for_a_canceled_order() -> None:
    given(PLACED, AUTHORIZED, OrderCanceled("FRAUD", "PENDING")).when(
        CapturePayment(PAYMENT, None, AT)
    ).then_refused(RuleViolation, "invalid-transition")


# --- voided and failed ----------------------------------------------------------------------------


@pytest.mark.parametrize("since", [(), (PaymentCaptured(PAYMENT, 1000, "manual"),)])
def test_what_is_open_of_an_authorization_is_voided(since: Events) -> None:
    given(PLACED, AUTHORIZED, *since).when(VoidAuthorization(PAYMENT, "CUSTOMER_REQUEST")).then(
        VOIDED
    )


@pytest.mark.parametrize(
    "events",
    [
        (PLACED, AUTHORIZED, VOIDED),
        (PLACED, AUTHORIZED, PaymentCaptured(PAYMENT, 2498, "manual", "auth-1"), PAID),
        (PLACED, CHARGED, PAID),
    ],
    ids=["voided", "captured", "no authorization"],
)
def test_a_payment_of_which_nothing_is_open_is_not_voided(events: Events) -> None:
    given(*events).when(VoidAuthorization(PAYMENT, "OTHER")).then_refused(
        RuleViolation, "payment-not-voidable"
    )


def test_a_payments_failure_is_recorded_once_a_code() -> None:
    declined = PaymentFailed(PAYMENT, "declined")

    given(PLACED, AUTHORIZED).when(RecordPaymentFailure(PAYMENT, "declined")).then(declined)
    given(PLACED, AUTHORIZED, declined).when(RecordPaymentFailure(PAYMENT, "declined")).then()
    given(PLACED, AUTHORIZED, declined).when(RecordPaymentFailure(PAYMENT, "expired")).then(
        PaymentFailed(PAYMENT, "expired")
    )


@pytest.mark.parametrize(
    "command",
    [
        CapturePayment(NOBODY, None, AT),
        VoidAuthorization(NOBODY, "OTHER"),
        RecordPaymentFailure(NOBODY, "declined"),
    ],
)
def test_a_payment_that_the_order_does_not_have_is_not_found(
    command: CapturePayment | VoidAuthorization | RecordPaymentFailure,
) -> None:
    given(PLACED, AUTHORIZED).when(command).then_refused(NotFound, "not-found")
