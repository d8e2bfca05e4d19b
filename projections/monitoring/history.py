"""The last hour of the whole service in steps of ten seconds: what all web processes did, and the
lag of the read side.

At the end of each step, each process adds to Redis what it has counted since the previous step, so
the history costs no work per request. Steps follow the clock and are the same for all processes. A
step that cannot be written to Redis is lost: the history is for display, and an operator's
Prometheus stores what must be kept.
"""

import asyncio
import logging
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import pairwise

from prometheus_client.registry import Collector
from prometheus_client.samples import Sample
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service import limits
from order_service.documents.operations import History as HistoryReport
from order_service.documents.operations import HistorySeries
from order_service.documents.shape import json_time
from order_service.infra.postgres import FAILURES, query
from order_service.infra.redis import Redis, RedisError, RedisGate, RedisUnavailable
from order_service.telemetry.metrics import APPENDS, HTTP_SECONDS, READS, SECONDS
from projections.monitoring import status
from projections.monitoring.progress import Rates

logger = logging.getLogger(__name__)

Step = Mapping[str, int]  # the recorded values of one step; empty: no process recorded it
_STEP_S = limits.HISTORY_STEP_S


class History:
    """Records the steps of one web process, and reads those of all."""

    def __init__(self, engine: AsyncEngine, redis: Redis, rates: Rates) -> None:
        self._engine = engine
        self._redis = redis
        self._gate = RedisGate(redis)
        self._rates = rates
        self._last_totals = totals()

    async def record_for_ever(self) -> None:
        """The background task; ends by cancellation only."""
        await self._read_positions()
        while True:
            await asyncio.sleep(_STEP_S - time.time() % _STEP_S)
            try:
                await self.record(round(time.time() / _STEP_S) - 1)
            except Exception:  # an error in one step must not end the task
                logger.exception("Cannot record a step of the history: the step is lost.")

    async def record(self, number: int) -> None:
        """This step includes all that was counted since the previous call."""
        now, before = totals(), self._last_totals
        self._last_totals = now
        positions = await self._read_positions()
        with suppress(RedisUnavailable):
            await self._gate.run(lambda: self._write(number, now - before, positions))

    async def _write(self, number: int, counts: Step, positions: Step) -> None:
        key = _key(number)
        pipeline = self._redis.pipeline(transaction=False)
        for name, count in counts.items():
            pipeline.hincrby(key, name, count)
        for name, value in (("seen", 1), *positions.items()):
            pipeline.hset(key, name, value)
        pipeline.expire(key, limits.HISTORY_TTL_S)
        await pipeline.execute()

    async def _read_positions(self) -> Step:
        """The log's head and the read models' lag; empty if PostgreSQL does not answer."""
        try:
            rows = await query(self._engine, status.read)
        except (*FAILURES, TimeoutError):
            return {}
        self._rates.add(rows)
        return {
            "head": sum(row["head"] for row in rows if row["name"] == "relay"),
            "lag_ms": max(round(row["lag_s"] * 1_000) for row in rows if row["name"] != "relay"),
        }

    async def read(self, minutes: int) -> HistoryReport:
        """The response of `GET /ops/history/`, up to the last completed step."""
        last = int(time.time() // _STEP_S) - 1
        first = last + 1 - minutes * 60 // _STEP_S
        steps = await self._read(range(first - 1, last + 1))  # one more, to count the events since
        return HistoryReport(
            _STEP_S,
            json_time(datetime.fromtimestamp(first * _STEP_S, UTC)),
            json_time(datetime.fromtimestamp((last + 1) * _STEP_S, UTC)),
            series(steps),
        )

    async def _read(self, numbers: Sequence[int]) -> list[Step]:
        pipeline = self._redis.pipeline(transaction=False)
        for number in numbers:
            pipeline.hgetall(_key(number))
        try:
            async with asyncio.timeout(limits.HEALTH_CHECK_TIMEOUT_S):
                found = await pipeline.execute()
        except (RedisError, OSError, TimeoutError):
            return [{} for _ in numbers]
        return [{name.decode(): int(value) for name, value in one.items()} for one in found]


def _key(number: int) -> str:
    return f"history:{number}"


def totals() -> Counter[str]:
    """What this process has counted since it started."""
    counts: Counter[str] = Counter()
    so_far = 0  # a bucket's count in Prometheus includes those of the buckets below it
    for one in _samples(HTTP_SECONDS.parent, "_bucket"):
        bucket = bisect_left(SECONDS, float(one.labels["le"]))
        requests = int(one.value) - (so_far if bucket else 0)
        so_far = int(one.value)
        counts[_bucket(bucket)] += requests
        counts["requests"] += requests
        counts["errors"] += requests if int(one.labels["status"]) >= 500 else 0
    for one in _samples(READS.parent, "_total"):
        counts["reads"] += int(one.value)
        counts["hits"] += int(one.value) if one.labels["cache"] == "hit" else 0
    for one in _samples(APPENDS.parent, "_total"):
        counts["commands"] += int(one.value) if one.labels["outcome"] == "stored" else 0
    return counts


def _samples(metric: Collector, suffix: str) -> list[Sample]:
    return [one for of in metric.collect() for one in of.samples if one.name.endswith(suffix)]


def _bucket(number: int) -> str:
    return f"le{number}"


# --- from steps to series -------------------------------------------------------------------------


def series(steps: Sequence[Step]) -> HistorySeries:
    """The series of all steps but the first, which serves only to count the second's events."""
    shown = steps[1:]
    return HistorySeries(
        requests=[_count(step, "requests") for step in shown],
        errors=[_count(step, "errors") for step in shown],
        p50_ms=[percentile_ms(step, 0.50) for step in shown],
        p99_ms=[percentile_ms(step, 0.99) for step in shown],
        commands=[_count(step, "commands") for step in shown],
        cache_hit_ratio=[_ratio(step) for step in shown],
        lag_s=[step["lag_ms"] / 1_000 if "lag_ms" in step else None for step in shown],
        events=[_events(before, step) for before, step in pairwise(steps)],
    )


def _count(step: Step, name: str) -> int | None:
    return step.get(name, 0) if step else None


def _ratio(step: Step) -> float | None:
    reads = step.get("reads", 0)
    return round(step.get("hits", 0) / reads, 4) if reads else None


def _events(before: Step, step: Step) -> int | None:
    if "head" not in before or "head" not in step:
        return None
    return max(0, step["head"] - before["head"])


def percentile_ms(step: Step, part: float) -> float | None:
    """The time within which that part of the requests (0 to 1) was answered, interpolated between
    the bounds of a bucket. None: there were no requests."""
    counts = [step.get(_bucket(i), 0) for i in range(len(SECONDS) + 1)]
    remaining = part * sum(counts)
    for count, bounds in zip(counts, pairwise((0.0, *SECONDS, SECONDS[-1])), strict=True):
        if count and remaining <= count:
            low, high = bounds
            return round((low + (high - low) * remaining / count) * 1_000, 2)
        remaining -= count
    return None
