"""Payments that staff or a provider record; OrderPaid, once."""

from collections.abc import Callable
from uuid import UUID

import pytest

from order_service.domain.commands import (
    RecordPayment,
)
from order_service.domain.events import (
    OrderCanceled,
    OrderPaid,
    PaymentAuthorizationVoided,
    PaymentAuthorized,
    PaymentCaptured,
    RefundCompleted,
    RefundFailed,
    RefundRequested,
)
from order_service.domain.parts import PaymentSource
from order_service.errors import InvalidRequest, RuleViolation
from tests.support.log.examples import CAPTURED, NEW_ID, PAID, PLACED
from tests.support.log.given import given
from tests.support.log.lives import (
    AUTHORIZED,
    IS_CANCELED,
    IS_DELIVERED,
    IS_PAID,
    IS_RETURNED,
    IS_SHIPPED,
    PAYMENT,
    PENS_SENT,
    REFUND,
    Events,
)
from tests.support.values import replace

VOIDED = PaymentAuthorizationVoided(PAYMENT, "CUSTOMER_REQUEST")
CHARGED = PaymentCaptured(PAYMENT, 2498, "provider", "ch-1")


def manual(amount: int | None, reference: str | None = None) -> RecordPayment:
    return RecordPayment(NEW_ID, REFUND, amount, "manual", reference)


def provider(amount: int | None, reference: str | None = None) -> RecordPayment:
    return RecordPayment(NEW_ID, REFUND, amount, "provider", reference)


def test_a_payment_of_the_amount_due_pays_the_order() -> None:
    given(PLACED).when(manual(None)).then(CAPTURED, PAID)


def test_a_partial_payment_leaves_the_order_unpaid() -> None:
    given(PLACED).when(manual(1000)).then(PaymentCaptured(NEW_ID, 1000, "manual"))


def test_the_last_part_pays_the_order() -> None:
    given(PLACED, PaymentCaptured(PAYMENT, 1000, "manual")).when(manual(None)).then(
        PaymentCaptured(NEW_ID, 1498, "manual"), OrderPaid(2498, 2498)
    )


def test_the_milestone_paid_is_recorded_once() -> None:
    """Refunded money may be paid again, but the milestone is not repeated."""
    refunded = RefundRequested(REFUND, 2498, "manual", "GOODWILL", NEW_ID)

    given(PLACED, CHARGED, PAID, refunded, RefundCompleted(REFUND, 2498)).when(manual(None)).then(
        CAPTURED
    )


def test_an_order_that_was_shipped_unpaid_can_be_paid() -> None:
    given(PLACED, PENS_SENT).when(manual(None)).then(CAPTURED, PAID)


@pytest.mark.parametrize("events", [IS_PAID, IS_SHIPPED, IS_DELIVERED])
@pytest.mark.parametrize("amount", [None, 1])
def test_a_manual_payment_is_refused_if_nothing_is_due(events: Events, amount: int | None) -> None:
    given(*events).when(manual(amount)).then_refused(
        InvalidRequest, "amount-exceeds-due", amount_due="0.00"
    )


def test_a_manual_payment_above_the_amount_due_is_refused() -> None:
    given(PLACED).when(manual(2499)).then_refused(
        InvalidRequest, "amount-exceeds-due", amount_due="24.98"
    )


def test_a_manual_payment_of_a_canceled_order_is_refused() -> None:
    given(*IS_CANCELED).when(manual(100)).then_refused(RuleViolation, "invalid-transition")


@pytest.mark.parametrize(
    ("events", "amount", "milestone"),
    [
        ((PLACED,), 3000, (OrderPaid(2498, 3000),)),
        (IS_PAID, 1, ()),
        (IS_SHIPPED, 100, ()),
        (IS_RETURNED, 100, ()),
    ],
)
def test_a_providers_payment_is_recorded_whatever_the_amount_due(
    events: Events, amount: int, milestone: Events
) -> None:
    given(*events).when(provider(amount)).then(
        PaymentCaptured(NEW_ID, amount, "provider"), *milestone
    )


def test_a_providers_payment_of_a_canceled_order_is_refunded() -> None:
    given(*IS_CANCELED).when(provider(100, "ch-9")).then(
        PaymentCaptured(NEW_ID, 100, "provider", "ch-9"),
        RefundRequested(REFUND, 100, "late_capture", "CUSTOMER_REQUEST", NEW_ID),
    )


def test_the_refund_of_a_late_payment_covers_that_payment_only() -> None:
    """An earlier failed refund is for another payment: staff must request it again."""
    failed: Events = (
        PLACED,
        CHARGED,
        PAID,
        OrderCanceled("FRAUD", "PAID"),
        RefundRequested(UUID(int=70), 2498, "cancel", "FRAUD", PAYMENT),
        RefundFailed(UUID(int=70), 2498, "account_closed"),
    )

    given(*failed).when(provider(100)).then(
        PaymentCaptured(NEW_ID, 100, "provider"),
        RefundRequested(REFUND, 100, "late_capture", "FRAUD", NEW_ID),
    )


@pytest.mark.parametrize("amount", [0, -1])
@pytest.mark.parametrize("events", [(PLACED,), IS_CANCELED])
def test_a_payment_of_zero_or_less_is_refused(events: Events, amount: int) -> None:
    given(*events).when(provider(amount)).then_refused(InvalidRequest, "validation")


def test_a_providers_payment_without_an_amount_is_refused_if_nothing_is_due() -> None:
    given(*IS_PAID).when(provider(None)).then_refused(InvalidRequest, "validation")


def test_the_captured_amount_stays_within_the_bounds_of_amounts() -> None:
    given(*IS_PAID).when(provider(10**15 - 2497)).then_refused(InvalidRequest, "validation")
    given(*IS_PAID).when(provider(10**15 - 2498)).then(
        PaymentCaptured(NEW_ID, 10**15 - 2498, "provider")
    )


@pytest.mark.parametrize("amount", [None, 2498])
@pytest.mark.parametrize("since", [(PAID,), (PAID, OrderCanceled("FRAUD", "PAID"))])
@pytest.mark.parametrize("record", [manual, provider])
def test_a_second_payment_with_the_same_reference_is_a_repeat(
    record: Callable[..., RecordPayment], amount: int | None, since: Events
) -> None:
    given(PLACED, CHARGED, *since).when(record(amount, "ch-1")).then()


@pytest.mark.parametrize(
    ("events", "reference"),
    [
        ((PLACED, CHARGED, PAID), "ch-1"),
        ((PLACED, AUTHORIZED, PaymentCaptured(PAYMENT, 2498, "provider", "auth-1")), "auth-1"),
    ],
    ids=["another amount", "another amount of an authorization"],
)
def test_a_reference_with_another_amount_is_refused_for_a_payment(
    events: Events, reference: str
) -> None:
    given(*events).when(provider(100, reference)).then_refused(
        RuleViolation, "payment-reference-conflict"
    )


@pytest.mark.parametrize(
    "since", [(), (PaymentCaptured(PAYMENT, 2498, "provider", "auth-1"), PAID)]
)
@pytest.mark.parametrize("amount", [None, 2498])
def test_a_manual_payment_cannot_have_the_reference_of_an_authorization(
    since: Events, amount: int | None
) -> None:
    """Staff capture an authorization by its id."""
    given(PLACED, AUTHORIZED, *since).when(manual(amount, "auth-1")).then_refused(
        RuleViolation, "payment-reference-conflict"
    )


@pytest.mark.parametrize(
    ("amount", "milestone"), [(100, ()), (2498, (PAID,)), (3000, (OrderPaid(2498, 3000),))]
)
@pytest.mark.parametrize("since", [(), (VOIDED,)], ids=["open", "voided"])
def test_a_providers_capture_of_an_authorization_is_recorded_whatever_the_amount(
    since: Events, amount: int, milestone: Events
) -> None:
    own = replace(provider(amount, "ch-1"), authorization_reference="auth-1")

    given(PLACED, AUTHORIZED, *since).when(own).then(
        PaymentCaptured(PAYMENT, amount, "provider", "ch-1"), *milestone
    )


@pytest.mark.parametrize("amount", [100, 3000])
def test_a_capture_of_a_part_needs_a_reference_of_its_own(amount: int) -> None:
    given(PLACED, AUTHORIZED).when(provider(amount, "auth-1")).then_refused(
        InvalidRequest, "capture-reference-required"
    )
    by_hand = PaymentCaptured(PAYMENT, 1000, "manual", "auth-1")
    for unclear in (None, 1000, 2498):
        given(PLACED, AUTHORIZED, by_hand).when(provider(unclear, "auth-1")).then_refused(
            InvalidRequest, "capture-reference-required"
        )


def test_a_providers_capture_without_an_amount_captures_the_whole_authorization() -> None:
    given(PLACED, PaymentAuthorized(PAYMENT, 1000, "card", "auth-1")).when(
        provider(None, "auth-1")
    ).then(PaymentCaptured(PAYMENT, 1000, "provider", "auth-1"))


def test_a_providers_capture_for_a_canceled_order_is_refunded() -> None:
    canceled = OrderCanceled("FRAUD", "PENDING")

    given(PLACED, AUTHORIZED, canceled, VOIDED).when(provider(2498, "auth-1")).then(
        PaymentCaptured(PAYMENT, 2498, "provider", "auth-1"),
        RefundRequested(REFUND, 2498, "late_capture", "FRAUD", PAYMENT),
    )


@pytest.mark.parametrize("amount", [None, 2498])
@pytest.mark.parametrize("source", ["provider", "manual"])
def test_a_second_capture_by_the_provider_with_the_same_reference_is_a_repeat(
    source: PaymentSource, amount: int | None
) -> None:
    captured = PaymentCaptured(PAYMENT, 2498, source, "auth-1")

    given(PLACED, AUTHORIZED, captured).when(provider(amount, "auth-1")).then()


def test_payments_without_a_reference_are_never_repeats() -> None:
    given(PLACED, PaymentCaptured(PAYMENT, 100, "manual")).when(manual(100)).then(
        PaymentCaptured(NEW_ID, 100, "manual")
    )
