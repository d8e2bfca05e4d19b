"""customer_summary: what a user has ordered and spent, per currency."""

from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service.log.fold import FoldedOrder
from projections.read_models import projection as p
from projections.read_models.generations import live_rows

Contribution = tuple[int, int, datetime, UUID]  # orders, spent_minor, last_order_at, last_order_id


def contribution(folded: FoldedOrder) -> Contribution:
    """One order's share of its customer's row. Spent: captured, less refunds done and pending."""
    order = folded.order
    spent = order.captured_minor - order.refunded_minor - order.refund_pending_minor
    return (1, spent, folded.created_at, folded.id)


def rows(change: p.Change) -> p.Rows:
    """The difference that the change makes. An order keeps its customer, currency and time, so the
    last order never goes back to an earlier one. Guests have no row."""
    before, after = change
    orders, spent, at, order_id = contribution(after)
    if before is not None:
        was_orders, was_spent, _, _ = contribution(before)
        orders, spent = orders - was_orders, spent - was_spent
    if after.order.user_id is None:
        return {}
    return {(after.order.user_id, after.order.currency): (orders, spent, at, order_id)}


def add(row: p.Row | None, difference: p.Row) -> p.Row:
    if row is None:
        return difference
    return (row[0] + difference[0], row[1] + difference[1], *max(row[2:], difference[2:]))


_COLUMNS = {
    "partition": "smallint",
    "user_id": "uuid",
    "currency": "text",
    "orders": "bigint",
    "spent_minor": "numeric",
    "last_order_at": "timestamptz",
    "last_order_id": "uuid",
}


@cache
def _upsert(table: str, generation: int) -> str:
    return (
        f"INSERT INTO {table} AS t (generation, {', '.join(_COLUMNS)}) "  # noqa: S608
        f"SELECT {generation}, u.* FROM {p.unnest(_COLUMNS)} "
        "ON CONFLICT (generation, user_id, currency, partition) DO UPDATE SET "
        "orders = t.orders + excluded.orders, spent_minor = t.spent_minor + excluded.spent_minor, "
        "(last_order_at, last_order_id) = (SELECT l.at, l.id FROM (VALUES "
        "(t.last_order_at, t.last_order_id), (excluded.last_order_at, excluded.last_order_id)) "
        "AS l (at, id) ORDER BY l.at DESC, l.id DESC LIMIT 1)"
    )


def statements(parts: p.Parts) -> list[p.Statement]:
    target = parts[0][0]
    changed = [row for row in p.flat(parts) if row[2][:2] != (0, 0)]
    if not changed:
        return []
    return [(_upsert(target.table, target.generation), p.arrays(PROJECTION, changed))]


PROJECTION = p.Projection(
    name="customer_summary",
    version=1,
    key=("user_id", "currency"),
    values=("orders", "spent_minor", "last_order_at", "last_order_id"),
    one_row_per_order=False,
    rows=rows,
    add=add,
    statements=statements,
)

_SUMMARY = text(
    "SELECT currency, sum(orders)::bigint AS orders, sum(spent_minor) AS spent_minor, "  # noqa: S608
    "max(last_order_at) AS last_order_at, "
    "(array_agg(last_order_id ORDER BY last_order_at DESC, last_order_id DESC))[1] "
    f"AS last_order_id FROM {live_rows('customer_summary')} AND user_id = :user_id "
    "GROUP BY currency ORDER BY currency"
)


async def summary(connection: AsyncConnection, user_id: UUID) -> list[Row[Any]]:
    """One row a currency; none for a user without orders."""
    return list((await connection.execute(_SUMMARY, {"user_id": user_id})).all())
