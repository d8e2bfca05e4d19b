"""Relay and read models: lag, parked streams, and rows of this version of the code."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service import limits
from order_service.infra.lag import CHECKPOINTS_IN_USE
from projections.monitoring.checks.check import Finding, finding

Rows = Sequence[Mapping[str, Any]]  # from `status.read`: rows of one name are adjacent

# Checkpoints with an event waiting for longer than :lag_s: a process does not do its work. (While
# no events are appended, a stopped process is not noticed.)
_LATE = text(
    f"SELECT count(*) FROM ({CHECKPOINTS_IN_USE}) c "  # noqa: S608
    "WHERE c.waiting_since < clock_timestamp() - make_interval(secs => :lag_s)"
)


async def late(connection: AsyncConnection) -> list[Finding]:
    """One quick statement: probes may run it every second."""
    found = await connection.execute(_LATE, {"lag_s": limits.READINESS_LAG_S})
    count = found.scalar_one()
    remedy = "Check that relay, consumer and worker run, and read their logs."
    return [finding("late checkpoints", count == 0, count, "0", remedy)]


async def checkpoints(rows: Rows) -> list[Finding]:
    """Findings for the relay and for each read model."""
    return [one for name, of_name in _by_name(rows).items() for one in _of(name, of_name)]


async def relay(rows: Rows) -> list[Finding]:
    return [_combined("relay", {"relay": _by_name(rows)["relay"]})]


async def read_models(rows: Rows) -> list[Finding]:
    """One finding for all read models."""
    return [_combined("read models", {n: of for n, of in _by_name(rows).items() if n != "relay"})]


def lag_of(rows: Rows) -> tuple[int, float]:
    """`rows` of one name: the number of events after the checkpoints of all partitions, and the age
    of the oldest in seconds."""
    return sum(row["lag_events"] for row in rows), max(row["lag_s"] for row in rows)


def _by_name(rows: Rows) -> dict[str, Rows]:
    return {name: list(of) for name, of in groupby(rows, itemgetter("name"))}


def _of(name: str, rows: Rows) -> list[Finding]:
    """`rows`: one a partition."""
    events, seconds = lag_of(rows)
    roles = "relay" if name == "relay" else "consumer and worker"
    lag = finding(
        f"{name} lag",
        seconds <= limits.LAG_MAX_S,
        f"{events} events, {seconds:.1f} s",
        f"at most {limits.LAG_MAX_S:g} s",
        f"Check that {roles} run, read their logs, and check that RabbitMQ answers.",
    )
    if name == "relay":
        return [lag]
    parked = sum(row["parked"] for row in rows)
    replay_needed = rows[0]["replay_needed"]
    return [
        lag,
        finding(
            f"{name} parked streams",
            parked == 0,
            parked,
            "0",
            "Run `./entrypoint.sh dead-letters list`; fix the code and retry, or skip the event.",
        ),
        finding(
            f"{name} version",
            not replay_needed,
            "rows of another version" if replay_needed else "rows of this version",
            "rows of this version",
            f"Run `./entrypoint.sh replay {name}`.",
        ),
    ]


def _combined(check: str, by_name: Mapping[str, Rows]) -> Finding:
    events = max(lag_of(rows)[0] for rows in by_name.values())
    seconds = max(lag_of(rows)[1] for rows in by_name.values())
    parked = sum(row["parked"] for rows in by_name.values() for row in rows)
    stale = [name for name, rows in by_name.items() if rows[0]["replay_needed"]]
    parts = (
        f"{events:,} events behind, lag {seconds:.1f} s.",
        *([f"{parked} orders parked."] if parked else ()),
        *([f"Replay needed: {', '.join(stale)}."] if stale else ()),
    )
    wrong = [one for name, rows in by_name.items() for one in _of(name, rows) if one.state != "ok"]
    remedies = dict.fromkeys(one.remedy for one in wrong)
    return finding(check, not wrong, " ".join(parts), "none behind or parked", " ".join(remedies))
