"""How the whole service is: its servers, processes, queues, lag and clocks.

Every look is bounded, and what was found is remembered for a moment: however many people watch, the
servers are asked once.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any, Generic, TypeVar

from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from order_service import limits
from order_service.documents.operations import (
    Check,
    HealthStatus,
    Process,
    Progress,
    ProjectionProgress,
    Projections,
    QueueHealth,
    RelayHealth,
    WorkerHealth,
)
from order_service.documents.operations import Health as Report
from order_service.infra import heartbeat, rabbitmq
from order_service.infra.postgres import query
from order_service.settings import Settings
from projections.monitoring import progress

T = TypeVar("T")
ROLES = ("web", "relay", "consumer", "worker")  # one of each at least
_NOW = text("SELECT clock_timestamp(), current_setting('server_version')")


@dataclass(frozen=True, slots=True)
class Look(Generic[T]):
    """What a server answered. `found`: None where it did not; `error` says of what kind it was."""

    found: T | None
    error: str
    latency_ms: float


@dataclass(frozen=True, slots=True)
class Database:
    ahead_s: float  # its clock, of ours
    version: str
    progress: Projections


@dataclass(frozen=True, slots=True)
class Cache:
    ahead_s: float
    processes: list[dict[str, Any]]


class Health:
    """One a process."""

    def __init__(
        self, settings: Settings, engine: AsyncEngine, redis: Redis, rates: progress.Rates
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._redis = redis
        self._rates = rates
        self._remembered: tuple[float, Report | None] = (float("-inf"), None)
        self._lock = asyncio.Lock()

    async def report(self) -> Report:
        """For `GET /ops/health/`."""
        async with self._lock:
            at, report = self._remembered
            if report is None or time.monotonic() - at > limits.HEALTH_REMEMBERED_S:
                report = await self._look()
                self._remembered = (time.monotonic(), report)
            return report

    async def _look(self) -> Report:
        database, cache, queues = await asyncio.gather(
            _looked(lambda: query(self._engine, self._ask_database)),
            _looked(self._ask_cache),
            _looked(lambda: rabbitmq.queues(self._settings)),
        )
        checks = [
            _server("postgresql", database, "down"),
            _server("redis", cache),
            _server("rabbitmq", queues),
            _clocks(database.found, cache.found),
            *_lags(database.found),
            _processes(cache.found),
        ]
        relay = database.found.progress.relay if database.found else None
        processes = cache.found.processes if cache.found else []
        shown = Process.__struct_fields__
        return Report(
            status=_worst(check.status for check in checks),
            checks=checks,
            processes=[Process(*(one[name] for name in shown)) for one in processes],
            queues=[QueueHealth(**queue) for queue in queues.found or ()],
            workers=_workers(processes),
            relay=relay and RelayHealth(relay.lag_events, relay.lag_s),
            flower_url=flower_url(self._settings),
        )

    async def _ask_database(self, connection: AsyncConnection) -> Database:
        asked_at = time.time()
        now, version = (await connection.execute(_NOW)).one()
        ahead_s = now.timestamp() - (asked_at + time.time()) / 2
        return Database(ahead_s, version, await progress.read(connection, self._rates))

    async def _ask_cache(self) -> Cache:
        asked_at = time.time()
        seconds, microseconds = await self._redis.time()
        ahead_s = seconds + microseconds / 1_000_000 - (asked_at + time.time()) / 2
        return Cache(ahead_s, await heartbeat.read_all(self._redis))


async def _looked(look: Callable[[], Awaitable[T]]) -> Look[T]:
    began = time.monotonic()
    found, error = None, ""
    try:
        async with asyncio.timeout(limits.HEALTH_LOOK_TIMEOUT_S):
            found = await look()
    except Exception as failure:  # of any driver: which it was is what there is to be told
        error = type(failure).__name__
    return Look(found, error, round((time.monotonic() - began) * 1000, 1))


def flower_url(settings: Settings) -> str | None:
    """Where Flower is for somebody on the machine; None: it cannot be started."""
    if not settings.FLOWER_PASSWORD:
        return None
    everywhere = settings.FLOWER_ADDRESS in ("0.0.0.0", "::")  # noqa: S104  # compared, not bound
    host = "127.0.0.1" if everywhere else settings.FLOWER_ADDRESS
    return f"http://{host}:{settings.FLOWER_PORT}/"


# --- checks ---------------------------------------------------------------------------------------


def _check(name: str, status: HealthStatus, detail: str, latency_ms: float | None = None) -> Check:
    return Check(name, status, detail, latency_ms)


def _worst(statuses: Iterable[HealthStatus]) -> HealthStatus:
    found = set(statuses)
    return "down" if "down" in found else "degraded" if "degraded" in found else "ok"


def _server(name: str, look: Look[Any], without: HealthStatus = "degraded") -> Check:
    """`without`: what the service is without it. Commands need the database only."""
    if look.found is None:
        return _check(name, without, f"Does not answer: {look.error}.", look.latency_ms)
    return _check(name, "ok", "Answers.", look.latency_ms)


def _clocks(database: Database | None, cache: Cache | None) -> Check:
    ahead = {
        name: found.ahead_s
        for name, found in (("PostgreSQL", database), ("Redis", cache))
        if found is not None
    }
    said = ", ".join(f"{name} {seconds:+.3f} s" for name, seconds in ahead.items())
    off = any(abs(seconds) > limits.CLOCK_DIFFERENCE_MAX_S for seconds in ahead.values())
    return _check("clocks", "degraded" if off else "ok", f"Of this process: {said or 'unknown'}.")


def _lags(database: Database | None) -> list[Check]:
    if database is None:
        return [_check(name, "down", "Unknown.") for name in ("relay", "read models")]
    relay, models = database.progress.relay, database.progress.projections
    return [
        _check("relay", _lag_status([relay]), _lag(relay.lag_events, relay.lag_s)),
        _check("read models", _models_status(models), _models(models)),
    ]


def _lag_status(found: Iterable[Progress]) -> HealthStatus:
    late = any(one.lag_s > limits.HEALTH_LAG_MAX_S for one in found)
    return "degraded" if late else "ok"


def _lag(events: int, seconds: float) -> str:
    return f"{events:,} events behind, the oldest for {seconds:.1f} s."


def _models_status(models: Iterable[ProjectionProgress]) -> HealthStatus:
    wanting = any(one.parked or one.replay_needed for one in models)
    return "degraded" if wanting else _lag_status(models)


def _models(models: list[ProjectionProgress]) -> str:
    events = max(one.lag_events for one in models)
    seconds = max(one.lag_s for one in models)
    parked = sum(one.parked for one in models)
    stale = [one.name for one in models if one.replay_needed]
    return " ".join(
        (
            _lag(events, seconds),
            *([f"{parked} orders parked."] if parked else ()),
            *([f"Replay needed: {', '.join(stale)}."] if stale else ()),
        )
    )


def _processes(cache: Cache | None) -> Check:
    if cache is None:
        return _check("processes", "degraded", "Redis is away: nobody is seen.")
    missing = [role for role in ROLES if role not in {one["role"] for one in cache.processes}]
    if missing:
        return _check("processes", "degraded", f"Not seen: {', '.join(missing)}.")
    return _check("processes", "ok", f"{len(cache.processes)} seen.")


def _workers(processes: Iterable[Mapping[str, Any]]) -> list[WorkerHealth]:
    """By Celery's worker, whose processes they are."""
    children = (one for one in processes if one["role"] == "worker")
    by_parent = itemgetter("host", "parent")
    return [
        WorkerHealth(
            name=f"celery@{host} ({parent})",
            active=sum(one["active"] for one in of),
            processed=sum(one["processed"] for one in of),
        )
        for (host, parent), found in groupby(sorted(children, key=by_parent), by_parent)
        for of in [list(found)]
    ]
