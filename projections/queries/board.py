"""The board: a card per order that needs work or has just changed, and totals per status.

Reads plain columns only, no documents.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

from sqlalchemy import ARRAY, BigInteger, Row, SmallInteger, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service import limits
from order_service.documents import board as documents
from order_service.documents.board import BoardColumn, Card, ColumnTotal, Flag
from order_service.documents.shape import json_time, to_json
from order_service.domain.money import to_text
from order_service.domain.state import Status
from order_service.infra.postgres import one_snapshot
from projections.queries.freshness import required_progress
from projections.queries.positions import Positions, as_text
from projections.read_models import order_view
from projections.read_models.generations import live_generation, live_rows

FLAGS: tuple[Flag, ...] = get_args(Flag)
_COLUMNS = (
    "order_id, number, user_id, status, payment_status, fulfillment_status, currency, total_minor, "
    "version, created_at, updated_at, credit_due_minor > 0 AS credit_due, return_open, "
    "refund_failed, coalesce(on_hold, false) AS on_hold, "
    "coalesce(self_service, false) AS self_service"
)
_VIEW = live_rows(order_view.NAME)
# The same text as in the index order_view_board: the planner compares the two.
_WORK = (
    "(status IN ('PENDING', 'PAID', 'PARTIALLY_SHIPPED', 'SHIPPED') OR credit_due_minor > 0 "
    "OR return_open OR refund_failed)"
)
_LATE = "updated_at >= now() - make_interval(hours => :changed_h)"
# Two time ranges; each has its own index, which is read from the newest order down to the limit.
_BOARD = text(
    f"SELECT f.*, u.email FROM ((SELECT {_COLUMNS} FROM {_VIEW} AND {_LATE} "  # noqa: S608
    f"ORDER BY updated_at DESC LIMIT :limit) UNION ALL (SELECT {_COLUMNS} FROM {_VIEW} "
    f"AND NOT {_LATE} AND {_WORK} ORDER BY updated_at DESC LIMIT :limit) "
    "ORDER BY updated_at DESC LIMIT :limit) f LEFT JOIN users u ON u.id = f.user_id "
    "ORDER BY f.updated_at DESC"
)
_TOTALS = text(
    "SELECT status, currency, count(*) AS orders, sum(total_minor) AS total_minor, "  # noqa: S608
    f"min(created_at) AS oldest_at FROM {_VIEW} AND ({_LATE} OR {_WORK}) "
    "GROUP BY status, currency ORDER BY status, currency"
)
# OFFSET 0 keeps the index scan of each partition, however many events the planner expects.
_CHANGED = text(
    f"SELECT f.*, u.email FROM (SELECT {_COLUMNS} FROM (SELECT DISTINCT b.partition, e.stream_id "  # noqa: S608
    "FROM unnest(:partitions, :after, :up_to) AS b (partition, after, up_to) CROSS JOIN LATERAL "
    "(SELECT stream_id FROM events WHERE partition = b.partition AND position > b.after "
    "AND position <= b.up_to ORDER BY position OFFSET 0) e) changed "
    "JOIN read_models.order_view v ON v.partition = changed.partition "
    f"AND v.order_id = changed.stream_id AND v.generation = {live_generation(order_view.NAME)}) f "
    "LEFT JOIN users u ON u.id = f.user_id ORDER BY f.updated_at DESC"
).bindparams(
    bindparam("partitions", type_=ARRAY(SmallInteger)),
    bindparam("after", type_=ARRAY(BigInteger)),
    bindparam("up_to", type_=ARRAY(BigInteger)),
)


@dataclass(frozen=True, slots=True)
class Board:
    """`positions`: up to where it shows the log. `totals`: one row per status and currency, over
    all orders on the board. `more`: there are orders beyond BOARD_CARDS_MAX cards."""

    positions: Positions
    cards: Sequence[Row[Any]]
    totals: Sequence[Row[Any]]
    more: bool


async def read(connection: AsyncConnection) -> Board:
    """The board at one moment. Raises `Unavailable` if another version built the live read
    model."""
    changed = {"changed_h": limits.BOARD_CHANGED_H}
    async with one_snapshot(connection):
        progress = await required_progress(connection, order_view.PROJECTION)
        limit = {"limit": limits.BOARD_CARDS_MAX + 1}
        cards = (await connection.execute(_BOARD, changed | limit)).all()
        totals = (await connection.execute(_TOTALS, changed)).all()
    more = len(cards) > limits.BOARD_CARDS_MAX
    return Board(progress.positions, cards[: limits.BOARD_CARDS_MAX], totals, more)


async def read_changed(
    connection: AsyncConnection, after: Sequence[int], up_to: Sequence[int]
) -> Sequence[Row[Any]]:
    """The orders with events after `after`, up to `up_to`, as they are now (which may be later)."""
    partitions = [n for n, (a, u) in enumerate(zip(after, up_to, strict=True)) if a < u]
    parameters = {
        "partitions": partitions,
        "after": [after[n] for n in partitions],
        "up_to": [up_to[n] for n in partitions],
    }
    return (await connection.execute(_CHANGED, parameters)).all()


# --- as JSON --------------------------------------------------------------------------------------


async def board_json(board: Board) -> bytes:
    """Encodes in portions: ten thousand cards at once would block the event loop."""
    cards = []
    for first in range(0, len(board.cards), limits.BOARD_BATCH_CARDS):
        shown = [card(row) for row in board.cards[first : first + limits.BOARD_BATCH_CARDS]]
        cards.append(to_json(shown)[1:-1])
        await asyncio.sleep(0)
    around = documents.Board(token(board.positions), columns(board.totals), board.more, [])
    written = to_json(around)
    assert written.endswith(b'"cards":[]}'), "the cards come last"
    return written[: -len(b"]}")] + b",".join(cards) + b"]}"


def token(positions: Positions) -> str:
    """Where a stream of the board resumes."""
    return as_text(positions)


def card(row: Row[Any]) -> Card:
    """Unpacks the row: reading columns by name takes five times as long."""
    values: tuple[Any, ...] = tuple(row)
    order_id, number, user_id, status, payment_status, fulfillment_status, currency = values[:7]
    total_minor, version, created_at, updated_at, *flags, email = values[7:]
    return Card(
        order_id,
        number,
        user_id,
        email,
        status,
        payment_status,
        fulfillment_status,
        to_text(total_minor, currency),
        currency,
        version,
        json_time(created_at),
        json_time(updated_at),
        [name for name, raised in zip(FLAGS, flags, strict=True) if raised],
    )


def columns(totals: Sequence[Row[Any]]) -> list[BoardColumn]:
    """One per status, empty ones too, in the order in which orders pass through them."""
    return [
        _column(status, [t for t in totals if t.status == status]) for status in get_args(Status)
    ]


def _column(status: Status, totals: Sequence[Row[Any]]) -> BoardColumn:
    oldest_at = min((total.oldest_at for total in totals), default=None)
    return BoardColumn(
        status,
        sum(total.orders for total in totals),
        [ColumnTotal(t.currency, to_text(int(t.total_minor), t.currency)) for t in totals],
        json_time(oldest_at),
    )
