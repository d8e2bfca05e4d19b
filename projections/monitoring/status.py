"""status: prints the checkpoints and lag of the relay and of every projection, or the census of the
log."""

import argparse
import asyncio
import json
import sys
import time
from operator import itemgetter
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service.infra.lag import CHECKPOINTS_IN_USE
from order_service.infra.postgres import PROJECTOR, create_engine, query
from order_service.infra.terminal import aligned
from order_service.limits import STATUS_WATCH_MIN_S, STATUS_WATCH_S
from order_service.log.census import Kind, census, progress
from order_service.settings import Settings
from projections.read_models.registry import PROJECTIONS

Rows = list[dict[str, Any]]

# Lag in seconds: the age of the oldest event after the checkpoint; 0 if that event is newer than
# the server's clock, which was then set back.
_STATUS = text(
    "SELECT c.*, c.head - c.checkpoint AS lag_events, "  # noqa: S608
    "greatest(0, round(extract(epoch FROM clock_timestamp() - c.waiting_since), 3))::float "
    "AS lag_s, (SELECT count(*) FROM dead_letters d WHERE d.name = c.name "
    "AND d.generation = c.generation AND d.partition = c.partition) AS parked "
    f"FROM ({CHECKPOINTS_IN_USE}) c ORDER BY c.name <> 'relay', c.name, c.partition"
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
    parser.add_argument("--json", action="store_true", help="print JSON, one line each time")
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--events",
        action="store_true",
        help="count the events of each type and schema version; say which this code cannot read",
    )
    what.add_argument(
        "--watch",
        type=_seconds,
        nargs="?",
        const=STATUS_WATCH_S,
        metavar="SECONDS",
        help=f"print again every SECONDS (default {STATUS_WATCH_S:g}) until Ctrl-C",
    )


def _seconds(value: str) -> float:
    seconds = float(value)
    if not seconds >= STATUS_WATCH_MIN_S:
        raise argparse.ArgumentTypeError(f"expected {STATUS_WATCH_MIN_S:g} or more")
    return seconds


async def run(args: argparse.Namespace, settings: Settings) -> int:
    """0, also if something lags: the command itself has succeeded."""
    engine = create_engine(settings, PROJECTOR, application_name="status", pool_size=1)
    try:
        if args.events:
            kinds = await census(engine, progress())
            print(json.dumps(list(map(_as_json, kinds))) if args.json else _census(kinds))
            return 0
        before = None
        while True:
            rows = await query(engine, read)
            read_at = time.monotonic()
            if before is not None:
                _add_rates(rows, before[0], read_at - before[1])
            before = rows, read_at
            print(json.dumps(rows) if args.json else _screen(args, rows), flush=True)
            if args.watch is None:
                return 0
            await asyncio.sleep(args.watch)
    finally:
        await engine.dispose()


def _add_rates(rows: Rows, before: Rows, seconds: float) -> None:
    """Each row has `events_per_s`: 0 for a checkpoint that was not there before."""
    key = itemgetter("name", "generation", "partition")
    earlier = {key(row): row["checkpoint"] for row in before}
    for row in rows:
        done = row["checkpoint"] - earlier.get(key(row), row["checkpoint"])
        row["events_per_s"] = round(done / seconds, 1)


def _screen(args: argparse.Namespace, rows: Rows) -> str:
    """The table; with `--watch` on a terminal it replaces the one before."""
    clear = "\033[H\033[2J" if args.watch is not None and sys.stdout.isatty() else ""
    return clear + _table(rows)


async def read(connection: AsyncConnection) -> Rows:
    """One row for each checkpoint: the relay's, then those of the live generations."""
    rows = []
    for found in await connection.execute(_STATUS):
        row = {name: getattr(found, name) for name in _COLUMNS}
        projection = PROJECTIONS.get(found.name)
        row["replay_needed"] = (
            projection is not None and projection.version != found.projection_version
        )
        rows.append(row)
    return rows


def _table(rows: Rows) -> str:
    heads = (*_COLUMNS, "events_per_s") if rows and "events_per_s" in rows[0] else _COLUMNS
    names = dict.fromkeys(row["name"] for row in rows if row["replay_needed"])
    return "\n".join(
        [
            aligned(heads, [[row[name] for name in heads] for row in rows]),
            *(f"Replay needed: run `./entrypoint.sh replay {name}`." for name in names),
        ]
    )


def _as_json(kind: Kind) -> dict[str, Any]:
    first = [{"partition": p, "position": at} for p, at in sorted(kind.first.items())]
    return {
        "type": kind.type,
        "schema_version": kind.schema_version,
        "events": kind.events,
        "readable": kind.readable,
        "first": first,
    }


def _census(kinds: list[Kind]) -> str:
    rows = [(k.type, k.schema_version, k.events, "yes" if k.readable else "no") for k in kinds]
    unknown = [kind for kind in kinds if not kind.readable]
    return "\n".join(
        [
            aligned(("type", "schema_version", "events", "readable"), rows),
            *(f"Cannot read {k.type} v{k.schema_version}: first at {k.where()}." for k in unknown),
            f"{sum(kind.events for kind in kinds):,} events, {len(unknown)} kinds unreadable.",
        ]
    )
