"""Measures the lag of reads behind writes, under a load at a fixed rate, and finds the highest rate
that the whole pipeline keeps up with.

A sampler is one more client: it places an order, reads it (so that Redis holds it), sets it PAID,
and polls the read model's table and Redis every millisecond for the version in the answer. Its
requests are additional to the load.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from uuid import UUID

import asyncpg
import httpx

from order_service.cache.entries import Slot, Slots, decode_order
from order_service.infra.postgres import read_incarnation
from order_service.log.reading import partition_of
from tests.support.servers.stack import database_arguments, say
from tests.tools.benchmarks.cases import OURS, Prepared, post
from tests.tools.benchmarks.figures import percentile
from tests.tools.benchmarks.service import SESSION, Customer, Service
from tests.tools.benchmarks.wrk import Answers

SAMPLERS = 2
OVERLOADED = 503
POLL_S = 0.001
PAUSE_S = 0.02  # of a sampler, after each order
VISIBLE_LIMIT_S = 60.0
# The pipeline keeps up within these limits.
LAG_P99_MS_MAX = 1_000.0
DRAIN_S_MAX = 1.0
RATE_SHARE_MIN = 0.97  # of the load's rate
# The search halves the interval between the highest rate that kept up and the lowest that did not.
TRIAL_S = 6.0
TRIALS = 5
LASTING_SHARE = 0.85  # of the rate of a short trial; at the full rate 0 of 3 rounds of 10 s kept up
_VERSION = """
SELECT v.version FROM read_models.order_view v
JOIN read_models m ON m.name = 'order_view' AND m.live_generation = v.generation
WHERE v.partition = $1 AND v.order_id = $2
"""


@dataclass
class Lags:
    """Milliseconds from the answer until the version is in the store."""

    view_ms: list[float] = field(default_factory=list)
    redis_ms: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Trial:
    """A load at a fixed rate. `behind`: events not yet projected or published at its end;
    `drain_s`: how long those took.
    """

    rate: float
    answers: Answers
    lags: Lags
    behind: int
    drain_s: float

    @property
    def keeps_up(self) -> bool:
        return (
            self.answers.rate >= self.rate * RATE_SHARE_MIN
            and percentile(self.lags.view_ms, 99) <= LAG_P99_MS_MAX
            and self.drain_s <= DRAIN_S_MAX
        )

    def __str__(self) -> str:
        p50, p99 = (percentile(self.lags.view_ms, p) for p in (50, 99))
        verdict = "keeps up" if self.keeps_up else "falls behind"
        return (
            f"{self.answers.rate:,.0f} of {self.rate:,.0f} orders/s, lag p50 {p50:.0f} ms, "
            f"p99 {p99:.0f} ms, {self.behind} events behind at the end: {verdict}"
        )


async def trial(prepared: Prepared, rate: float, seconds: float) -> Trial:
    """Places orders at `rate` for `seconds` and samples the lags."""
    service, lags, ended = prepared.service, Lags(), asyncio.Event()
    load = replace(await post(prepared, OURS), rate=rate)
    await service.drain()
    slots = Slots(str(await read_incarnation(service.database)))
    async with asyncio.TaskGroup() as group:
        for number in range(SAMPLERS):
            group.create_task(_sample(service, slots, number, lags, ended))
        answers = await service.wrk.run(service.stack.url, load, seconds)
        ended.set()
        behind = await service.behind()
        drain_s = await service.drain()
    found = Trial(rate, answers, lags, behind, drain_s)
    say(f"  {found}")
    return found


async def highest_rate(prepared: Prepared) -> float:
    """The orders a second that the pipeline can keep up with for long: LASTING_SHARE of the rate
    of a short trial.
    """
    service = prepared.service
    load = await post(prepared, OURS)
    await service.drain()
    too_high = (await service.wrk.run(service.stack.url, load, prepared.seconds)).rate
    kept = 0.0
    for number in range(TRIALS):
        # The first trial is at the rate of a load without limit: the pipeline may keep up even
        # then.
        rate = too_high if number == 0 else (kept + too_high) / 2
        if (await trial(prepared, rate, TRIAL_S)).keeps_up:
            kept = rate
            if number == 0:
                break
        else:
            too_high = rate
    return (kept or too_high) * LASTING_SHARE


# --- the sampler ----------------------------------------------------------------------------------


async def _sample(
    service: Service, slots: Slots, number: int, lags: Lags, ended: asyncio.Event
) -> None:
    database = await asyncpg.connect(**database_arguments(service.settings), **SESSION)
    try:
        async with service.stack.client() as web:
            while not ended.is_set():
                try:
                    customer = service.customers[number]
                    await _sample_once(service, slots, web, database, customer, lags)
                except httpx.HTTPStatusError as error:
                    if error.response.status_code != OVERLOADED:
                        raise
                await asyncio.sleep(PAUSE_S)
    finally:
        await database.close()


async def _sample_once(
    service: Service,
    slots: Slots,
    web: httpx.AsyncClient,
    database: asyncpg.Connection,
    customer: Customer,
    lags: Lags,
) -> None:
    placed = await service.place(customer)
    order_id, answered_at = UUID(placed.json()["id"]), time.monotonic()
    await _note(lags.view_ms, answered_at, _in_view(database, order_id, 1))
    path = f"/orders/{order_id}/"
    (await web.get(path, headers=customer.headers)).raise_for_status()
    changed = await web.patch(path, json={"status": "PAID"}, headers=service.staff)
    answered_at = time.monotonic()
    version = changed.raise_for_status().json()["version"]
    await asyncio.gather(
        _note(lags.view_ms, answered_at, _in_view(database, order_id, version)),
        _note(lags.redis_ms, answered_at, _in_redis(service, slots.order(order_id), version)),
    )


async def _note(
    lags_ms: list[float], answered_at: float, shown: Callable[[], Awaitable[bool]]
) -> None:
    """Adds the lag; one above VISIBLE_LIMIT_S counts as that limit."""
    with suppress(TimeoutError):
        async with asyncio.timeout(VISIBLE_LIMIT_S):
            while not await shown():
                await asyncio.sleep(POLL_S)
    lags_ms.append((time.monotonic() - answered_at) * 1000)


def _in_view(
    database: asyncpg.Connection, order_id: UUID, version: int
) -> Callable[[], Awaitable[bool]]:
    partition: int | None = None

    async def shown() -> bool:
        nonlocal partition
        if partition is None:
            partitions = await database.fetchval("SELECT count(*) FROM partitions")
            partition = partition_of(order_id, partitions)
        return (await database.fetchval(_VERSION, partition, order_id) or 0) >= version

    return shown


def _in_redis(service: Service, slot: Slot, version: int) -> Callable[[], Awaitable[bool]]:
    """A missing entry counts as visible: a reader then reads PostgreSQL."""

    async def shown() -> bool:
        value = await service.redis.get(slot.entry)
        return not isinstance(value, bytes) or decode_order(slot, value).version >= version

    return shown
