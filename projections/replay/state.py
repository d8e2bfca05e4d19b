"""The state of each read model's last replay: written by the replay, read by web for operators.

A killed replay cannot update its row. So a replay counts as running only while its session holds
the lock of replays: if the row says running and the session has ended, the replay has failed.
"""

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from order_service import limits
from order_service.documents.operations import Rebuild, RebuildState
from order_service.documents.shape import json_time
from projections.read_models.generations import REPLAY_SESSION

NEVER_STARTED = "The replay did not start. Request the rebuild again."
ENDED_SILENTLY = "The replay ended without a result. Request the rebuild again: it resumes."

_BEGIN = text(
    "INSERT INTO replays (name, pid, state, total) "
    "SELECT :name, :pid, 'building', coalesce(sum(up_to), 0) FROM rebuild_marks WHERE name = :name "
    "ON CONFLICT (name) DO UPDATE SET pid = excluded.pid, state = excluded.state, "
    "total = excluded.total, started_at = clock_timestamp(), finished_at = NULL, message = NULL"
)
_MOVE = text(
    "UPDATE replays SET state = :state, message = :message, finished_at = "
    "CASE WHEN :state IN ('done', 'failed') THEN clock_timestamp() END "
    "WHERE name = ANY (:names) AND finished_at IS NULL"
)
_READ = text(
    "SELECT m.name, r.state, r.total, r.started_at, r.finished_at, r.message, "  # noqa: S608
    f"r.pid IN ({REPLAY_SESSION}) AS alive, "
    "(SELECT sum(k.events) FROM rebuild_marks k WHERE k.name = m.name)::bigint AS built, "
    "q.requested_at, q.claimed_at, q.finished_at AS answered_at, q.detail, "
    "q.claimed_at < clock_timestamp() - make_interval(secs => :start_s) AS overdue "
    "FROM read_models m LEFT JOIN replays r ON r.name = m.name LEFT JOIN LATERAL "
    "(SELECT * FROM operator_requests o WHERE o.projection = m.name AND o.kind = 'rebuild' "
    "ORDER BY o.requested_at DESC LIMIT 1) q ON true"
)


# --- written by the replay ------------------------------------------------------------------------


async def begin(connection: AsyncConnection, names: Collection[str], pid: int) -> None:
    """These read models are recorded as being built by the session `pid`."""
    for name in names:
        await connection.execute(_BEGIN, {"name": name, "pid": pid})


async def move(
    engine: AsyncEngine, names: Collection[str], state: RebuildState, message: str | None = None
) -> None:
    """The new state of these replays is recorded, except of those already done or failed."""
    async with engine.begin() as connection:
        parameters = {"names": list(names), "state": state, "message": message}
        await connection.execute(_MOVE, parameters)


# --- read -----------------------------------------------------------------------------------------


async def read(connection: AsyncConnection) -> Mapping[str, Rebuild | None]:
    """The last rebuild by read model; None: it was never rebuilt."""
    rows = await connection.execute(_READ, {"start_s": limits.REPLAY_START_S})
    return {row.name: _rebuild(row) for row in rows}


def _rebuild(row: Row[Any]) -> Rebuild | None:
    running = row.state is not None and row.finished_at is None and row.alive
    if not running and _is_older_than_request(row):
        return _requested(row)
    if row.state is None:
        return None
    ended_silently = row.finished_at is None and not row.alive
    state: RebuildState = "failed" if ended_silently else row.state
    return Rebuild(
        state=state,
        done=row.total if state in ("comparing", "done") else row.built or 0,
        total=row.total,
        started_at=json_time(row.started_at),
        finished_at=json_time(row.finished_at),
        message=ENDED_SILENTLY if ended_silently else row.message,
    )


def _is_older_than_request(row: Row[Any]) -> bool:
    """Whether the rebuild requested last has not started."""
    if row.requested_at is None:
        return False
    return row.claimed_at is None or row.state is None or row.started_at < row.claimed_at


def _requested(row: Row[Any]) -> Rebuild:
    refused = row.answered_at is not None
    failed = refused or bool(row.overdue)
    return Rebuild(
        state="failed" if failed else "queued",
        done=0,
        total=0,
        started_at=None,
        finished_at=json_time(row.answered_at),
        message=row.detail if refused else NEVER_STARTED if failed else None,
    )
