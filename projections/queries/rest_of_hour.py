"""The orders placed in the rest of an hour: what a report that ends within the hour leaves out.

`sales_by_hour` counts by whole hours. The facts of the orders after the report's end are computed
anew, from the log up to where the read model shows it, and subtracted. A report up to now has none.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import groupby
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service import limits
from order_service.errors import UnreadableEvent
from order_service.log.codec import StoredEvent
from order_service.log.fold import FoldedOrder, fold_stored
from order_service.log.reading import read_streams
from projections.queries.positions import Positions
from projections.read_models import sales_by_hour
from projections.read_models.generations import live_rows
from projections.read_models.projection import Rows
from projections.read_models.shop_time import hour_of

_PLACED = text(
    f"SELECT partition, order_id, created_at FROM {live_rows('order_view')} "  # noqa: S608
    "AND created_at >= :first AND created_at < :end ORDER BY partition LIMIT :limit"
)


class TooManyOrders(Exception):
    """More than SALES_PART_ORDERS_MAX orders were placed in the rest of the hour."""


async def facts_from(connection: AsyncConnection, end: datetime, shown: Positions) -> Rows:
    """The rows of `sales_by_hour` that the orders placed from `end` to the end of its hour make,
    with the events up to the positions `shown`. Raises TooManyOrders."""
    hour = hour_of(end)
    rows: Rows = {}
    if end == hour:
        return rows
    limit = limits.SALES_PART_ORDERS_MAX + 1
    wanted = {"first": end, "end": hour + timedelta(hours=2), "limit": limit}
    found = (await connection.execute(_PLACED, wanted)).all()
    if len(found) == limit:
        raise TooManyOrders
    placed = [row for row in found if hour_of(row.created_at) == hour]
    for partition, in_it in groupby(placed, key=lambda row: int(row.partition)):
        ids = [UUID(int=row.order_id.int) for row in in_it]
        for first in range(0, len(ids), limits.SALES_PART_BATCH):
            some = ids[first : first + limits.SALES_PART_BATCH]
            stored = await read_streams(connection, partition, some, shown[partition])
            _add(rows, stored, len(shown))
            await asyncio.sleep(0)
    return rows


def _add(rows: Rows, stored: Sequence[StoredEvent], partitions: int) -> None:
    for _, events in groupby(stored, key=lambda event: event.stream_id):
        folded = _fold([*events], partitions)
        if folded is not None:
            sales_by_hour.PROJECTION.merge(rows, sales_by_hour.rows((None, folded)))


def _fold(events: list[StoredEvent], partitions: int) -> FoldedOrder | None:
    """Up to the first unreadable event, as the read model has it."""
    folded = None
    for event in events:
        try:
            folded = fold_stored([event], partitions, folded)
        except UnreadableEvent:
            break
    return folded
