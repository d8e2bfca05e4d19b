"""The progress and speed of the relay and of every read model."""

import time
from collections import deque
from collections.abc import Iterable, Mapping
from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service import limits
from order_service.documents.operations import (
    PartitionProgress,
    Progress,
    ProjectionProgress,
    Projections,
    Rebuild,
)
from projections.monitoring import status
from projections.read_models.registry import PROJECTIONS
from projections.replay import state

_GENERATIONS = text(
    "SELECT m.name, m.live_generation, m.projection_version, m.previous_generation, "
    "m.previous_version, b.generation AS building FROM read_models m "
    "LEFT JOIN rebuilds b ON b.name = m.name ORDER BY m.name"
)
Checkpoints = Mapping[tuple[str, int, int], int]  # by name, generation and partition


class Rates:
    """Events a second, from the checkpoints that this process has read recently."""

    def __init__(self) -> None:
        self._readings: deque[tuple[float, Checkpoints]] = deque(maxlen=limits.RATE_SAMPLES)

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """`rows` are the current checkpoints; to be called every few seconds."""
        self._readings.append((time.monotonic(), _checkpoints(rows)))

    def of(self, rows: Iterable[Mapping[str, Any]]) -> float | None:
        """The rate of these checkpoints since the oldest reading; None if that reading lacks
        them."""
        if not self._readings:
            return None
        at, before = self._readings[0]
        now = _checkpoints(rows)
        if not now.keys() <= before.keys():  # another generation
            return None
        events = sum(position - before[key] for key, position in now.items())
        return max(0.0, round(events / max(time.monotonic() - at, 0.001), 1))


def _checkpoints(rows: Iterable[Mapping[str, Any]]) -> Checkpoints:
    return {(r["name"], r["generation"], r["partition"]): r["checkpoint"] for r in rows}


async def read(connection: AsyncConnection, rates: Rates) -> Projections:
    """The response of `GET /ops/projections/`."""
    rows = await status.read(connection)
    generations = (await connection.execute(_GENERATIONS)).all()
    rebuilds = await state.read(connection)
    by_name = {name: list(of) for name, of in groupby(rows, itemgetter("name"))}
    return Projections(
        [
            _projection(by_name[read_model.name], rates, read_model, rebuilds[read_model.name])
            for read_model in generations
            if read_model.name in PROJECTIONS
        ],
        relay=Progress(**_progress(by_name["relay"], rates)),
    )


def _progress(rows: list[dict[str, Any]], rates: Rates) -> dict[str, Any]:
    """The members of `Progress`."""
    members = PartitionProgress.__struct_fields__
    return {
        "name": rows[0]["name"],
        "partitions": [PartitionProgress(*(row[name] for name in members)) for row in rows],
        "lag_events": sum(row["lag_events"] for row in rows),
        "lag_s": max(row["lag_s"] for row in rows),
        "events_per_s": rates.of(rows),
        "parked": sum(row["parked"] for row in rows),
    }


def _projection(
    rows: list[dict[str, Any]], rates: Rates, read_model: Row[Any], rebuild: Rebuild | None
) -> ProjectionProgress:
    numbers = {read_model.live_generation, read_model.previous_generation, read_model.building} - {
        None
    }
    return ProjectionProgress(
        **_progress(rows, rates),
        version=read_model.projection_version,
        generation=read_model.live_generation,
        generations=sorted(numbers),
        previous_generation=read_model.previous_generation,
        replay_needed=PROJECTIONS[read_model.name].version != read_model.projection_version,
        rebuild=rebuild,
    )
