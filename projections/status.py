"""status: how far the relay and every projection have come. May import the registry."""

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service.db import PROJECTOR, create_engine
from order_service.settings import Settings
from projections.registry import PROJECTIONS

# Lag in seconds: the age of the oldest event that is not done yet; 0, too, where that lies ahead of
# the server's clock, which was set back.
_STATUS = text(
    "SELECT c.name, c.generation, c.partition, p.position AS head, c.position AS checkpoint, "
    "p.position - c.position AS lag_events, "
    "greatest(0, round(extract(epoch FROM clock_timestamp() - "
    "(SELECT e.recorded_at FROM events e WHERE e.partition = c.partition "
    "AND e.position = c.position + 1)), 3))::float AS lag_s, "
    "(SELECT count(*) FROM dead_letters d WHERE d.name = c.name AND d.generation = c.generation "
    "AND d.partition = c.partition) AS parked, m.projection_version "
    "FROM checkpoints c JOIN partitions p ON p.partition = c.partition "
    "LEFT JOIN read_models m ON m.name = c.name "
    "WHERE c.name = 'relay' OR c.generation = m.live_generation "
    "ORDER BY c.name <> 'relay', c.name, c.partition"
)
_COLUMNS = (
    "name",
    "generation",
    "partition",
    "head",
    "checkpoint",
    "lag_events",
    "lag_s",
    "parked",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs")


async def run(args: argparse.Namespace, settings: Settings) -> int:
    """0, also where something lags: that is no fault of this command."""
    engine = create_engine(settings, PROJECTOR, application_name="status", pool_size=1)
    try:
        async with engine.connect() as connection:
            rows = await read(connection)
    finally:
        await engine.dispose()
    print(json.dumps(rows) if args.json else _table(rows))
    return 0


async def read(connection: AsyncConnection) -> list[dict[str, Any]]:
    """One row a checkpoint: the relay's, then those of the live generations."""
    rows = []
    for found in await connection.execute(_STATUS):
        row = {name: getattr(found, name) for name in _COLUMNS}
        projection = PROJECTIONS.get(found.name)
        row["replay_needed"] = (
            projection is not None and projection.version != found.projection_version
        )
        rows.append(row)
    return rows


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [_COLUMNS, *([str(row[name]) for name in _COLUMNS] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(_COLUMNS))]
    shown = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    ]
    names = dict.fromkeys(row["name"] for row in rows if row["replay_needed"])
    return "\n".join([*map(str.rstrip, shown), *(f"Replay needed: {name}." for name in names)])
