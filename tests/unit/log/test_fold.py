"""Folding streams into orders: versions, times, commands, and events that do not fit."""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import pytest

from order_service.domain.events import OrderEvent, OrderPlaced, ShipmentDispatched
from order_service.domain.parts import LineQuantity
from order_service.domain.state import status
from order_service.errors import UnreadableEvent
from order_service.log.codec import Metadata, StoredEvent, encode, encode_metadata
from order_service.log.fold import AnsweredCommand, fold_stored
from tests.support.log.examples import (
    AT,
    BY_USER,
    CAPTURED,
    DISPATCHED,
    NEW_ID,
    PAID,
    PEN,
    PLACED,
    SHIPPED,
    USER,
)

LIFE: tuple[OrderEvent, ...] = (PLACED, CAPTURED, PAID, DISPATCHED, SHIPPED)


def stream(
    *events: OrderEvent, metadata: Sequence[Metadata] = (), first_version: int = 1
) -> list[StoredEvent]:
    """The events as stored in partition 1 from position 7 on, a second apart."""
    return [
        StoredEvent(
            1,
            6 + version,
            NEW_ID,
            version,
            UUID(int=version),
            type(event).__name__,
            1,
            encode(event),
            encode_metadata(metadata[version - 1] if metadata else BY_USER),
            datetime(2026, 3, 1, 0, 0, version, tzinfo=UTC),
        )
        for version, event in enumerate(events, start=first_version)
    ]


def test_no_events_are_no_order() -> None:
    assert fold_stored([], 4) is None


def test_folding_more_events_does_not_change_the_earlier_order() -> None:
    """A projection computes the difference of the two orders."""
    before = fold_stored(stream(PLACED), 4)
    after = fold_stored(stream(CAPTURED, PAID, DISPATCHED, first_version=2), 4, before)

    assert before == fold_stored(stream(PLACED), 4)
    assert after == fold_stored(stream(PLACED, CAPTURED, PAID, DISPATCHED), 4)


def test_a_folded_order_has_number_version_position_and_times() -> None:
    folded = fold_stored(stream(*LIFE), 4)

    assert folded is not None
    assert (folded.id, folded.number, folded.partition, folded.version) == (NEW_ID, "A-29-9", 1, 5)
    assert folded.position == 11
    assert (folded.created_at.second, folded.updated_at.second) == (1, 5)
    assert status(folded.order) == "SHIPPED"


def test_a_stream_may_be_folded_in_parts() -> None:
    rows = stream(*LIFE)

    assert fold_stored(rows[2:], 4, fold_stored(rows[:2], 4)) == fold_stored(rows, 4)


def test_executed_commands_are_found_by_actor_and_key() -> None:
    keyed = Metadata("user", USER, "pay", "print")
    nameless = Metadata("system", None, "pay", "print")

    folded = fold_stored(
        stream(*LIFE, metadata=[BY_USER, keyed, keyed, nameless, BY_USER]), 4, with_commands=True
    )

    assert folded is not None
    assert folded.commands == {(USER, "pay", False): AnsweredCommand("print", 3)}


def test_the_keys_of_creations_and_of_commands_are_separate() -> None:
    created = Metadata("user", USER, "k", "placing")
    paid = Metadata("user", USER, "k", "paying")
    free = OrderPlaced(USER, "USD", (PEN,), 0, 0, 0)

    folded = fold_stored(
        stream(free, PAID, CAPTURED, metadata=[created, created, paid]), 4, with_commands=True
    )

    assert folded is not None
    assert folded.commands == {
        (USER, "k", True): AnsweredCommand("placing", 2),
        (USER, "k", False): AnsweredCommand("paying", 3),
    }


@pytest.mark.parametrize(
    "rows",
    [
        stream(CAPTURED),
        stream(PLACED, PLACED),
        stream(PLACED, first_version=2),
        [*stream(PLACED), *stream(CAPTURED, first_version=3)],
        stream(PLACED, ShipmentDispatched(NEW_ID, (LineQuantity(9, 1),), AT)),
    ],
)
def test_an_event_that_does_not_fit_the_earlier_events_is_unreadable(
    rows: list[StoredEvent],
) -> None:
    with pytest.raises(UnreadableEvent, match="cannot be applied to the order before it"):
        fold_stored(rows, 4)


def test_an_unreadable_order_has_an_owner_if_its_first_event_is_readable() -> None:
    rows = [row._replace(type="OrderFrobnicated") for row in stream(PLACED, CAPTURED)]

    with pytest.raises(UnreadableEvent) as first:
        fold_stored(rows, 4)
    with pytest.raises(UnreadableEvent) as second:
        fold_stored([*stream(PLACED), rows[1]], 4)

    assert (first.value.owner, second.value.owner) == (None, PLACED.user_id)


def test_a_fold_with_skipping_accepts_missing_events() -> None:
    rows = stream(*LIFE)

    folded = fold_stored([rows[0], *rows[2:]], 4, skipping=True)

    assert folded is not None
    assert (folded.version, folded.order.captured_minor) == (5, 0)
