"""The fault bench's checks can fail: each has a finding in evidence that is spoilt in one way, and
none in sound evidence."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from order_service.domain.events import OrderEvent
from order_service.log.codec import Metadata, StoredEvent, encode, encode_metadata
from tests.support.log.examples import CAPTURED, INK, NEW_ID, PAID, PLACED, USER
from tests.tools.faults.check import Evidence, digests, findings
from tests.tools.faults.journal import Attempt, Command, Outcome
from tests.tools.faults.tail import Tail
from tests.tools.faults.tap import Published

AT = datetime(2026, 3, 1, tzinfo=UTC)
OTHER = UUID(int=99)


def stored(position: int, version: int, event: OrderEvent, key: str) -> StoredEvent:
    return StoredEvent(
        1, position, NEW_ID, version, UUID(int=position), type(event).__name__, 1, encode(event),
        encode_metadata(Metadata("user", USER, key, "fingerprint")), AT,
    )  # fmt: skip


def attempt(key: str, kind: str, version: int, outcome: Outcome = "ok", **more: Any) -> Attempt:
    status = {"ok": 200, "fail": 409, "unknown": 0}[outcome]
    return Attempt(
        USER, kind, "POST", "/", NEW_ID, key=key, outcome=outcome, status=status, version=version,
        digest=f"{key} {version}", began_s=0.0, **more,
    )  # fmt: skip


LOG = (stored(1, 1, PLACED, "a"), stored(2, 2, CAPTURED, "b"), stored(3, 3, PAID, "b"))
COMMANDS = {
    "a": Command([attempt("a", "place", 1, "unknown"), attempt("a", "place", 1)]),
    "b": Command([attempt("b", "PAID", 3, expected=1)]),
    "c": Command([attempt("c", "note", 0, "fail")]),
    "d": Command([attempt("d", "PAID", 3)]),  # it was paid already
}


def sound() -> Evidence:
    """An order that was placed and paid; a note was refused; a repeat changed nothing."""
    tap = Published(None)  # type: ignore[arg-type]  # it is not opened
    tap.published.update(event.event_id for event in LOG)
    tail = Tail({}, None)  # type: ignore[arg-type]
    tail.seen = {1: [event.event_id for event in LOG[:2]]}
    return Evidence(
        commands=COMMANDS, events=LOG, partitions=4, strangers=set(), before=digests(LOG[:2]),
        tap=tap, tail=tail, ttls={"order:{1}": 299.0}, differences=(), writers=(),
        publishes_fail=False,
    )  # fmt: skip


def published_more(evidence: Evidence) -> Evidence:
    evidence.tap.published[OTHER] += 1
    return evidence


def published_less(evidence: Evidence) -> Evidence:
    del evidence.tap.published[LOG[1].event_id]
    return evidence


def disordered(evidence: Evidence) -> Evidence:
    evidence.tap.disorder.append("version 1 after 2")
    return evidence


def seen_otherwise(evidence: Evidence) -> Evidence:
    evidence.tail.seen[1][1] = OTHER
    return evidence


def with_log(*events: StoredEvent) -> Callable[[Evidence], Evidence]:
    return lambda evidence: replace(evidence, events=events)


def with_command(key: str, *attempts: Attempt) -> Callable[[Evidence], Evidence]:
    return lambda evidence: replace(
        evidence, commands={**evidence.commands, key: Command([*attempts])}
    )


def test_sound_evidence_has_no_findings() -> None:
    assert findings(sound()) == {}


@pytest.mark.parametrize(
    ("promise", "spoil"),
    [
        ("W1", with_log(LOG[0])),
        ("W1", with_command("e", attempt("e", "note", 4))),
        ("W1", with_command("b", attempt("b", "PAID", 2, expected=1))),
        ("W2, W4", with_log(*LOG, stored(4, 4, CAPTURED, "b"))),
        ("W2, W4", with_log(*LOG[:2])),
        ("W2, W4", with_log(LOG[0], LOG[1], stored(3, 4, PAID, "b"))),
        (
            "W2, W4",
            with_command(
                "a", attempt("a", "place", 1), replace(attempt("a", "place", 1), digest="other")
            ),
        ),
        ("W3", with_command("b", attempt("b", "PAID", 0, "fail"))),
        ("W3", with_log(*LOG, stored(4, 4, PAID, "nobody's"))),
        ("W5", with_log(LOG[0], LOG[1], stored(3, 4, PAID, "b"))),
        ("W5", with_log(LOG[0], LOG[1], stored(4, 3, PAID, "b"))),
        ("W6", with_command("b", attempt("b", "PAID", 3, expected=2))),
        ("W7", with_log(LOG[0]._replace(data=LOG[0].data.replace("PEN", "INK")), *LOG[1:])),
        ("W7", lambda evidence: replace(evidence, writers=("order_web",))),
        ("W8", with_log(LOG[0], stored(2, 2, INK, "b"), LOG[2])),  # type: ignore[arg-type]
        ("W9, M3, C1", seen_otherwise),
        ("R1, R5", published_less),
        ("R1, R5", published_more),
        ("R3", disordered),
        ("M1", lambda evidence: replace(evidence, differences=("order_view: 1 row differs",))),
        ("C2", lambda evidence: replace(evidence, ttls={"order:{1}": -0.001})),
        ("C2", lambda evidence: replace(evidence, ttls={"order:{1}": 301.0})),
    ],
)
def test_a_broken_promise_is_found(promise: str, spoil: Callable[[Evidence], Evidence]) -> None:
    assert promise in findings(spoil(sound()))


def test_messages_out_of_order_are_accepted_after_a_failed_publish() -> None:
    assert findings(replace(disordered(sound()), publishes_fail=True)) == {}


def test_messages_that_a_blind_tap_missed_stay_excused() -> None:
    evidence = published_less(sound())
    evidence.tap.blind = True
    assert findings(evidence) == {}

    evidence.tap.blind = False
    assert findings(evidence) == {}


def test_events_that_a_row_appended_itself_need_no_command() -> None:
    event = stored(4, 1, PLACED, "x")._replace(stream_id=OTHER)
    evidence = replace(sound(), events=(*LOG, event), strangers={OTHER})
    evidence.tap.published[event.event_id] += 1

    assert findings(evidence) == {}
