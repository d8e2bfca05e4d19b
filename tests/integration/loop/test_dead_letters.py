"""Events that a read model cannot apply: their streams are parked, retried or skipped: P8."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.cache.order_cache import OrderCache
from order_service.domain.events import OrderPlaced
from order_service.limits import SUSPECT_TRIES_MAX
from order_service.settings import Settings
from projections.loop.advance import advance
from projections.loop.step import TooManyParkings
from projections.operators import dead_letters
from projections.read_models.registry import PROJECTIONS
from tests.support.log.examples import CAPTURED, PAID, PEN, PLACED, USER
from tests.support.log.given_log import POISON, given_order, order_id_in
from tests.support.read_side.read_side import (
    CUSTOMERS,
    ORDERS,
    POSITIONS,
    advance_all,
    rows,
    run,
    verified,
)

pytestmark = pytest.mark.usefixtures("patient")
ROOT = Path(__file__).parents[3]
OTHER_USER = UUID("00000000-0000-7000-8000-00000000000b")
PARKED = "SELECT name, stream_id, version, last_version FROM dead_letters ORDER BY name"


# --- poison ---------------------------------------------------------------------------------------


async def test_an_unknown_event_parks_its_stream_and_no_other(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    bad = await given_order(web_engine, PLACED, CAPTURED, POISON, PAID)
    good = await given_order(web_engine, PLACED)

    await advance_all(projector_engine, cache)

    assert await rows(web_engine, PARKED) == [(name, bad, 3, 2) for name in sorted(PROJECTIONS)]
    assert set(await rows(web_engine, ORDERS)) == {(bad, "PENDING", 2), (good, "PENDING", 1)}
    assert await rows(web_engine, CUSTOMERS) == [(USER, "USD", 2, 2498)]
    assert await rows(web_engine, POSITIONS) == [(5,), (0,), (0,), (0,)]


async def test_later_events_of_a_parked_stream_wait_with_it(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    bad = await given_order(web_engine, PLACED, POISON)
    await advance_all(projector_engine, cache)

    await given_order(web_engine, CAPTURED, stream_id=bad, expected=2)
    await advance_all(projector_engine, cache)

    assert await rows(web_engine, ORDERS) == [(bad, "PENDING", 1)]
    assert await rows(web_engine, POSITIONS) == [(3,), (0,), (0,), (0,)]


async def test_a_row_that_the_database_refuses_parks_its_stream_and_no_other(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    placed_by_other = OrderPlaced(OTHER_USER, "USD", (PEN,), 0, 0, 1998)
    await run(
        projector_engine,
        f"ALTER TABLE read_models.customer_summary_1 ADD CHECK (user_id <> '{OTHER_USER}')",
    )
    good = await given_order(web_engine, PLACED, CAPTURED)
    bad = await given_order(web_engine, placed_by_other, CAPTURED)

    await advance_all(projector_engine, cache)

    assert await rows(web_engine, PARKED) == [("customer_summary", bad, 1, 0)]
    assert await rows(web_engine, CUSTOMERS) == [(USER, "USD", 1, 2498)]
    assert {row[0] for row in await rows(web_engine, ORDERS)} == {good, bad}


async def test_a_flood_of_parkings_stops_the_partition(
    web_engine: AsyncEngine,
    projector_engine: AsyncEngine,
    cache: OrderCache,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("order_service.limits.PARKINGS_PER_MINUTE_MAX", 3)
    for _ in range(4):
        await given_order(web_engine, PLACED, POISON)

    with pytest.raises(TooManyParkings, match="Cannot project order_view in partition 0"):
        await advance(projector_engine, cache, "order_view", 0)

    assert await rows(web_engine, POSITIONS) == [(0,), (0,), (0,), (0,)]
    assert await rows(web_engine, PARKED) == []


# --- events that kill -----------------------------------------------------------------------------

WORKER = """
import asyncio, os, signal, sys
from dataclasses import replace
from order_service.cache.order_cache import OrderCache
from order_service.infra.postgres import PROJECTOR, create_engine
from order_service.infra.redis import connect
from order_service.settings import Settings
from projections.loop.advance import advance
from projections.read_models.registry import PROJECTIONS

def deadly(change):
    if str(change[1].id) == sys.argv[1]:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(change)

real = PROJECTIONS["order_view"].rows
PROJECTIONS["order_view"] = replace(PROJECTIONS["order_view"], rows=deadly)

async def main():
    settings = Settings()
    engine = create_engine(settings, PROJECTOR, application_name="test-worker")
    redis = connect(settings)
    cache = OrderCache(redis, 300, "")
    while await advance(engine, cache, "order_view", 0, redelivered=sys.argv[2] == "redelivered"):
        pass
    await redis.aclose()
    await engine.dispose()

asyncio.run(main())
"""


def work(settings: Settings, deadly: UUID, delivery: str) -> int:
    """Runs a separate worker process; returns its exit code."""
    environment = {
        name: str(value) for name, value in settings.model_dump(mode="json").items() if value
    }
    environment |= {"ALLOWED_ORIGINS_RAW": settings.ALLOWED_ORIGINS_RAW, "PATH": ""}
    environment["SELF_SERVICE_TRANSITIONS"] = ""
    command = [sys.executable, "-c", WORKER, str(deadly), delivery]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True).returncode


async def test_an_event_that_kills_its_worker_is_parked_after_three_tries(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache, settings: Settings
) -> None:
    good = await given_order(web_engine, PLACED)
    deadly = await given_order(web_engine, PLACED)
    last = await given_order(web_engine, PLACED)

    exits = [work(settings, deadly, "first")]
    exits += [work(settings, deadly, "redelivered") for _ in range(4)]

    assert exits == [-signal.SIGKILL] * 4 + [0]
    assert await rows(web_engine, PARKED) == [("order_view", deadly, 1, 0)]
    assert {row[0] for row in await rows(web_engine, ORDERS)} == {good, last}
    suspects = "SELECT DISTINCT suspect_position, suspect_tries FROM checkpoints"
    assert await rows(web_engine, suspects) == [(None, 0)]


async def test_a_redelivered_task_for_harmless_events_leaves_no_suspect(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    await given_order(web_engine, PLACED, CAPTURED, PAID)

    assert await advance(projector_engine, cache, "order_view", 0, redelivered=True) is False

    suspects = "SELECT DISTINCT suspect_position, suspect_tries FROM checkpoints"
    assert await rows(web_engine, suspects) == [(None, 0)]
    assert await rows(web_engine, POSITIONS) == [(3,), (0,), (0,), (0,)]


@pytest.fixture
def no_pause(patient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed partition is tried again at once."""
    monkeypatch.setattr("order_service.limits.ADVANCE_BACKOFF_S", (0.0,))


@pytest.mark.usefixtures("no_pause")
async def test_an_event_is_not_parked_because_its_read_model_cannot_be_written(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    """F17, F42: however often its task is redelivered, since no worker has died of the event."""
    order_id = await given_order(web_engine, PLACED)
    await run(projector_engine, "ALTER TABLE read_models.order_view_1 RENAME TO away")
    for _ in range(SUSPECT_TRIES_MAX + 2):
        with pytest.raises(ProgrammingError):
            await advance(projector_engine, cache, "order_view", 0, redelivered=True)
    await run(projector_engine, "ALTER TABLE read_models.away RENAME TO order_view_1")

    await advance(projector_engine, cache, "order_view", 0, redelivered=True)

    assert await rows(web_engine, PARKED) == []
    assert await rows(web_engine, ORDERS) == [(order_id, "PENDING", 1)]


@pytest.mark.usefixtures("no_pause")
async def test_workers_at_the_same_event_each_take_back_only_their_own_try(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    await given_order(web_engine, PLACED)
    await run(projector_engine, "ALTER TABLE read_models.order_view_1 RENAME TO away")

    for _ in range(5):
        workers = (
            advance(projector_engine, cache, "order_view", 0, redelivered=True) for _ in range(4)
        )
        await asyncio.gather(*workers, return_exceptions=True)

    assert await rows(web_engine, PARKED) == []
    tries = "SELECT sum(suspect_tries) FROM checkpoints WHERE name = 'order_view'"
    assert await rows(web_engine, tries) == [(0,)]


# --- retry and skip -------------------------------------------------------------------------------


async def test_a_retry_after_the_cause_is_gone_applies_everything_and_unparks(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    await run(
        projector_engine,
        "ALTER TABLE read_models.customer_summary_1 ADD CONSTRAINT small CHECK (spent_minor < 9)",
    )
    order_id = await given_order(web_engine, PLACED, CAPTURED, PAID)
    await advance_all(projector_engine, cache)
    assert await rows(web_engine, PARKED) == [("customer_summary", order_id, 2, 1)]
    await run(projector_engine, "ALTER TABLE read_models.customer_summary_1 DROP CONSTRAINT small")

    projection = PROJECTIONS["customer_summary"]
    assert await dead_letters.retry(projector_engine, cache, projection, order_id) is True

    assert await rows(web_engine, PARKED) == []
    assert await rows(web_engine, CUSTOMERS) == [(USER, "USD", 1, 2498)]
    assert (await verified(projector_engine)).agree


async def test_a_retry_that_fails_again_leaves_the_stream_parked(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    bad = await given_order(web_engine, PLACED, POISON)
    await advance_all(projector_engine, cache)

    retried = await dead_letters.retry(projector_engine, cache, PROJECTIONS["order_view"], bad)

    assert retried is False
    assert ("order_view", bad, 2, 1) in await rows(web_engine, PARKED)


async def test_a_skipped_event_is_left_out_and_the_stream_is_unparked(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    bad = await given_order(web_engine, PLACED, POISON, CAPTURED, PAID)
    await advance_all(projector_engine, cache)

    for projection in PROJECTIONS.values():
        assert await dead_letters.skip(projector_engine, cache, projection, bad, "never meant")

    assert await rows(web_engine, PARKED) == []
    assert await rows(web_engine, ORDERS) == [(bad, "PAID", 4)]
    assert await rows(web_engine, CUSTOMERS) == [(USER, "USD", 1, 2498)]
    await given_order(web_engine, PLACED, partition=0)
    await advance_all(projector_engine, cache)
    assert (await verified(projector_engine)).agree


async def test_only_a_parked_stream_can_be_retried(
    projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    with pytest.raises(dead_letters.NotParked, match="is not parked in order_view"):
        await dead_letters.retry(projector_engine, cache, PROJECTIONS["order_view"], order_id_in(0))
