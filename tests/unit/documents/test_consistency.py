"""Consistency tokens: what a write answered comes back, and nothing else is taken for it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from order_service.documents.consistency_token import Token, parse, token_of, tokens_of
from order_service.errors import InvalidRequest
from order_service.log.fold import fold_stored
from tests.support.log.examples import CAPTURED, NEW_ID, PAID, PLACED
from tests.unit.log.test_fold import stream

FOLDED = fold_stored(stream(PLACED, CAPTURED, PAID), 4)
assert FOLDED is not None
TOKEN = token_of(FOLDED)


def test_a_token_names_the_write_s_last_event() -> None:
    assert parse(TOKEN, 4) == (Token(NEW_ID, version=3, partition=1, position=9),)


def test_several_tokens_are_a_list() -> None:
    assert parse(f"{TOKEN}, {TOKEN} ,{TOKEN}", 4) == parse(TOKEN, 4) * 3
    assert len(parse(",".join([TOKEN] * 64), 4)) == 64


def test_of_many_writes_the_last_in_each_partition_is_enough() -> None:
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
def test_what_no_write_answered_is_refused(header: str) -> None:
    with pytest.raises(InvalidRequest, match="takes 1 to 64 tokens") as refused:
        parse(header, 4)

    assert refused.value.code == "malformed-request"


@given(st.text(max_size=80))
def test_whatever_else_is_sent_is_refused(header: str) -> None:
    with pytest.raises(InvalidRequest):
        parse(header, 4)
