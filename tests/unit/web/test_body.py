"""JSON bodies: values are read without loss, and invalid bodies are refused."""

from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel

from order_service.limits import VALIDATION_ERRORS_MAX
from order_service.web.json_body import Text, json_body, parse_json
from order_service.web.problems.problem import Problem


class Line(BaseModel, extra="forbid"):
    name: Text
    quantity: int


class Basket(BaseModel, extra="forbid"):
    items: list[Line]


def refused(parsed: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        json_body(Basket).validate(parsed)
    return caught.value


def test_decimals_keep_every_digit() -> None:
    assert parse_json(b'{"price": 19.990000000000000001}') == {
        "price": Decimal("19.990000000000000001")
    }


def test_a_byte_order_mark_is_skipped() -> None:
    """.NET's Encoding.UTF8 and PowerShell write one."""
    assert parse_json(b"\xef\xbb\xbf" + b'{"a": "\xef\xbb\xbf"}') == {"a": "\ufeff"}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"{} {}",
        b"NaN",
        b'{"a": Infinity}',
        b"\xef\xbb\xbf\xef\xbb\xbf{}",
        b"{}\xef\xbb\xbf",
        b'"\xff"',
        '{"a": 1}'.encode("utf-16"),
        b'"\\ud800"',
        b"01",
        b"[" * 100_000,
        b"9" * 5_000,
    ],
)
def test_invalid_json_is_a_malformed_request(data: bytes) -> None:
    with pytest.raises(Problem) as caught:
        parse_json(data)

    assert (caught.value.status, caught.value.slug) == (400, "malformed-request")


def test_the_refusal_of_a_malformed_body_does_not_quote_it() -> None:
    with pytest.raises(Problem) as caught:
        parse_json(b'{"password": "hunter2" oops}')

    assert caught.value.detail == "The body is not valid JSON (line 1 column 24)."


def test_a_key_given_twice_is_a_validation_error() -> None:
    with pytest.raises(Problem) as caught:
        parse_json(b'{"a": 1, "\\u0061": 2}')

    assert (caught.value.status, caught.value.slug) == (422, "validation")


def test_errors_point_at_the_field() -> None:
    problem = refused({"items": [{"name": "pen", "quantity": "many"}]})

    assert problem.members["errors"] == [
        {
            "detail": "Input should be a valid integer, unable to parse string as an integer",
            "pointer": "#/items/0/quantity",
            "code": "int_parsing",
        }
    ]


def test_pointers_escape_special_characters_of_names() -> None:
    problem = refused({"items": [], "a/b~c d": 1})

    assert problem.members["errors"][0]["pointer"] == "#/a~1b~0c%20d"


def test_the_list_of_errors_is_capped() -> None:
    problem = refused({"items": [{}] * 1_000})

    assert len(problem.members["errors"]) == VALIDATION_ERRORS_MAX


@pytest.mark.parametrize("name", ["nul\x00", "esc\x1b[2J", "\ud800", "del\x7f"])
def test_control_characters_in_a_text_are_refused(name: str) -> None:
    problem = refused({"items": [{"name": name, "quantity": 1}]})

    assert problem.status == 422


def test_a_text_keeps_all_other_characters() -> None:
    name = "Größe\tXL\n🖊️"

    basket = json_body(Basket).validate({"items": [{"name": name, "quantity": 1}]})

    assert basket.items[0].name == name
