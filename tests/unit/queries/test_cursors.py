"""Cursors: a list decodes the cursors that it has encoded, and no others."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from order_service.errors import InvalidRequest
from projections.queries.cursors import Cursor, Cursors
from tests.support.log.examples import NEW_ID

CURSOR = Cursor(5, NEW_ID)
SECRET = "a secret key of more than thirty-two characters"
CURSORS = Cursors(SECRET, "ann")


@pytest.mark.parametrize(
    "cursor", [Cursor(1_772_366_400_123_456, NEW_ID), Cursor(-1, NEW_ID, backwards=True)]
)
def test_a_cursor_decodes_to_its_values(cursor: Cursor) -> None:
    assert CURSORS.decode(CURSORS.encode(cursor)) == cursor


@pytest.mark.parametrize("cursors", [Cursors(SECRET, "bob"), Cursors("another secret key", "ann")])
def test_a_cursor_of_other_filters_or_another_secret_is_refused(cursors: Cursors) -> None:
    text = CURSORS.encode(CURSOR)

    with pytest.raises(InvalidRequest, match="The cursor comes from another list"):
        cursors.decode(text)


def test_another_base64_text_of_the_same_bytes_is_refused() -> None:
    """Base64 has unused bits at the end: four different last characters decode alike."""
    text = CURSORS.encode(CURSOR)
    others = {text[:-1] + end for end in string.ascii_letters + string.digits + "-_"} - {text}

    for other in others:
        with pytest.raises(InvalidRequest):
            CURSORS.decode(other)


@given(st.text(max_size=100))
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        CURSORS.decode(text)
