"""Events become rows: given(streams) -> rows of every projection, with no database."""

from uuid import UUID

import pytest

from order_service.domain.events import OrderEvent
from order_service.log.codec import StoredEvent, encode
from projections.loop.rows import Projected, Stream, project
from projections.read_models.projection import Target
from projections.read_models.registry import PROJECTIONS
from tests.support.log.examples import AT, CAPTURED, PAID, PLACED, USER
from tests.support.log.given_log import POISON, RawEvent

FIRST, SECOND = UUID(int=4), UUID(int=8)
CUSTOMER = (USER, "USD")
TARGETS = [Target(projection, 1, 0, 4) for projection in PROJECTIONS.values()]


def stored(
    stream_id: UUID, *events: OrderEvent | RawEvent, version: int = 1, position: int = 1
) -> list[StoredEvent]:
    raw = [e if isinstance(e, RawEvent) else RawEvent(type(e).__name__, encode(e)) for e in events]
    return [
        StoredEvent(0, position + n, stream_id, version + n, UUID(int=n), e.type, 1, e.data, "", AT)
        for n, e in enumerate(raw)
    ]


def statuses(projected: dict[str, Projected]) -> dict[UUID, str]:
    """Of `order_view`'s rows."""
    return {key[0]: values[3] for key, values in projected["order_view"].rows.items()}


def test_new_streams_become_rows_of_every_read_model() -> None:
    streams = [
        Stream((), stored(FIRST, PLACED, CAPTURED, PAID)),
        Stream((), stored(SECOND, PLACED)),
    ]

    projected = project(TARGETS, streams)

    assert statuses(projected) == {FIRST: "PAID", SECOND: "PENDING"}
    assert projected["customer_summary"].rows[CUSTOMER][:2] == (2, 2498)
    assert [found.failing for found in projected.values()] == [[], [], [], []]


def test_events_that_the_rows_contain_already_count_once() -> None:
    events = stored(FIRST, PLACED, CAPTURED, PAID)

    projected = project(TARGETS, [Stream(events[:1], events[1:])])

    assert statuses(projected) == {FIRST: "PAID"}
    assert projected["customer_summary"].rows[CUSTOMER][:2] == (0, 2498)
    assert {k[2]: v[0] for k, v in projected["sales_by_day"].rows.items()} == {
        "PAID": 1,
        "PENDING": -1,
    }


def test_more_streams_than_are_folded_at_once_all_become_rows() -> None:
    ids = [UUID(int=4 * n) for n in range(1, 252)]

    projected = project(TARGETS, (Stream((), stored(one, PLACED)) for one in ids))

    assert list(statuses(projected)) == ids
    assert projected["customer_summary"].rows[CUSTOMER][0] == 251


def test_a_stream_that_cannot_be_read_fails_alone() -> None:
    poisoned = Stream((), stored(FIRST, PLACED, POISON))

    projected = project(TARGETS, [poisoned, Stream((), stored(SECOND, PLACED))])

    assert statuses(projected) == {SECOND: "PENDING"}
    assert [found.failing for found in projected.values()] == [[poisoned]] * 4


def test_a_stream_with_a_gap_fails() -> None:
    torn = Stream((), stored(FIRST, PLACED) + stored(FIRST, PAID, version=3, position=3))

    assert project(TARGETS, [torn])["order_view"] == Projected({}, [torn])


def test_a_skipped_event_is_left_out_of_its_projection_only() -> None:
    poisoned = Stream((), stored(FIRST, PLACED, POISON))

    projected = project(TARGETS, [poisoned], {("order_view", FIRST): {2}})

    assert statuses(projected) == {FIRST: "PENDING"}
    assert projected["order_view"].failing == []
    assert projected["customer_summary"] == Projected({}, [poisoned])


def test_a_stream_of_which_every_new_event_is_skipped_makes_nothing() -> None:
    events = stored(FIRST, PLACED, POISON)

    projected = project(TARGETS, [Stream(events[:1], events[1:])], {("order_view", FIRST): {2}})

    assert projected["order_view"] == Projected({}, [])


@pytest.mark.parametrize("skipped", [set[int](), {2}], ids=["nothing skipped", "one skipped"])
def test_singly_every_stream_is_left_to_be_applied_event_by_event(skipped: set[int]) -> None:
    placed, captured, paid = stored(FIRST, PLACED, CAPTURED, PAID)
    skips = {("order_view", FIRST): skipped}

    found = project(TARGETS, [Stream((), [placed, captured, paid])], skips, singly=True)

    kept = [placed, paid] if skipped else [placed, captured, paid]
    [failing] = found["order_view"].failing
    assert found["order_view"].rows == {}
    assert list(failing.new) == kept
