"""How far the log has come and who is behind it, among a process's metrics."""

import logging
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.infra.postgres import FAILURES, query
from order_service.telemetry.logging import reason
from order_service.telemetry.metrics import (
    DEAD_LETTERS,
    LAG_EVENTS,
    LAG_SECONDS,
    LOG_EVENTS,
    Labels,
    Observable,
)
from projections.monitoring import status

logger = logging.getLogger(__name__)

_TOLD = ((LAG_EVENTS, "lag_events"), (LAG_SECONDS, "lag_s"), (DEAD_LETTERS, "parked"))
_HEADS: dict[Labels, float] = {}  # as last seen: a counter does not go back
LOG_EVENTS.read = lambda: _HEADS


async def look(engine: AsyncEngine) -> None:
    """It is as the database says now; where that does not answer, nothing is told of it."""
    try:
        rows = await query(engine, status.read)
    except (*FAILURES, TimeoutError) as error:
        logger.warning("how far the log has come is not known: %s", reason(error))
        rows = []
    for gauge, column in _TOLD:
        _tell(gauge, rows, column)
    for row in rows:
        _HEADS[row["partition"],] = row["head"]


def _tell(gauge: Observable, rows: list[dict[str, Any]], column: str) -> None:
    values: dict[Labels, float] = {
        (row["name"], row["partition"]): row[column] or 0 for row in rows
    }
    gauge.read = lambda: values
