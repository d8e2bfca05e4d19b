"""Orders as CSV (RFC 4180): a header line, then one line per item.

Each line repeats the order's columns. Amounts are texts with the currency's digits; `attributes` is
a JSON object. A text that a spreadsheet would run as a formula (it begins with `=`, `+`, `-`, `@`,
a tab or a carriage return) gets an apostrophe before it, the spreadsheets' own mark for text;
programs that read the file remove it.
"""

import csv
import io
from typing import Any

import orjson

ORDER_COLUMNS = (
    "id",
    "number",
    "user_id",
    "external_reference",
    "status",
    "payment_status",
    "fulfillment_status",
    "currency",
    "total_price",
    "amount_due",
    "credit_due",
    "version",
    "created_at",
    "updated_at",
)
LINE_COLUMNS = (
    "line_id",
    "sku",
    "name",
    "quantity",
    "unit_price",
    "canceled",
    "shipped",
    "delivered",
    "returned",
    "attributes",
)
_FREE_TEXTS = {"external_reference", "sku", "name"}  # any text that a client sends
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def header_line() -> bytes:
    return _lines([[*ORDER_COLUMNS, *LINE_COLUMNS]])


def lines_of(document: bytes) -> bytes:
    """An order's lines, made from the document that GET serves, so that the two never differ."""
    order = orjson.loads(document)
    own = [_cell(name, order[name]) for name in ORDER_COLUMNS]
    return _lines([own + [_cell(n, item[n]) for n in LINE_COLUMNS] for item in order["items"]])


def _cell(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        return orjson.dumps(value).decode()
    if name in _FREE_TEXTS and value is not None and value.startswith(_FORMULA_STARTS):
        return f"'{value}"
    return value


def _lines(rows: list[list[Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()
