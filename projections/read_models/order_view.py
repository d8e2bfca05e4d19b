"""order_view: one row an order, with the columns that lists filter and sort by, and the document's
bytes."""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from operator import itemgetter
from typing import Any
from unicodedata import normalize
from uuid import UUID

import orjson
from sqlalchemy import ARRAY, Row, SmallInteger, Uuid, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service.cache.order_cache import Entry, OrderCache
from order_service.documents.order import document
from order_service.domain.state import Order
from order_service.log.reading import partition_of
from projections.read_models import document_compression
from projections.read_models import projection as p
from projections.read_models.generations import live_generation

NAME = "order_view"


def rows(change: p.Change) -> p.Rows:
    """One row: the order after the change."""
    folded = change[1]
    order = folded.order
    summary = folded.summary
    return {
        (folded.id,): (
            folded.number,
            order.user_id,
            order.external_reference,
            summary.status,
            summary.payment_status,
            summary.fulfillment_status,
            order.currency,
            summary.total_minor,
            summary.amount_due_minor,
            summary.credit_due_minor,
            len(order.lines),
            summary.units,
            terms(order),
            return_open(order),
            refund_failed(order),
            order.prices_trusted,
            summary.on_hold,
            hold_expires_at(order),
            self_service(order),
            folded.version,
            folded.created_at,
            folded.updated_at,
            document(folded),
        )
    }


def terms(order: Order) -> list[str]:
    """The terms that a search finds the order by: SKUs, tracking numbers, tags, the external
    reference and those of payments and refunds, each as `search_term` gives it. Also the terms of
    the filters `tag` and `metadata`."""
    found = [line.line.sku for line in order.lines.values() if line.line.sku]
    found += [s.tracking_number for s in order.shipments.values() if s.tracking_number]
    found += [order.external_reference] if order.external_reference else []
    payments = order.payments.values()
    found += [p.provider_reference for p in payments if p.provider_reference]
    found += [c.reference for p in payments for c in p.captures if c.reference]
    found += [r.provider_reference for r in order.refunds.values() if r.provider_reference]
    terms = {search_term(term) for term in (*found, *order.tags)}
    terms |= {tag_term(tag) for tag in order.tags}
    terms |= {metadata_term(key, value) for key, value in order.metadata.items()}
    return sorted(terms - {""})


def search_term(text: str) -> str:
    """The form in which terms are stored and looked for: NFC, lower case, no space around it."""
    return normalize("NFC", text).strip().lower()


# No search has control characters, so it never finds these.
def tag_term(tag: str) -> str:
    return f"\x1ftag\x1f{search_term(tag)}"


def metadata_term(key: str, value: str) -> str:
    return f"\x1fmetadata\x1f{key}\x1f{value}"


def return_open(order: Order) -> bool:
    """Whether a return waits for its decision or for its goods."""
    statuses = [each.status for each in order.returns.values()]
    return "REQUESTED" in statuses or "APPROVED" in statuses


def refund_failed(order: Order) -> bool:
    """Whether the last refund failed, so that the customer still waits for the money."""
    refunds = [*order.refunds.values()]
    return bool(refunds) and refunds[-1].status == "FAILED"


def hold_expires_at(order: Order) -> datetime | None:
    """When the first of the open authorizations expires."""
    if not order.payments:
        return None
    times = [p.expires_at for p in order.payments.values() if p.open_minor and p.expires_at]
    return min(times, default=None)


def self_service(order: Order) -> bool:
    """Whether the order's owner has recorded a payment: no money is known to have moved."""
    payments = order.payments.values()
    return bool(payments) and any(p.source == "self_service" for p in payments)


def add(_: p.Row | None, row: p.Row) -> p.Row:
    return row


@cache
def _upsert(table: str, generation: int) -> str:
    columns = ", ".join(_COLUMNS)
    # unnest flattens an array of arrays, so each row's terms are passed as JSON.
    given = columns.replace("terms", "ARRAY(SELECT jsonb_array_elements_text(u.terms::jsonb))")
    changing = ", ".join(f"{c} = excluded.{c}" for c in PROJECTION.values if c not in _FIXED)
    return (
        f"INSERT INTO {table} (generation, {columns}) "  # noqa: S608
        f"SELECT {generation}, {given} FROM {p.unnest(_COLUMNS)} "
        f"ON CONFLICT (generation, partition, order_id) DO UPDATE SET {changing}"
    )


def statements(parts: p.Parts) -> list[p.Statement]:
    target = parts[0][0]
    arrays = p.arrays(PROJECTION, p.flat(parts))
    arrays[_TERMS] = [orjson.dumps(of_order).decode() for of_order in arrays[_TERMS]]
    return [(_upsert(target.table, target.generation), arrays)]


def store(values: p.Row) -> p.Row:
    return (*values[:-1], document_compression.pack(values[-1]))


def restore(values: p.Row) -> p.Row:
    return (*values[:-1], document_compression.unpack(values[-1]))


async def refresh(cache: OrderCache, rows: p.Rows) -> None:
    """The cache holds no order older than these rows and no list page read before them.

    An order with one event has no older entry, so Redis is not called for it; that saves a fifth of
    a batch's time."""
    shown = [(order_id, *_cached_fields(values)) for (order_id,), values in rows.items()]
    await cache.refresh([Entry(*row) for row in shown if row[1] > 1])
    await cache.drop_lists({owner for _, _, owner, _ in shown if owner is not None})


# In the order in which they are written, one array each. The last one, the document, is packed.
_COLUMNS = {
    "partition": "smallint",
    "order_id": "uuid",
    "number": "text",
    "user_id": "uuid",
    "external_reference": "text",
    "status": "text",
    "payment_status": "text",
    "fulfillment_status": "text",
    "currency": "text",
    "total_minor": "bigint",
    "amount_due_minor": "bigint",
    "credit_due_minor": "bigint",
    "lines": "integer",
    "units": "integer",
    "terms": "text",
    "return_open": "boolean",
    "refund_failed": "boolean",
    "prices_trusted": "boolean",
    "on_hold": "boolean",
    "hold_expires_at": "timestamptz",
    "self_service": "boolean",
    "version": "integer",
    "created_at": "timestamptz",
    "updated_at": "timestamptz",
    "document": "bytea",
}
_TERMS = list(_COLUMNS).index("terms")
_VALUES = tuple(_COLUMNS)[2:]
_cached_fields = itemgetter(*map(_VALUES.index, ("version", "user_id", "document")))
_FIXED = {"number", "user_id", "external_reference", "currency", "created_at"}
PROJECTION = p.Projection(
    name=NAME,
    version=5,
    key=("order_id",),
    values=_VALUES,
    one_row_per_order=True,
    rows=rows,
    add=add,
    statements=statements,
    refresh=refresh,
    store=store,
    restore=restore,
)


# --- one order ------------------------------------------------------------------------------------

# One statement, so one snapshot: an acknowledged write is in both `head` and `document`, or `head`
# shows that the document is behind. Rows of another version of the projection may have another
# shape, so they are not served. OFFSET 0 makes the planner look each row up by its key, whatever
# number of rows it expects.
_ORDERS = text(
    "SELECT o.order_id, h.version AS head, v.version, v.user_id, v.document, "  # noqa: S608
    "EXISTS (SELECT FROM skips s WHERE s.name = 'order_view' AND s.partition = o.partition "
    "AND s.stream_id = o.order_id) AS skipped "
    "FROM unnest(:partitions, :orders) AS o (partition, order_id) "
    "CROSS JOIN LATERAL (SELECT max(version) AS version FROM events "
    "WHERE partition = o.partition AND stream_id = o.order_id) h "
    "LEFT JOIN LATERAL (SELECT version, user_id, document FROM read_models.order_view "
    f"WHERE generation = {live_generation(NAME, version=':projection_version')} "
    "AND partition = o.partition AND order_id = o.order_id OFFSET 0) v ON true"
).bindparams(
    bindparam("partitions", type_=ARRAY(SmallInteger)), bindparam("orders", type_=ARRAY(Uuid))
)


async def find_orders(
    connection: AsyncConnection, order_ids: Sequence[UUID], partitions: int
) -> list[Row[Any]]:
    """For each order, its stream's head and its row, with the document as stored (packed). `head`
    None: no such order; `version` None: no row yet."""
    unique_ids = dict.fromkeys(order_ids)
    parameters = {
        "partitions": [partition_of(order_id, partitions) for order_id in unique_ids],
        "orders": [*unique_ids],
        "projection_version": PROJECTION.version,
    }
    found = {row.order_id: row for row in await connection.execute(_ORDERS, parameters)}
    return [found[order_id] for order_id in order_ids]
