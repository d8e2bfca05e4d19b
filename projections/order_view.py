"""order_view: one row an order, with what lists filter and sort by, and the bytes served."""

from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Integer, LargeBinary, Row, Text, TextClause, Uuid, text
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service.cache import Entry, OrderCache
from order_service.domain import state as rules
from order_service.representation import document
from projections import projection as p

NAME = "order_view"


def rows(change: p.Change) -> p.Rows:
    """The order as it is after the change."""
    folded = change[1]
    order = folded.order
    return {
        (folded.id,): (
            order.user_id,
            rules.status(order),
            rules.payment_status(order),
            rules.fulfillment_status(order),
            order.currency,
            rules.total_minor(order),
            folded.version,
            folded.created_at,
            folded.updated_at,
            document(folded),
        )
    }


def add(_: p.Row | None, row: p.Row) -> p.Row:
    return row


@cache
def _upsert(table: str) -> TextClause:
    return p.with_arrays(
        f"INSERT INTO {table} (generation, partition, order_id, user_id, status, payment_status, "  # noqa: S608
        "fulfillment_status, currency, total_minor, version, created_at, updated_at, document) "
        "SELECT CAST(:generation AS integer), CAST(:partition AS smallint), u.* FROM unnest("
        ":order_id, :user_id, :status, :payment_status, :fulfillment_status, :currency, "
        ":total_minor, :version, :created_at, :updated_at, :document) AS u "
        "ON CONFLICT (generation, partition, order_id) DO UPDATE SET status = excluded.status, "
        "payment_status = excluded.payment_status, "
        "fulfillment_status = excluded.fulfillment_status, "
        "total_minor = excluded.total_minor, version = excluded.version, "
        "updated_at = excluded.updated_at, document = excluded.document",
        order_id=Uuid,
        user_id=Uuid,
        status=Text,
        payment_status=Text,
        fulfillment_status=Text,
        currency=Text,
        total_minor=BigInteger,
        version=Integer,
        created_at=p.UtcTime,
        updated_at=p.UtcTime,
        document=LargeBinary,
    )


async def write(connection: AsyncConnection, target: p.Target, rows: p.Rows) -> None:
    columns = p.arrays(PROJECTION, list(rows.items()))
    await connection.execute(_upsert(target.table), target.identity | columns)


async def refresh(cache: OrderCache, rows: p.Rows) -> None:
    """The cache holds nothing older than these rows, and no list page read before them."""
    owners = {key[0]: values[0] for key, values in rows.items()}
    entries = [
        Entry(order_id, values[6], owners[order_id], values[9])
        for (order_id,), values in rows.items()
    ]
    await cache.refresh(entries)
    await cache.drop_lists(set(owners.values()))


PROJECTION = p.Projection(
    name=NAME,
    version=1,
    key=("order_id",),
    values=(
        "user_id",
        "status",
        "payment_status",
        "fulfillment_status",
        "currency",
        "total_minor",
        "version",
        "created_at",
        "updated_at",
        "document",
    ),
    one_row_per_order=True,
    rows=rows,
    add=add,
    write=write,
    refresh=refresh,
)


# --- queries --------------------------------------------------------------------------------------

_LIVE = "(SELECT live_generation FROM read_models WHERE name = 'order_view')"
# One statement, so one snapshot: `head` and `document` belong together, and an acknowledged write
# is in both or the document is seen to be behind.
_ORDER = text(
    "SELECT h.version AS head, v.version, v.user_id, v.document, "  # noqa: S608
    "EXISTS (SELECT FROM skips s WHERE s.name = 'order_view' AND s.partition = :partition "
    "AND s.stream_id = :order_id) AS skipped "
    "FROM (SELECT max(version) AS version FROM events WHERE partition = :partition "
    "AND stream_id = :order_id) h LEFT JOIN read_models.order_view v "
    f"ON v.generation = {_LIVE} AND v.partition = :partition AND v.order_id = :order_id"
)
_LIST = (
    "SELECT order_id, created_at, document FROM read_models.order_view "  # noqa: S608
    f"WHERE generation = {_LIVE} AND user_id = :user_id"
)
_STATUS = " AND status = ANY (:statuses)"
_BEFORE = " AND (created_at, order_id) < (:created_at, :order_id)"
_NEWEST_FIRST = " ORDER BY created_at DESC, order_id DESC LIMIT :limit"
_READ_AT = text(
    "SELECT m.live_generation || ':' || string_agg(c.position::text, '.' ORDER BY c.partition) "
    "FROM read_models m JOIN checkpoints c ON c.name = m.name "
    "AND c.generation = m.live_generation WHERE m.name = 'order_view' GROUP BY m.live_generation"
)


async def find_order(connection: AsyncConnection, order_id: UUID, partition: int) -> Row[Any]:
    """The order's row beside its stream's head; `head` None: no such order, `version` None: no row
    yet."""
    parameters = {"order_id": order_id, "partition": partition}
    return (await connection.execute(_ORDER, parameters)).one()


async def list_orders(
    connection: AsyncConnection,
    user_id: UUID,
    limit: int,
    statuses: tuple[str, ...] = (),
    before: tuple[datetime, UUID] | None = None,
) -> list[Row[Any]]:
    """A page of a user's orders, newest first: `order_id`, `created_at`, `document`.

    `before`: the last row of the page before this one.
    """
    sql, parameters = _LIST, {"user_id": user_id, "limit": limit}
    if statuses:
        sql, parameters = sql + _STATUS, parameters | {"statuses": list(statuses)}
    if before:
        created_at, order_id = before
        sql = sql + _BEFORE
        parameters = parameters | {"created_at": created_at, "order_id": order_id}
    return list((await connection.execute(_list_statement(sql), parameters)).all())


@cache
def _list_statement(sql: str) -> TextClause:
    if ":statuses" in sql:
        return p.with_arrays(sql + _NEWEST_FIRST, statuses=Text)
    return text(sql + _NEWEST_FIRST)


async def read_at(connection: AsyncConnection) -> bytes:
    """The live generation and its checkpoints: what a list read after this shows at least."""
    noted: str = (await connection.execute(_READ_AT)).scalar_one()
    return noted.encode()
