"""Orders as CSV: RFC 4180, and no formulas."""

import csv
import io
from typing import Any

import orjson
import pytest

from projections.queries.order_csv import LINE_COLUMNS, ORDER_COLUMNS, header_line, lines_of

ITEM = dict.fromkeys(LINE_COLUMNS, 0) | {"sku": "PEN", "name": None, "attributes": {"a": '"'}}
ORDER = dict.fromkeys(ORDER_COLUMNS, "x") | {"total_price": "-5.00", "other": "left out"}


def read(order: dict[str, Any]) -> list[dict[str, str]]:
    content = header_line() + lines_of(orjson.dumps(order))
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


def test_every_item_has_a_row_with_the_columns_of_its_order() -> None:
    lines = read(ORDER | {"items": [ITEM, ITEM | {"sku": "INK"}]})

    assert [line["sku"] for line in lines] == ["PEN", "INK"]
    assert [line["id"] for line in lines] == ["x", "x"]
    assert lines[0]["attributes"] == '{"a":"\\""}'
    assert lines[0]["name"] == ""
    assert list(lines[0]) == [*ORDER_COLUMNS, *LINE_COLUMNS]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_a_cell_never_begins_a_formula(start: str) -> None:
    text = f'{start}1,"2"\r\nü'
    item = ITEM | {"sku": text, "name": text}

    [line] = read(ORDER | {"external_reference": text, "items": [item]})

    assert line["sku"] == line["name"] == line["external_reference"] == f"'{text}"
    assert line["total_price"] == "-5.00"  # an amount is no text
