"""Refunds that staff request: at most the refundable amount, each completed once."""

from uuid import UUID, uuid5

import pytest

from order_service.domain.commands import FailRefund, RequestRefund, SettleRefund
from order_service.domain.events import (
    OrderCanceled,
    RefundCompleted,
    RefundFailed,
    RefundRequested,
)
from order_service.errors import InvalidRequest, NotFound, RuleViolation
from tests.support.log.examples import NEW_ID, PLACED
from tests.support.log.given import given
from tests.support.log.lives import (
    AUTHORIZED,
    IS_DELIVERED,
    IS_PAID,
    IS_RETURNED,
    REFUND,
    TEXT,
    UNKNOWN_ID,
    Events,
    paid_in,
)

REQUESTED = RefundRequested(REFUND, 1000, "manual", "GOODWILL", NEW_ID)
WITH_REFUND: Events = (*IS_PAID, REQUESTED)
DONE = RefundCompleted(REFUND, 1000, "re-1")
FAILED = RefundFailed(REFUND, 1000, "closed")
CANCELED_REFUND_FAILED: Events = (
    *IS_PAID,
    OrderCanceled("FRAUD", "PAID"),
    RefundRequested(REFUND, 2498, "cancel", "FRAUD", NEW_ID),
    RefundFailed(REFUND, 2498, "closed"),
)


@pytest.mark.parametrize(
    ("events", "amount", "expected"),
    [
        (IS_PAID, 1, 1),
        (IS_PAID, None, 2498),
        (IS_DELIVERED, 2498, 2498),
        (WITH_REFUND, None, 1498),
        ((*WITH_REFUND, DONE), 1498, 1498),
        ((*WITH_REFUND, FAILED), None, 2498),
        (CANCELED_REFUND_FAILED, None, 2498),
    ],
)
def test_the_captured_and_not_refunded_amount_can_be_refunded(
    events: Events, amount: int | None, expected: int
) -> None:
    new_id = UUID(int=71)

    given(*events).when(RequestRefund(new_id, amount, "GOODWILL", TEXT)).then(
        RefundRequested(new_id, expected, "manual", "GOODWILL", NEW_ID, TEXT)
    )


def test_several_payments_are_paid_back_newest_first_with_a_refund_each() -> None:
    first, second = paid_in(1000, 500)
    given(PLACED, first, second).when(RequestRefund(REFUND, 700, "GOODWILL")).then(
        RefundRequested(REFUND, 500, "manual", "GOODWILL", second.payment_id),
        RefundRequested(uuid5(REFUND, "1"), 200, "manual", "GOODWILL", first.payment_id),
    )


@pytest.mark.parametrize(
    ("events", "amount", "refundable"),
    [
        (IS_PAID, 2499, "24.98"),
        (IS_PAID, 0, "24.98"),
        (IS_PAID, -1, "24.98"),
        (WITH_REFUND, 1499, "14.98"),
        ((*WITH_REFUND, DONE), 1499, "14.98"),
        ((PLACED,), 1, "0.00"),
        ((PLACED, AUTHORIZED), None, "0.00"),
        (IS_RETURNED, None, "0.00"),
    ],
)
def test_a_refund_of_more_than_was_captured_is_refused(
    events: Events, amount: int | None, refundable: str
) -> None:
    given(*events).when(RequestRefund(REFUND, amount, "GOODWILL")).then_refused(
        InvalidRequest, "refund-exceeds-captured", max_refundable=refundable
    )


def test_a_pending_refund_is_settled_or_fails() -> None:
    given(*WITH_REFUND).when(SettleRefund(REFUND, "re-1")).then(DONE)
    given(*WITH_REFUND).when(FailRefund(REFUND, "closed")).then(FAILED)


@pytest.mark.parametrize("reference", [None, "re-1"])
def test_a_refund_is_settled_once(reference: str | None) -> None:
    settled = RefundCompleted(REFUND, 1000, reference)

    given(*WITH_REFUND, settled).when(SettleRefund(REFUND, reference)).then()


@pytest.mark.parametrize(
    ("since", "command"),
    [
        (DONE, SettleRefund(REFUND, "re-2")),
        (DONE, SettleRefund(REFUND)),
        (DONE, FailRefund(REFUND, "closed")),
        (FAILED, SettleRefund(REFUND)),
        (FAILED, FailRefund(REFUND, "closed")),
    ],
)
def test_a_refund_that_has_ended_is_not_ended_otherwise(
    since: RefundCompleted | RefundFailed, command: SettleRefund | FailRefund
) -> None:
    given(*WITH_REFUND, since).when(command).then_refused(RuleViolation, "refund-not-pending")


@pytest.mark.parametrize("command", [SettleRefund(UNKNOWN_ID), FailRefund(UNKNOWN_ID, "closed")])
def test_an_unknown_refund_is_not_found(
    command: SettleRefund | FailRefund,
) -> None:
    given(*WITH_REFUND).when(command).then_refused(NotFound, "not-found")
