"""Orders as CSV: RFC 4180, and no formulas."""

import csv
import io
from typing import Any

import orjson
import pytest

from projections.queries.order_csv import (
    LABEL_COLUMNS,
    LINE_COLUMNS,
    MONEY_COLUMNS,
    ORDER_COLUMNS,
    RFC_4180,
    Dialect,
    header_line,
    lines_of,
)

ITEM = dict.fromkeys(LINE_COLUMNS, 0) | {"sku": "PEN", "name": None, "attributes": {"a": '"'}}
ORDER = dict.fromkeys(ORDER_COLUMNS, "x") | {"total_price": "-5.00", "other": "left out"}
SEMICOLONS = Dialect(";", ",", byte_order_mark=True)
SIGNS = "=+-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b\u2212\u207a\u207b\u207c"
BLANKS = (
    " \t\r\n\x00\x0b\x1f\x7f\x85\xa0\xad\u034f"
    "\u1680\u2003\u200b\u200e\u2028\u2060\u2800\u3000\u3164\ufe0f\ufeff\U000e0020"
)


def read(order: dict[str, Any], dialect: Dialect = RFC_4180) -> list[dict[str, str]]:
    content = (header_line(dialect) + lines_of(orjson.dumps(order), dialect)).decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(content, newline=""), delimiter=dialect.separator))


def test_every_item_has_a_row_with_the_columns_of_its_order() -> None:
    lines = read(ORDER | {"items": [ITEM, ITEM | {"sku": "INK"}]})

    assert [line["sku"] for line in lines] == ["PEN", "INK"]
    assert [line["id"] for line in lines] == ["x", "x"]
    assert lines[0]["attributes"] == '{"a":"\\""}'
    assert lines[0]["name"] == ""
    assert list(lines[0]) == [*ORDER_COLUMNS, *LINE_COLUMNS, *MONEY_COLUMNS, *LABEL_COLUMNS]


def test_the_columns_of_the_first_version_stay_in_their_places() -> None:
    columns = header_line().decode().split(",")

    assert (columns[0], columns[13], columns[14], columns[23]) == (
        "id",
        "updated_at",
        "line_id",
        "attributes",
    )


def test_money_of_lines_and_orders_has_columns() -> None:
    item = ITEM | {"discount": "1.00", "share": "0.50", "tax_rate": "19", "value": "8.50"}
    labels = {"tags": ["1.5", "=1"], "metadata": {"a": "b"}, "returned": "1.00"}
    order = ORDER | labels | {"discount": "2.00", "captured": "8.50", "tax_included": True}

    [line] = read(order | {"items": [item]})

    assert (line["discount"], line["share"], line["value"]) == ("1.00", "0.50", "8.50")
    assert (line["order_discount"], line["captured"]) == ("2.00", "8.50")
    assert (line["tax_rate"], line["tax_included"]) == ("19", "true")
    assert (line["tags"], line["metadata"]) == ("1.5, =1", '{"a":"b"}')
    assert line["returned_value"] == "1.00"
    assert line["reversed"] == ""  # of a document of an earlier version


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_a_cell_never_begins_a_formula(start: str) -> None:
    text = f'{start}1,"2"\r\nü'
    item = ITEM | {"sku": text, "name": text}

    [line] = read(ORDER | {"external_reference": text, "items": [item]})

    assert line["sku"] == line["name"] == line["external_reference"] == f"'{text}"
    assert line["total_price"] == "-5.00"  # an amount is no text


@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize("blank", ["", *BLANKS, '"', "\xa0 \u200b"])
@pytest.mark.parametrize("column", ["sku", "name", "unit", "tax_name", "tax_rate"])
def test_no_blank_hides_the_sign_of_a_formula(column: str, blank: str, sign: str) -> None:
    text = f"{blank}{sign}1+1"

    [line] = read(ORDER | {"items": [ITEM | {column: text}]})

    assert line[column].replace("'", "") == text
    assert line[column].startswith("'") or blank in ("\n",)
    assert f"'{sign}" in line[column] or blank not in ("\t", "\r", "\n")


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("dialect", [Dialect(), SEMICOLONS, Dialect("\t")])
@pytest.mark.parametrize("text", ["x{};=1+1", "x{}=1+1{}y", 'x{} "\uff1d1', "a{}b{}@c", "\n=1{}x"])
def test_no_cell_is_a_formula_whatever_separator_a_spreadsheet_splits_at(
    dialect: Dialect, separator: str, text: str
) -> None:
    """As a spreadsheet with another separator reads the file: quotes inside a cell do nothing."""
    written = text.replace("{}", separator)
    item = ITEM | {"name": written, "attributes": {written: written, "=a": "+b"}}
    content = lines_of(orjson.dumps(ORDER | {"items": [item]}), dialect).decode()

    for other in {",", ";", "\t", "|"} - {dialect.separator}:
        cells = [cell for row in content.splitlines() for cell in row.split(other)]
        assert not [cell for cell in cells if cell.strip('" \xa0')[:1] in tuple(SIGNS)]

    [line] = read(ORDER | {"items": [item]}, dialect)
    assert orjson.loads(line["attributes"]) == item["attributes"]
    assert line["name"].replace("'", "") == written


def test_a_text_without_a_formula_stays_as_it_is() -> None:
    texts = ["x;y", "a-b", "1;2=3", "e\u0301=", "it's", "-"[:0], "A; B (50 %)"]

    lines = read(ORDER | {"items": [ITEM | {"name": text} for text in texts]})

    assert [line["name"] for line in lines] == texts


def test_excel_gets_a_mark_a_separator_and_a_decimal_sign() -> None:
    item = ITEM | {"name": "café; x", "unit_price": "0.0045", "value": "4.50"}

    content = header_line(SEMICOLONS) + lines_of(
        orjson.dumps(ORDER | {"items": [item]}), SEMICOLONS
    )

    assert content.startswith(b"\xef\xbb\xbfid;number;")
    [line] = read(ORDER | {"items": [item]}, SEMICOLONS)
    assert (line["name"], line["unit_price"], line["value"]) == ("café; x", "0,0045", "4,50")
    assert line["total_price"] == "-5,00"
    assert not header_line().startswith(b"\xef\xbb\xbf")
