"""Cursors: what was sealed comes back, and nothing else does."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from order_service.errors import InvalidRequest
from projections.queries.cursors import Cursors, Place
from tests.support.log.examples import NEW_ID

PLACE = Place(5, NEW_ID)
CURSORS = Cursors("a secret key of more than thirty-two characters")


@pytest.mark.parametrize(
    "place", [Place(1_772_366_400_123_456, NEW_ID), Place(-1, NEW_ID, backwards=True)]
)
def test_a_cursor_comes_back_as_it_was(place: Place) -> None:
    assert CURSORS.decode(CURSORS.encode(place, "ann"), "ann") == place


@pytest.mark.parametrize(
    ("cursors", "filters"), [(CURSORS, "bob"), (Cursors("another secret key"), "ann")]
)
def test_a_cursor_of_other_filters_or_another_secret_is_refused(
    cursors: Cursors, filters: str
) -> None:
    cursor = CURSORS.encode(PLACE, "ann")

    with pytest.raises(InvalidRequest, match="This cursor is not of this list"):
        cursors.decode(cursor, filters)


def test_another_text_of_the_same_bytes_is_refused() -> None:
    """Base64 leaves bits over at the end: four last characters mean the same."""
    cursor = CURSORS.encode(PLACE, "ann")
    others = {cursor[:-1] + end for end in string.ascii_letters + string.digits + "-_"} - {cursor}

    for other in others:
        with pytest.raises(InvalidRequest):
            CURSORS.decode(other, "ann")


@given(st.text(max_size=100))
def test_whatever_else_is_sent_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidRequest):
        CURSORS.decode(cursor, "ann")
