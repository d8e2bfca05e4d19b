"""Pages of orders, by keyset: the queries of lists and of the export.

A page begins where the page before it ended. So its cost does not grow with its number, and orders
that are added or removed meanwhile do not shift it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Row, String, TextClause, TextualSelect, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from order_service import limits
from order_service.accounts import users
from order_service.accounts.contacts import digests
from order_service.documents.order_list import OrderSummary
from order_service.documents.shape import json_time
from order_service.domain.money import to_text
from order_service.infra.postgres import query
from order_service.log.reading import partition_of
from order_service.settings import Settings
from projections.queries.cursors import Cursor
from projections.queries.filters import Conditions, Contacts, Filters, Sort, conditions
from projections.read_models.document_compression import Packed
from projections.read_models.generations import live_rows

KEY = "order_id, created_at"
DOCUMENT = "order_id, created_at, updated_at, total_minor, document"
SUMMARY = (
    "order_id, number, user_id, external_reference, status, payment_status, fulfillment_status, "
    "currency, total_minor, amount_due_minor, credit_due_minor, lines, units, version, created_at, "
    "updated_at"
)
_FROM = f"FROM {live_rows('order_view')}"
_COLUMNS = {"created_at": "created_at", "updated_at": "updated_at", "total_price": "total_minor"}
# One that has had several contacts is found by each of them.
_BY_CONTACT = text(
    "SELECT DISTINCT order_id, (SELECT count(*) FROM partitions) AS partitions FROM "
    "(SELECT order_id FROM order_texts WHERE kind = 'contact_digest' AND body = ANY (:digests) "
    "ORDER BY recorded_at DESC LIMIT :limit) found"
).bindparams(bindparam("digests", type_=ARRAY(String)))
_PHONE = re.compile(r"\+?[0-9][0-9 ()/.-]{4,}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Page:
    """`before` and `after`: cursors to the pages around it; None: there is none."""

    rows: Sequence[Row[Any]]
    before: Cursor | None
    after: Cursor | None


async def read_page(
    connection: AsyncConnection,
    columns: str,
    conditions: Conditions,
    sort: Sort,
    limit: int,
    cursor: Cursor | None = None,
) -> Page:
    """`limit` rows from the cursor on, in the order of `sort`; the list's first page without a
    cursor, or where no order is left before it."""
    column = _COLUMNS[sort.removeprefix("-")]
    backwards = cursor is not None and cursor.backwards
    descending = sort.startswith("-") != backwards
    parameters = conditions.parameters | {"limit": limit + 1}
    if cursor is not None:
        parameters |= {"value": _sort_value(column, cursor), "order_id": cursor.order_id}
    statement = _statement(columns, conditions.sql, column, descending, cursor is not None)
    found = list((await connection.execute(statement, parameters)).all())
    if backwards and not found:  # the orders before it have moved: the list begins here
        return await read_page(connection, columns, conditions, sort, limit)
    rows, more = found[:limit], len(found) > limit
    if backwards:
        rows.reverse()
    return Page(
        rows,
        before=_cursor(rows, 0, column) if (more if backwards else cursor is not None) else None,
        after=_cursor(rows, -1, column) if more or backwards else None,
    )


@lru_cache(maxsize=256)
def _statement(
    columns: str, conditions: str, column: str, descending: bool, beyond_cursor: bool
) -> TextClause | TextualSelect:
    compare, order = ("<", "DESC") if descending else (">", "ASC")
    beyond = f" AND ({column}, order_id) {compare} (:value, :order_id)" if beyond_cursor else ""
    statement = text(
        f"SELECT {columns} {_FROM} AND {conditions}{beyond} "
        f"ORDER BY {column} {order}, order_id {order} LIMIT :limit"
    )
    return statement.columns(document=Packed) if columns == DOCUMENT else statement


async def count(connection: AsyncConnection, conditions: Conditions) -> int:
    """How many orders there are; LIST_TOTAL_MAX + 1 stands for any larger number."""
    statement = text(
        f"SELECT count(*) FROM (SELECT {_FROM} AND {conditions.sql} LIMIT :limit) found"  # noqa: S608
    )
    parameters = conditions.parameters | {"limit": limits.LIST_TOTAL_MAX + 1}
    counted: int = (await connection.execute(statement, parameters)).scalar_one()
    return counted


def _cursor(rows: Sequence[Row[Any]], index: int, column: str) -> Cursor | None:
    if not rows:
        return None
    value = rows[index]._mapping[column]
    if isinstance(value, datetime):
        value = (value - _EPOCH) // _MICROSECOND
    return Cursor(value, rows[index].order_id, backwards=index == 0)


def _sort_value(column: str, cursor: Cursor) -> datetime | int:
    return cursor.value if column == "total_minor" else _EPOCH + cursor.value * _MICROSECOND


def summary(row: Row[Any]) -> OrderSummary:
    """Of a row of SUMMARY. By place: columns by name take five times as long."""
    (order_id, number, user_id, external_reference, *others) = tuple(row)
    (status, payment_status, fulfillment_status, currency, total, due, credit, *others) = others
    (lines, units, version, created_at, updated_at) = others
    return OrderSummary(
        order_id,
        number,
        user_id,
        external_reference,
        status,
        payment_status,
        fulfillment_status,
        currency,
        to_text(total, currency),
        to_text(due, currency),
        to_text(credit, currency),
        lines,
        units,
        version,
        json_time(created_at),
        json_time(updated_at),
    )


async def search(
    engine: AsyncEngine, settings: Settings, filters: Filters, user_id: UUID | None
) -> Conditions:
    """The filters' conditions, also for a `q` that is an e-mail address or a telephone number."""
    q = filters.q
    if q is None or not ("@" in q or _PHONE.fullmatch(q)):
        return conditions(filters, user_id)
    user = await users.find_by_email(engine, q) if "@" in q else None
    wanted = {"digests": digests(settings.SECRET_KEY, q, q), "limit": limits.CONTACT_ORDERS_MAX}
    found = await query(engine, lambda c: _by_contact(c, wanted))
    contacts = Contacts(
        user.id if user else None,
        [UUID(int=row.order_id.int) for row in found],
        [partition_of(row.order_id, row.partitions) for row in found],
    )
    return conditions(filters, user_id, contacts)


async def _by_contact(connection: AsyncConnection, wanted: dict[str, Any]) -> Sequence[Row[Any]]:
    return (await connection.execute(_BY_CONTACT, wanted)).all()
