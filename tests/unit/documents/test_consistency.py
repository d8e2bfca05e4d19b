"""Consistency tokens: the token of a write is parsed, and every other text is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from order_service.documents.consistency_token import Token, parse, token_of, tokens_of
from order_service.errors import InvalidRequest
from order_service.log.fold import fold_stored
from tests.support.log.examples import CAPTURED, NEW_ID, PAID, PLACED
from tests.support.values import replace
from tests.unit.log.test_fold import stream

FOLDED = fold_stored(stream(PLACED, CAPTURED, PAID), 4)
assert FOLDED is not None
TOKEN = token_of(FOLDED)


def test_a_token_contains_the_last_event_of_its_write() -> None:
    assert parse(TOKEN, 4) == (Token(NEW_ID, version=3, partition=1, position=9),)


def test_a_header_may_contain_a_list_of_tokens() -> None:
    assert parse(f"{TOKEN}, {TOKEN} ,{TOKEN}", 4) == parse(TOKEN, 4) * 3
    assert len(parse(",".join([TOKEN] * 64), 4)) == 64


def test_many_writes_need_only_one_token_for_each_partition() -> None:
    assert FOLDED is not None
    later, elsewhere = replace(FOLDED, position=10), replace(FOLDED, partition=2)

    assert tokens_of([FOLDED, later, elsewhere, FOLDED]) == f"{token_of(later)}, {TOKEN}"


@pytest.mark.parametrize(
    "header",
    [
        "",
        "3",
        f"{TOKEN},",
        TOKEN[:-1],
        f"{TOKEN}=",
        f"{TOKEN[:-1]}+",
        "A" * 36,  # version 0
        "_" * 36,  # no version that an order can have
        f"{TOKEN[:-10]}{'A' * 10}",  # a position before the version
        ",".join([TOKEN] * 65),
    ],
)
def test_a_text_that_is_no_token_is_refused(header: str) -> None:
    with pytest.raises(InvalidRequest, match="takes 1 to 64 tokens") as refused:
        parse(header, 4)

    assert refused.value.code == "malformed-request"


@given(st.text(max_size=80))
def test_any_other_text_is_refused(header: str) -> None:
    with pytest.raises(InvalidRequest):
        parse(header, 4)
