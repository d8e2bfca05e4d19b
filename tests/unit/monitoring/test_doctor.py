"""The doctor's checks of versions and clocks."""

import pytest

from projections.monitoring.checks.check import version_of
from projections.monitoring.checks.servers import Clock, agreement


@pytest.mark.parametrize(
    ("text", "version"),
    [("7.2.4", (7, 2, 4)), ("3.10.8", (3, 10, 8)), ("17.2-alpine", (17, 2)), ("?", ())],
)
def test_a_version_is_the_numbers_that_it_begins_with(text: str, version: tuple[int, ...]) -> None:
    assert version_of(text) == version


@pytest.mark.parametrize(
    ("theirs", "state", "found"),
    [
        (101.5, "ok", "0.000 s from this machine's"),  # between our two readings
        (103.5, "wrong", "1.500 s from this machine's"),
        (98.0, "wrong", "2.000 s from this machine's"),
    ],
)
def test_the_time_that_the_request_took_does_not_count_as_a_clock_difference(
    theirs: float, state: str, found: str
) -> None:
    seen = agreement(Clock("Redis", ours_before=100.0, theirs=theirs, ours_after=102.0))

    assert (seen.state, seen.found) == (state, found)
