"""Orders as CSV (RFC 4180): a header line, then one line per item.

Each line repeats the order's columns. Amounts are texts with the currency's digits; `attributes`
and `metadata` are JSON objects. A text that a spreadsheet would run as a formula gets an apostrophe
before it, the spreadsheets' own mark for text; programs that read the file remove it. In JSON the
sign that begins the formula is written as an escape, so that the value stays the same.

A spreadsheet may split lines at another separator than the file's, and then reads no quotes. So a
part of a text after such a separator or after a line's end counts as the beginning of a cell.
Source: https://owasp.org/www-community/attacks/CSV_Injection
"""

import csv
import io
import re
import unicodedata
from collections.abc import Iterator
from typing import Any

import orjson

from order_service.domain.immutable import immutable

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
    "unit",
    "discount",
    "share",
    "tax",
    "tax_rate",
    "tax_name",
    "value",
)
# Of the order, after those of the line: earlier versions had fewer columns, and each stays in its
# place.
MONEY_COLUMNS = (
    "shipping_fee",
    "shipping_tax",
    "tax_included",
    "order_discount",
    "prices_trusted",
    "authorized",
    "captured",
    "refunded",
    "refund_pending",
    "reversed",
    "returned_value",
)
LABEL_COLUMNS = ("tags", "metadata")
# Members of the document, where the column has another name.
_MEMBERS = {"order_discount": "discount", "returned_value": "returned"}
_NUMBERS = {  # texts that are numbers; any other text may be a client's
    *("total_price", "amount_due", "credit_due", "unit_price"),
    *("discount", "share", "tax", "tax_rate", "value"),
    *MONEY_COLUMNS,
}
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_SEPARATORS = frozenset(",;\t|")
_LINE_ENDS = frozenset("\r\n")
# Spreadsheets take the wide, small and raised forms of these signs for the signs themselves.
_FORMULA_SIGNS = frozenset(
    "=+-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b\u2212\u207a\u207b\u207c"
)
_BLANKS = frozenset('"\u034f\u115f\u1160\u2800\u3164\uffa0')  # blank, or dropped by a reader


@immutable
class Dialect:
    """How a file is written; the default is RFC 4180. `byte_order_mark`: without one, Excel reads
    UTF-8 as the machine's own encoding."""

    separator: str = ","
    decimal: str = "."
    byte_order_mark: bool = False


RFC_4180 = Dialect()


def header_line(dialect: Dialect = RFC_4180) -> bytes:
    mark = b"\xef\xbb\xbf" if dialect.byte_order_mark else b""
    return mark + _lines([[*ORDER_COLUMNS, *LINE_COLUMNS, *MONEY_COLUMNS, *LABEL_COLUMNS]], dialect)


def lines_of(document: bytes, dialect: Dialect = RFC_4180) -> bytes:
    """An order's lines, made from the document that GET serves, so that the two never differ. A
    cell is empty if the document, written by an earlier version, has no such member."""
    order = orjson.loads(document)
    own = _cells(ORDER_COLUMNS, order, dialect)
    others = _cells((*MONEY_COLUMNS, *LABEL_COLUMNS), order, dialect)
    rows = [[*own, *_cells(LINE_COLUMNS, item, dialect), *others] for item in order["items"]]
    return _lines(rows, dialect)


def _cells(columns: tuple[str, ...], members: dict[str, Any], dialect: Dialect) -> list[Any]:
    return [_cell(name, members.get(_MEMBERS.get(name, name)), dialect) for name in columns]


def _cell(name: str, value: Any, dialect: Dialect) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        value = ", ".join(value)
    if isinstance(value, dict):
        return _inert_json(orjson.dumps(value).decode(), dialect.separator)
    if not isinstance(value, str):
        return value
    if name in _NUMBERS and _NUMBER.fullmatch(value):
        return value if dialect.decimal == "." else value.replace(".", dialect.decimal)
    return _inert(value, dialect.separator)


def _inert(text: str, separator: str) -> str:
    """The text with an apostrophe before each part that a spreadsheet would run."""
    marked = {begins for begins, _ in _formulas(text, separator)}
    if text[:1] in ("\t", "\r"):  # dropped by some spreadsheets
        marked.add(0)
    if not marked:
        return text
    return "".join(f"'{char}" if i in marked else char for i, char in enumerate(text))


def _inert_json(text: str, separator: str) -> str:
    """The same JSON value: its formula signs all stand inside of strings."""
    signs = {at for _, at in _formulas(text, separator)}
    if not signs:
        return text
    return "".join(f"\\u{ord(char):04x}" if i in signs else char for i, char in enumerate(text))


def _formulas(text: str, separator: str) -> Iterator[tuple[int, int]]:
    """Where each part begins that a spreadsheet would run, and where its formula sign is."""
    if _FORMULA_SIGNS.isdisjoint(text):
        return
    ends = (_SEPARATORS - {separator}) | _LINE_ENDS
    begins: int | None = 0  # None: a character that is no blank stands before
    for at, char in enumerate(text):
        if char in ends:
            begins = at + 1
        elif begins is None:
            continue
        elif char in _FORMULA_SIGNS:
            yield begins, at
            begins = None
        elif not _is_blank(char):
            begins = None


def _is_blank(char: str) -> bool:
    """Spaces, control and format characters, variation selectors."""
    return char in _BLANKS or unicodedata.category(char) in ("Zs", "Zl", "Zp", "Cc", "Cf", "Mn")


def _lines(rows: list[list[Any]], dialect: Dialect) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=dialect.separator, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()
