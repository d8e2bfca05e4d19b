"""The log's heads and the lag of its readers, as metrics of a process."""

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

_GAUGES = ((LAG_EVENTS, "lag_events"), (LAG_SECONDS, "lag_s"), (DEAD_LETTERS, "parked"))
_HEADS: dict[Labels, float] = {}  # the last ones read: a counter never decreases
LOG_EVENTS.read = lambda: _HEADS


async def update(engine: AsyncEngine) -> None:
    """The metrics have PostgreSQL's current values; if it does not answer, the gauges are empty."""
    try:
        rows = await query(engine, status.read)
    except (*FAILURES, TimeoutError) as error:
        logger.warning("Cannot read the log's heads and lag for the metrics: %s", reason(error))
        rows = []
    for gauge, column in _GAUGES:
        _set_gauge(gauge, rows, column)
    for row in rows:
        _HEADS[row["partition"],] = row["head"]


def _set_gauge(gauge: Observable, rows: list[dict[str, Any]], column: str) -> None:
    values: dict[Labels, float] = {
        (row["name"], row["partition"]): row[column] or 0 for row in rows
    }
    gauge.read = lambda: values
