"""A log that version 0.1.0 has written folds to the statuses and balances that it had then; units
that came back are owed no more.

`tests/fixtures/log-0.1.0.ndjson` has a stream a line; of each event the type, the payload, and what
the order was after it: the statuses, then amounts as in `seen`, then what 0.1.0 held its returned
units to be worth. Hypothesis made the commands, against the decider of 0.1.0.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args
from uuid import UUID

import orjson
import pytest

from order_service.domain.events import OrderEvent
from order_service.log.codec import StoredEvent
from order_service.log.fold import FoldedOrder, fold_stored

AT = datetime(2026, 11, 29, tzinfo=UTC)
LOG = Path(__file__).parents[2] / "fixtures" / "log-0.1.0.ndjson"
STREAMS = [orjson.loads(line) for line in LOG.read_bytes().splitlines()]


def stored(stream: list[Any]) -> list[StoredEvent]:
    return [
        StoredEvent(
            *(0, version, UUID(int=1), version, UUID(int=version), type_, 1),
            *(orjson.dumps(data).decode(), '["system"]', AT),
        )
        for version, (type_, data, _) in enumerate(stream, start=1)
    ]


def seen(folded: FoldedOrder) -> list[Any]:
    order, summary = folded.order, folded.summary
    return [
        summary.status,
        summary.fulfillment_status,
        summary.payment_status,
        summary.total_minor,
        order.captured_minor,
        order.refunded_minor,
        order.refund_pending_minor,
        summary.authorized_minor,
        summary.amount_due_minor,
        summary.credit_due_minor,
        order.returned_minor,
    ]


@pytest.mark.parametrize("stream", STREAMS, ids=[str(n) for n in range(len(STREAMS))])
def test_an_order_is_at_every_version_what_it_was(stream: list[Any]) -> None:
    folded = None
    for row, (*_, then) in zip(stored(stream), stream, strict=True):
        folded = fold_stored([row], 4, folded)

        assert folded is not None
        assert seen(folded) == (without_returned(then) if then[-1] else then)


def without_returned(then: list[Any]) -> list[Any]:
    """0.1.0 held returned units to be owed still."""
    status, fulfillment, _, total, captured, refunded, pending, held, *_, returned = then
    payable = 0 if status == "CANCELED" else max(0, total - returned)
    net = captured - refunded
    due, credit = max(0, payable - net), max(0, net - pending - payable)
    paid = "PAID" if net == payable else "OVERPAID" if net > payable else "PARTIALLY_PAID"
    if captured == 0:
        paid = "AUTHORIZED" if held else "UNPAID" if total else "PAID"
    elif refunded:
        paid = "REFUNDED" if refunded == captured else "PARTIALLY_REFUNDED"
    amounts = (total, captured, refunded, pending, held, due, credit, returned)
    return [status, fulfillment, paid, *amounts]


# The types that 0.2.0 added.
NEW = {
    "BillingAddressChanged",
    "ContactChanged",
    "OrderMetadataChanged",
    "OrderTagged",
    "OrderEdited",
    "OrderHeld",
    "OrderHoldReleased",
    "PaymentAuthorizationExpired",
    "PaymentReversed",
    "PaymentReversalUndone",
}


def test_every_type_of_event_is_in_the_log() -> None:
    assert {type_ for stream in STREAMS for type_, *_ in stream} == {
        event.__name__ for event in get_args(OrderEvent)
    } - NEW
