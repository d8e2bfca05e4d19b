"""How the whole service is: its servers, processes, queues, lag and clocks.

Every look is bounded, and what was found is remembered for a moment: however many people watch, the
servers are read once.
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
from order_service.documents.operations import Check as ShownCheck
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
from projections.monitoring.checks.check import Check, found_by
from projections.monitoring.checks.registry import HEALTH
from projections.monitoring.checks.servers import Answer, Clock

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Look(Generic[T]):
    """`found`: None where the server did not answer."""

    answer: Answer
    found: T | None


class Health:
    """One a process."""

    def __init__(self, settings: Settings, engine: AsyncEngine, redis: Redis) -> None:
        self._settings = settings
        self._engine = engine
        self._redis = redis
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
            _looked("postgresql", lambda: query(self._engine, _read_database)),
            _looked("redis", self._read_cache),
            _looked("rabbitmq", lambda: rabbitmq.queues(self._settings)),
        )
        subjects: dict[str, Any] = {
            f"{one.answer.server} answer": one.answer for one in (database, cache, queues)
        }
        subjects["clocks"] = [one.found[0] for one in (database, cache) if one.found]
        rows = database.found[1] if database.found else []
        processes = cache.found[1] if cache.found else []
        if database.found:
            subjects["checkpoints"] = rows
        if cache.found:
            subjects["processes"] = processes
        checks = [await _shown(check, subjects) for check in HEALTH]
        return Report(
            status=_worst(check.status for check in checks),
            checks=checks,
            processes=[
                Process(*(one[name] for name in Process.__struct_fields__)) for one in processes
            ],
            queues=[QueueHealth(**queue) for queue in queues.found or ()],
            workers=_workers(processes),
            relay=_relay(rows) if rows else None,
            flower_url=flower_url(self._settings),
        )

    async def _read_cache(self) -> tuple[Clock, list[dict[str, Any]]]:
        return await redis.read_clock(self._redis), await heartbeat.read_all(self._redis)


async def _read_database(connection: AsyncConnection) -> tuple[Clock, status.Rows]:
    return await postgres.read_clock(connection), await status.read(connection)


async def _looked(server: str, look: Callable[[], Awaitable[T]]) -> Look[T]:
    began = time.monotonic()
    found, error = None, ""
    try:
        async with asyncio.timeout(limits.HEALTH_CHECK_TIMEOUT_S):
            found = await look()
    except Exception as failure:  # of any driver: its kind is what there is to say
        error = type(failure).__name__
    return Look(Answer(server, error, round((time.monotonic() - began) * 1000, 1)), found)


def flower_url(settings: Settings) -> str | None:
    """Where Flower is for somebody on the machine; None: it cannot be started."""
    if not settings.FLOWER_PASSWORD:
        return None
    everywhere = settings.FLOWER_ADDRESS in ("0.0.0.0", "::")  # noqa: S104  # compared, not bound
    host = "127.0.0.1" if everywhere else settings.FLOWER_ADDRESS
    return f"http://{host}:{settings.FLOWER_PORT}/"


async def _shown(check: Check, subjects: Mapping[str, Any]) -> ShownCheck:
    subject = subjects.get(check.subject)
    found = await found_by([check], subjects)
    state: HealthStatus = "ok"
    if not found or any(one.state == "wrong" for one in found):
        is_unknown = subject is None or isinstance(subject, Answer)
        state = check.health_unknown if is_unknown else "degraded"
    return ShownCheck(
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
