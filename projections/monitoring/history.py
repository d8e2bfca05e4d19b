"""The last hour of the whole service in steps of ten seconds: what all web processes did, and how
far the read side was behind.

Each process adds to Redis, at the end of each step, what it has counted since the last one: so
requests cost nothing for it. Steps are those of the clock, the same for all. A step that Redis
could not be told is lost, and nobody waits for it: this is for people who look, and an operator's
Prometheus keeps what must be kept.
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
from order_service.infra.redis import Redis, RedisAway, RedisError, RedisGate
from order_service.telemetry.metrics import APPENDS, HTTP_SECONDS, READS, SECONDS
from projections.monitoring import status
from projections.monitoring.progress import Rates

logger = logging.getLogger(__name__)

Step = Mapping[str, int]  # what is known of one; empty: nothing was seen
_STEP_S = limits.HISTORY_STEP_S


class History:
    """One a web process."""

    def __init__(self, engine: AsyncEngine, redis: Redis, rates: Rates) -> None:
        self._engine = engine
        self._redis = redis
        self._gate = RedisGate(redis)
        self._rates = rates
        self._told = counted()

    async def note_for_ever(self) -> None:
        """The background task; ends by cancellation only."""
        await self._look()
        while True:
            await asyncio.sleep(_STEP_S - time.time() % _STEP_S)
            try:
                await self.note(round(time.time() / _STEP_S) - 1)
            except Exception:  # a mistake here must not end the history for good
                logger.exception("A step of the history is lost.")

    async def note(self, number: int) -> None:
        """All that was counted since the last time belongs to this step."""
        now, before = counted(), self._told
        self._told = now
        found = await self._look()
        with suppress(RedisAway):
            await self._gate.run(lambda: self._tell(number, now - before, found))

    async def _tell(self, number: int, counts: Step, found: Step) -> None:
        key = _key(number)
        pipeline = self._redis.pipeline(transaction=False)
        for name, count in counts.items():
            pipeline.hincrby(key, name, count)
        for name, value in (("seen", 1), *found.items()):
            pipeline.hset(key, name, value)
        pipeline.expire(key, limits.HISTORY_TTL_S)
        await pipeline.execute()

    async def _look(self) -> Step:
        """Where log and read models stand."""
        try:
            rows = await query(self._engine, status.read)
        except (*FAILURES, TimeoutError):
            return {}
        self._rates.note(rows)
        return {
            "head": sum(row["head"] for row in rows if row["name"] == "relay"),
            "lag_ms": max(round(row["lag_s"] * 1_000) for row in rows if row["name"] != "relay"),
        }

    async def read(self, minutes: int) -> HistoryReport:
        """For `GET /ops/history/`: up to the last step that has ended."""
        last = int(time.time() // _STEP_S) - 1
        first = last + 1 - minutes * 60 // _STEP_S
        steps = await self._read(range(first - 1, last + 1))  # one more, for the events since
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


def counted() -> Counter[str]:
    """What this process has done since it began."""
    counts: Counter[str] = Counter()
    so_far = 0  # what Prometheus counts in a bucket includes those below it
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


# --- what they say --------------------------------------------------------------------------------


def series(steps: Sequence[Step]) -> HistorySeries:
    """Of all steps but the first, which only says where the log stood before."""
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
    """The time in which that part of the requests was answered, as if they were evenly spread
    between two bounds. None: there were no requests."""
    counts = [step.get(_bucket(i), 0) for i in range(len(SECONDS) + 1)]
    left = part * sum(counts)
    for count, bounds in zip(counts, pairwise((0.0, *SECONDS, SECONDS[-1])), strict=True):
        if count and left <= count:
            low, high = bounds
            return round((low + (high - low) * left / count) * 1_000, 2)
        left -= count
    return None
