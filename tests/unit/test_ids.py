"""Ids that are ordered by time, ids derived from a key, order numbers with a check digit."""

import re
import time
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from order_service.ids import order_id_of_key, order_number, parse_order_number, uuid7
from tests.support.log.examples import USER

VARIANT_OF_RFC_9562 = UUID(int=0x80 << 56).variant


def test_new_ids_are_in_the_order_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = []
    for millis in (1, 2, 2**40, 2**48 - 1):
        monkeypatch.setattr(time, "time_ns", lambda millis=millis: millis * 1_000_000 + 999_999)
        ids.append(uuid7())

    assert ids == sorted(ids)
    assert [found.int >> 80 for found in ids] == [1, 2, 2**40, 2**48 - 1]


def test_new_ids_are_version_7_and_never_the_same() -> None:
    ids = {uuid7() for _ in range(1_000)}

    assert len(ids) == 1_000
    assert {(found.version, found.variant) for found in ids} == {(7, VARIANT_OF_RFC_9562)}


def test_the_id_of_a_key_never_changes() -> None:
    found = order_id_of_key(USER, "cart-1")

    assert str(found) == "0b876bd4-6c9b-8318-87a8-47740a10f582"
    assert (found.version, found.variant) == (8, VARIANT_OF_RFC_9562)


def test_another_principal_or_key_makes_another_id() -> None:
    other = UUID("00000000-0000-7000-8000-00000000000b")

    ids = {
        order_id_of_key(principal, key)
        for principal in (USER, other)
        for key in ("k", "K", "k ", "")
    }

    assert len(ids) == 8


def test_ids_spread_over_all_partitions() -> None:
    assert {order_id_of_key(USER, str(n)).int % 64 for n in range(2_000)} == set(range(64))
    assert {uuid7().int % 64 for _ in range(2_000)} == set(range(64))


def test_numbers_are_unique_over_partitions() -> None:
    numbers = {order_number(position, p, 4) for position in range(1, 500) for p in range(4)}

    assert len(numbers) == 4 * 499
    assert all(re.fullmatch(r"A-[1-9][0-9]*-[0-9]", number) for number in numbers)
    assert order_number(25_010, 2, 4) == "A-100042-1"


def test_the_check_digit_catches_every_wrong_digit() -> None:
    right = order_number(25_010, 2, 4)

    for place, digit in enumerate(right):
        for wrong in set("0123456789") - {digit} if digit.isdigit() else ():
            _, body, check = f"{right[:place]}{wrong}{right[place + 1 :]}".split("-")
            assert order_number(int(body), 0, 1)[-1] != check


@given(st.integers(1, 2**50), st.integers(0, 3))
def test_a_number_parses_to_the_position_of_the_first_event(position: int, partition: int) -> None:
    number = order_number(position, partition, 4)

    assert parse_order_number(number, 4) == (partition, position)
    assert parse_order_number(number.lower(), 4) == (partition, position)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A-100042",
        "A-100042-7",  # the check digit is 1
        "B-100042-1",
        "A-0100042-1",
        "A-100042-1 ",
        "A-\u0661\u0660-1",
        "A-2-6",  # position 0 of partition 2
        f"A-{10**19}-5",
    ],
)
def test_a_text_that_is_no_order_number_parses_to_none(text: str) -> None:
    assert parse_order_number(text, 4) is None


def test_a_number_beyond_the_largest_position_parses_to_none() -> None:
    assert parse_order_number(order_number(2**63 - 1, 0, 1), 1) == (0, 2**63 - 1)
    assert parse_order_number(order_number(2**63, 0, 1), 1) is None
