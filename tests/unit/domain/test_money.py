from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from iso4217 import raw_table, raw_xml

from order_service.domain import money
from order_service.errors import InvalidRequest


@pytest.mark.parametrize(
    ("amount", "currency", "minor", "text"),
    [
        ("9.99", "USD", 999, "9.99"),
        ("9.9", "USD", 990, "9.90"),
        ("0", "USD", 0, "0.00"),
        ("1200", "JPY", 1200, "1200"),
        ("1.234", "KWD", 1234, "1.234"),
        ("0.05", "RUB", 5, "0.05"),
        ("9.9900", "USD", 999, "9.99"),
        ("1000.0", "JPY", 1000, "1000"),
        ("1.2340", "KWD", 1234, "1.234"),
    ],
)
def test_amounts_are_minor_units_and_texts_with_the_currencys_digits(
    amount: str, currency: str, minor: int, text: str
) -> None:
    assert money.to_minor(Decimal(amount), currency) == minor
    assert money.to_text(minor, currency) == text


@pytest.mark.parametrize(
    ("amount", "currency"),
    [
        ("9.999", "USD"),
        ("NaN", "USD"),
        ("1.5", "JPY"),
        ("-1", "USD"),
        ("1e16", "USD"),
        ("9999999999999.99999999999999999999", "USD"),
        ("1.00000000000000000000000000000001", "JPY"),
    ],
)
def test_amounts_that_the_currency_cannot_hold_are_refused(amount: str, currency: str) -> None:
    with pytest.raises(InvalidRequest):
        money.to_minor(Decimal(amount), currency)


def test_the_list_is_iso_4217_without_funds_metals_and_units_of_account() -> None:
    funds = {e.findtext("Ccy") for e in raw_xml.iter("CcyNtry") if e.find("CcyNm").attrib}
    no_money = funds | {"UYW", "XAD"}  # the list marks these in their names only
    published = {
        code: int(entry["CcyMnrUnts"])
        for code, entry in raw_table.items()
        if code and entry["CcyMnrUnts"] != "N.A." and code not in no_money
    }

    current = {c: digits for c, digits in money.EXPONENTS.items() if c not in money.WITHDRAWN}

    assert funds == {"BOV", "CHE", "CHW", "CLF", "COU", "MXV", "USN", "UYI"}
    assert len(current) > 150
    assert current == published


def test_a_withdrawn_currency_keeps_its_digits() -> None:
    assert {code: money.EXPONENTS[code] for code in money.WITHDRAWN} == {"ANG": 2, "BGN": 2}
    assert money.WITHDRAWN.isdisjoint(raw_table)


def test_an_unknown_currency_is_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        money.to_minor(Decimal(1), "XXX")
    assert caught.value.code == "unknown-currency"


@pytest.mark.parametrize(
    ("minor", "weights", "parts"),
    [
        (100, [1], [100]),
        (100, [1, 1, 1], [34, 33, 33]),
        (100, [1, 1, 2], [25, 25, 50]),
        (100, [3000, 500], [86, 14]),
        (10, [1, 2, 4], [1, 3, 6]),
        (2, [1, 1, 1], [1, 1, 0]),
        (2, [1, 1, 8], [0, 0, 2]),
        (1, [0, 5], [0, 1]),
        (0, [1, 2], [0, 0]),
        (0, [0, 0], [0, 0]),
        (0, [], []),
        (10**15, [10**15, 10**15, 1], [5 * 10**14, 5 * 10**14, 0]),
    ],
)
def test_an_amount_is_allocated_by_largest_remainder(
    minor: int, weights: list[int], parts: list[int]
) -> None:
    assert money.allocate(minor, weights) == parts


def test_an_amount_cannot_be_allocated_to_weights_of_zero() -> None:
    with pytest.raises(AssertionError):
        money.allocate(1, [0, 0])


@pytest.mark.parametrize(
    ("minor", "units", "of_units", "worth"),
    [(2900, 1, 3, 967), (2900, 2, 3, 1933), (2900, 3, 3, 2900), (5, 1, 2, 3), (0, 1, 2, 0)],
)
def test_a_part_is_rounded_half_up(minor: int, units: int, of_units: int, worth: int) -> None:
    assert money.part(minor, units, of_units) == worth


@given(st.integers(0, 10**15), st.lists(st.integers(1, 9), min_size=1, max_size=9))
def test_parts_sum_to_the_whole_in_whatever_portions_they_are_taken(
    minor: int, portions: list[int]
) -> None:
    whole, taken, parts = sum(portions), 0, []
    for portion in portions:
        parts.append(money.part(minor, taken + portion, whole) - money.part(minor, taken, whole))
        taken += portion

    assert sum(parts) == minor
    assert min(parts) >= 0
