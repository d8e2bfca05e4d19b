"""Authorizations: recorded, captured, voided; and failed payments."""

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
from tests.support.log.lives import AUTHORIZED, IS_CANCELED, IS_PAID, PAYMENT, UNKNOWN_ID, Events

VOIDED = PaymentAuthorizationVoided(PAYMENT, "CUSTOMER_REQUEST")
CHARGED = PaymentCaptured(PAYMENT, 2498, "provider", "ch-1")


# --- authorized -----------------------------------------------------------------------------------


def test_an_authorization_defaults_to_the_amount_due_and_keeps_every_field() -> None:
    given(PLACED, PaymentCaptured(NEW_ID, 498, "manual")).when(
        AuthorizePayment(PAYMENT, None, AT - timedelta(days=1), "card", "auth-1", AT)
    ).then(PaymentAuthorized(PAYMENT, 2000, "card", "auth-1", AT))


@pytest.mark.parametrize("amount", [1, 2498])
def test_an_authorization_may_cover_a_part_of_the_amount_due(amount: int) -> None:
    given(PLACED).when(AuthorizePayment(PAYMENT, amount, AT)).then(
        PaymentAuthorized(PAYMENT, amount)
    )


@pytest.mark.parametrize(
    ("events", "amount", "due"),
    [
        ((PLACED,), 2499, "24.98"),
        ((PLACED, PaymentCaptured(NEW_ID, 2000, "manual")), 499, "4.98"),
        (IS_PAID, 1, "0.00"),
        (IS_PAID, None, "0.00"),
    ],
)
def test_an_authorization_above_the_amount_due_is_refused(
    events: Events, amount: int | None, due: str
) -> None:
    given(*events).when(AuthorizePayment(PAYMENT, amount, AT)).then_refused(
        InvalidRequest, "amount-exceeds-due", amount_due=due
    )


@pytest.mark.parametrize("amount", [0, -1])
def test_an_authorization_of_zero_or_less_is_refused(amount: int) -> None:
    given(PLACED).when(AuthorizePayment(PAYMENT, amount, AT)).then_refused(
        InvalidRequest, "validation"
    )


def test_nothing_is_authorized_for_a_canceled_order() -> None:
    given(*IS_CANCELED).when(AuthorizePayment(PAYMENT, 100, AT)).then_refused(
        RuleViolation, "invalid-transition", status="CANCELED", allowed_transitions=[]
    )


@pytest.mark.parametrize("amount", [None, 2498])
@pytest.mark.parametrize("since", [(), (VOIDED,)])
def test_a_second_authorization_with_the_same_reference_is_a_repeat(
    amount: int | None, since: Events
) -> None:
    given(PLACED, AUTHORIZED, *since).when(
        AuthorizePayment(NEW_ID, amount, AT, "card", "auth-1")
    ).then()


@pytest.mark.parametrize(
    ("events", "reference"),
    [((PLACED, AUTHORIZED), "auth-1"), ((PLACED, CHARGED), "ch-1")],
    ids=["another amount", "another kind"],
)
def test_a_reference_of_another_payment_is_refused_for_an_authorization(
    events: Events, reference: str
) -> None:
    given(*events).when(AuthorizePayment(NEW_ID, 100, AT, "card", reference)).then_refused(
        RuleViolation, "payment-reference-conflict"
    )


# --- captured -------------------------------------------------------------------------------------


@pytest.mark.parametrize("amount", [None, 2498])
def test_capturing_the_whole_authorization_pays_the_order(amount: int | None) -> None:
    given(PLACED, AUTHORIZED).when(CapturePayment(PAYMENT, amount, AT)).then(
        PaymentCaptured(PAYMENT, 2498, "manual", "auth-1"), PAID
    )


def test_an_authorization_is_captured_in_parts_up_to_its_open_amount() -> None:
    part = PaymentCaptured(PAYMENT, 1000, "manual", "auth-1")

    given(PLACED, AUTHORIZED).when(CapturePayment(PAYMENT, 1000, AT)).then(part)
    given(PLACED, AUTHORIZED, part).when(CapturePayment(PAYMENT, None, AT)).then(
        PaymentCaptured(PAYMENT, 1498, "manual", "auth-1"), PAID
    )
    given(PLACED, AUTHORIZED, part).when(CapturePayment(PAYMENT, 1499, AT)).then_refused(
        InvalidRequest, "amount-exceeds-due", open="14.98"
    )


@pytest.mark.parametrize("amount", [0, -1])
def test_a_capture_of_zero_or_less_is_refused(amount: int) -> None:
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
def test_a_payment_without_an_open_amount_cannot_be_captured(events: Events) -> None:
    given(*events).when(CapturePayment(PAYMENT, None, AT)).then_refused(
        RuleViolation, "payment-not-capturable"
    )


def test_an_authorization_can_be_captured_until_it_expires() -> None:
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
def test_the_open_amount_of_an_authorization_is_voided(since: Events) -> None:
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
def test_a_payment_without_an_open_amount_cannot_be_voided(events: Events) -> None:
    given(*events).when(VoidAuthorization(PAYMENT, "OTHER")).then_refused(
        RuleViolation, "payment-not-voidable"
    )


def test_a_payment_failure_is_recorded_once_for_each_code() -> None:
    declined = PaymentFailed(PAYMENT, "declined")

    given(PLACED, AUTHORIZED).when(RecordPaymentFailure(PAYMENT, "declined")).then(declined)
    given(PLACED, AUTHORIZED, declined).when(RecordPaymentFailure(PAYMENT, "declined")).then()
    given(PLACED, AUTHORIZED, declined).when(RecordPaymentFailure(PAYMENT, "expired")).then(
        PaymentFailed(PAYMENT, "expired")
    )


@pytest.mark.parametrize(
    "command",
    [
        CapturePayment(UNKNOWN_ID, None, AT),
        VoidAuthorization(UNKNOWN_ID, "OTHER"),
        RecordPaymentFailure(UNKNOWN_ID, "declined"),
    ],
)
def test_an_unknown_payment_is_not_found(
    command: CapturePayment | VoidAuthorization | RecordPaymentFailure,
) -> None:
    given(PLACED, AUTHORIZED).when(command).then_refused(NotFound, "not-found")
