"""The health of the whole service: servers, processes, queues, lag and clocks.

Every server is read with a timeout, and a report is kept for HEALTH_REMEMBERED_S: so many clients
that poll cause one read only.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any, Generic, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from order_service import limits
from order_service.documents.operations import Check as HealthCheck
from order_service.documents.operations import Health as Report
from order_service.documents.operations import (
    HealthStatus,
    Process,
    QueueHealth,
    RelayHealth,
    WorkerHealth,
)
from order_service.infra import heartbeat, rabbitmq
from order_service.infra.postgres import query
from order_service.infra.redis import Redis
from order_service.settings import Settings
from projections.monitoring import status
from projections.monitoring.checks import lag, postgres, redis
from projections.monitoring.checks.check import Check, run_checks
from projections.monitoring.checks.registry import HEALTH
from projections.monitoring.checks.servers import Answer, Clock

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reading(Generic[T]):
    """What was read from a server. `value`: None if the server did not answer."""

    answer: Answer
    value: T | None


class Health:
    """The health reports of one web process."""

    def __init__(self, settings: Settings, engine: AsyncEngine, redis: Redis) -> None:
        self._settings = settings
        self._engine = engine
        self._redis = redis
        self._remembered: tuple[float, Report | None] = (float("-inf"), None)
        self._lock = asyncio.Lock()

    async def report(self) -> Report:
        """The response of `GET /ops/health/`."""
        async with self._lock:
            at, report = self._remembered
            if report is None or time.monotonic() - at > limits.HEALTH_REMEMBERED_S:
                report = await self._read()
                self._remembered = (time.monotonic(), report)
            return report

    async def _read(self) -> Report:
        database, cache, queues = await asyncio.gather(
            _timed("postgresql", lambda: query(self._engine, _read_database)),
            _timed("redis", self._read_cache),
            _timed("rabbitmq", lambda: rabbitmq.queues(self._settings)),
        )
        subjects: dict[str, Any] = {
            f"{one.answer.server} answer": one.answer for one in (database, cache, queues)
        }
        subjects["clocks"] = [one.value[0] for one in (database, cache) if one.value]
        rows = database.value[1] if database.value else []
        processes = cache.value[1] if cache.value else []
        if database.value:
            subjects["checkpoints"] = rows
        if cache.value:
            subjects["processes"] = processes
        checks = [await _run_check(check, subjects) for check in HEALTH]
        return Report(
            status=_worst(check.status for check in checks),
            checks=checks,
            processes=[
                Process(*(one[name] for name in Process.__struct_fields__)) for one in processes
            ],
            queues=[QueueHealth(**queue) for queue in queues.value or ()],
            workers=_workers(processes),
            relay=_relay(rows) if rows else None,
            flower_url=flower_url(self._settings),
        )

    async def _read_cache(self) -> tuple[Clock, list[dict[str, Any]]]:
        return await redis.read_clock(self._redis), await heartbeat.read_all(self._redis)


async def _read_database(connection: AsyncConnection) -> tuple[Clock, status.Rows]:
    return await postgres.read_clock(connection), await status.read(connection)


async def _timed(server: str, read: Callable[[], Awaitable[T]]) -> Reading[T]:
    began = time.monotonic()
    value, error = None, ""
    try:
        async with asyncio.timeout(limits.HEALTH_CHECK_TIMEOUT_S):
            value = await read()
    except Exception as failure:  # of any driver: the report names its type only
        error = type(failure).__name__
    return Reading(Answer(server, error, round((time.monotonic() - began) * 1000, 1)), value)


def flower_url(settings: Settings) -> str | None:
    """Flower's address as seen from this machine; None: Flower cannot start without a password."""
    if not settings.FLOWER_PASSWORD:
        return None
    everywhere = settings.FLOWER_ADDRESS in ("0.0.0.0", "::")  # noqa: S104  # compared, not bound
    host = "127.0.0.1" if everywhere else settings.FLOWER_ADDRESS
    return f"http://{host}:{settings.FLOWER_PORT}/"


async def _run_check(check: Check, subjects: Mapping[str, Any]) -> HealthCheck:
    subject = subjects.get(check.subject)
    found = await run_checks([check], subjects)
    state: HealthStatus = "ok"
    if not found or any(one.state == "wrong" for one in found):
        is_unknown = subject is None or isinstance(subject, Answer)
        state = check.health_unknown if is_unknown else "degraded"
    return HealthCheck(
        name=check.health,
        status=state,
        detail=" ".join(one.found for one in found) or "Unknown.",
        latency_ms=subject.latency_ms if isinstance(subject, Answer) else None,
    )


def _worst(statuses: Iterable[HealthStatus]) -> HealthStatus:
    found = set(statuses)
    return "down" if "down" in found else "degraded" if "degraded" in found else "ok"


def _relay(rows: lag.Rows) -> RelayHealth:
    events, seconds = lag.lag_of([row for row in rows if row["name"] == "relay"])
    return RelayHealth(events, seconds)


def _workers(processes: Iterable[Mapping[str, Any]]) -> list[WorkerHealth]:
    """One entry for each Celery worker, with the sums over its processes."""
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
