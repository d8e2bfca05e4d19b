"""Operators read and change the read side over HTTP; real workers make the changes."""

import time
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from aio_pika.abc import AbstractChannel
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service import limits
from order_service.infra.redis import connect
from order_service.relay import relay
from order_service.settings import Settings
from projections.monitoring.history import History
from projections.monitoring.progress import Rates
from projections.read_models.registry import PROJECTIONS
from projections.replay import state as replay_state
from projections.worker import consumer
from tests.support.http.accounts import Account
from tests.support.log.examples import CAPTURED, PAID, PLACED
from tests.support.log.given_log import POISON
from tests.support.read_side.read_side import ReadSide, rows
from tests.support.servers.pipeline import running
from tests.support.servers.worker_probe import PATIENCE_S
from tests.support.servers.workers import working
from tests.support.waiting import WAIT_S, eventually

LETTERS, PROJECTED = "/ops/dead-letters/", "/ops/projections/"
KEPT = (
    "SELECT kind, projection, stream_id, reason, actor, outcome FROM operator_requests "
    "WHERE stream_id IS NOT NULL ORDER BY requested_at"
)


@pytest.fixture
def desk(web: httpx.AsyncClient, staff: Account) -> "Desk":
    return Desk(web, staff)


class Desk:
    """An operator's HTTP client."""

    def __init__(self, web: httpx.AsyncClient, staff: Account) -> None:
        self._web = web
        self.staff = staff

    async def get(self, path: str) -> Any:
        answer = await self._web.get(path, headers=self.staff.headers)
        return answer.raise_for_status().json()

    async def post(self, path: str, body: Any = None) -> tuple[int, Any]:
        answer = await self._web.post(path, headers=self.staff.headers, json=body, timeout=WAIT_S)
        return answer.status_code, answer.json()

    async def projection(self, name: str) -> Any:
        found = await self.get(PROJECTED)
        return next(one for one in found["projections"] if one["name"] == name)

    async def rebuilt(self, name: str, state: str) -> Any:
        """The rebuild, once it has reached that state."""
        found: Any = None

        async def is_in_state() -> bool:
            nonlocal found
            found = (await self.projection(name))["rebuild"]
            return bool(found["state"] == state)

        await eventually(is_in_state)
        return found


@pytest.fixture
async def running_service(
    settings: Settings,
    rabbitmq: AbstractChannel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Path]:
    """Relay, consumer and a worker run. Yields the folder that arms the worker's failpoints."""
    monkeypatch.setenv("FAILPOINTS", str(tmp_path))
    monkeypatch.setenv("FAILPOINTS_IN_TESTS", "yes")
    monkeypatch.setattr("order_service.limits.TICK_S", 0.1)  # in this process: the consumer's
    # In this process: the web process's; worker_probe.py sets the worker's.
    monkeypatch.setattr("order_service.limits.OPERATOR_CLAIM_TIMEOUT_S", PATIENCE_S)
    monkeypatch.setattr("order_service.limits.OPERATOR_WAIT_S", PATIENCE_S)
    async with (
        working(settings),
        running(relay.run, settings),
        running(consumer.run, settings),
    ):
        yield tmp_path


async def test_operators_resolve_dead_letters_and_rebuild_read_models(
    desk: Desk, running_service: Path, read_side: ReadSide, web_engine: AsyncEngine
) -> None:
    """Several steps in one test, since the service takes seconds to start."""
    await read_side.given(PLACED, CAPTURED, PAID, partition=1)
    await _rebuild(desk, running_service)
    bad = await read_side.given(PLACED, CAPTURED, POISON, PAID)
    await _dead_letters(desk, bad)
    assert await rows(web_engine, KEPT) == [
        ("retry", "order_view", bad, None, UUID(desk.staff.user_id), "still-parked"),
        ("skip", "order_view", bad, "never meant", UUID(desk.staff.user_id), "done"),
    ]
    assert (await desk.post(f"{PROJECTED}order_view/rebuild/"))[0] == 202
    refused = await desk.rebuilt("order_view", "failed")
    assert "OrderFrobnicated v1: 1, the first of them at partition 0" in refused["message"]
    assert (await desk.post(f"{PROJECTED}sales_by_day/rollback/"))[0] == 409
    await _health(desk)


async def _dead_letters(desk: Desk, bad: UUID) -> None:
    async def all_parked() -> bool:
        return len((await desk.get(LETTERS))["items"]) == len(PROJECTIONS)

    await eventually(all_parked)
    [letter] = (await desk.get(f"{LETTERS}?projection=order_view"))["items"]
    assert (letter["order_id"], letter["event_type"], letter["version"]) == (
        str(bad),
        "OrderFrobnicated",
        3,
    )
    assert (letter["number"], letter["attempts"], letter["events_waiting"]) == ("A-4-2", 1, 2)

    status, retried = await desk.post(f"{LETTERS}{letter['id']}/retry/")
    assert (status, retried["applied"]) == (200, False)
    assert "OrderFrobnicated" in retried["error"]
    [letter] = (await desk.get(f"{LETTERS}?projection=order_view"))["items"]
    assert letter["attempts"] == 2

    skipped = await desk.post(f"{LETTERS}{letter['id']}/skip/", {"reason": "never meant"})
    assert skipped == (200, {"applied": True})
    assert (await desk.get(f"{LETTERS}?projection=order_view"))["items"] == []
    assert (await desk.projection("order_view"))["parked"] == 0


async def _rebuild(desk: Desk, failpoints: Path) -> None:
    (failpoints / "replay-built").write_text("exit")
    status, asked = await desk.post(f"{PROJECTED}order_view/rebuild/")
    assert (status, asked["rebuild"]["state"]) == (202, "queued")
    assert (await desk.post(f"{PROJECTED}order_view/rebuild/"))[0] == 409
    died = await desk.rebuilt("order_view", "failed")
    assert died["message"] == replay_state.ENDED_SILENTLY

    assert (await desk.post(f"{PROJECTED}order_view/rebuild/"))[0] == 202
    done = await desk.rebuilt("order_view", "done")
    assert (done["done"], done["total"]) == (3, 3)
    assert done["message"] == "Generation 2 is live. 0 rows differ, 0 streams parked."
    found = await desk.projection("order_view")
    assert (found["generation"], found["generations"]) == (2, [1, 2])

    status, back = await desk.post(f"{PROJECTED}order_view/rollback/")
    assert (status, back["generation"], back["previous_generation"]) == (200, 1, 2)


async def _health(desk: Desk) -> None:
    """The stream is still parked in other read models."""
    health: Any = None

    async def is_complete() -> bool:
        nonlocal health
        health = await desk.get("/ops/health/")
        degraded = {one["name"] for one in health["checks"] if one["status"] != "ok"}
        roles = {one["role"] for one in health["processes"]}
        return (
            degraded == {"read models"}
            and roles == {"web", "relay", "consumer", "worker"}
            and any(one["processed"] for one in health["workers"])
        )

    await eventually(is_complete)
    assert health["status"] == "degraded"
    assert [one["name"] for one in health["queues"]] == ["orders.projections", "orders.tasks"]
    assert all(one["consumers"] == 1 for one in health["queues"])
    [worker] = health["workers"]
    assert worker["processed"] > 0


async def test_a_request_that_no_worker_claims_is_not_executed_later(
    desk: Desk, read_side: ReadSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("order_service.limits.OPERATOR_CLAIM_TIMEOUT_S", -1)
    bad = await read_side.given(PLACED, POISON)
    await read_side.advance()

    status, problem = await desk.post(f"{LETTERS}order_view.{bad}/retry/")

    assert (status, problem["dependency"]) == (503, "worker")
    assert await rows(read_side.web_engine, "SELECT claimed_at FROM operator_requests") == [(None,)]


async def test_health_shows_missing_processes(desk: Desk, rabbitmq: AbstractChannel) -> None:
    health = await desk.get("/ops/health/")

    checks = {one["name"]: one for one in health["checks"]}
    assert checks["processes"]["detail"] == "No heartbeat from relay, consumer, worker."
    assert checks["rabbitmq"]["status"] == "degraded"  # no process has declared its queues
    assert health["status"] == "degraded"


async def test_the_history_adds_up_what_all_web_processes_did(
    desk: Desk, settings: Settings, web_engine: AsyncEngine, redis: Redis, read_side: ReadSide
) -> None:
    step = (
        int(time.time() // limits.HISTORY_STEP_S) - 3
    )  # a past step that no process records by itself
    processes = [History(web_engine, redis, Rates()) for _ in range(2)]
    await desk.get(PROJECTED)
    for process in processes:
        await process.record(step - 1)
    await read_side.given(PLACED, CAPTURED)
    for _ in range(3):
        await desk.get(PROJECTED)
    for process in processes:
        await process.record(step)

    found = await desk.get("/ops/history/?minutes=1")

    first = datetime.fromisoformat(found["from"]).timestamp() // limits.HISTORY_STEP_S
    at = step - int(first)
    shown = {name: values[at] for name, values in found["series"].items()}
    assert (shown["requests"], shown["errors"], shown["events"]) == (6, 0, 2)
    assert shown["p50_ms"] > 0
    assert found["series"]["requests"][at - 2] is None


async def test_without_redis_the_history_is_empty_and_nothing_fails(
    settings: Settings, web_engine: AsyncEngine
) -> None:
    away = connect(settings.model_copy(update={"REDIS_PORT": 1}))
    history = History(web_engine, away, Rates())

    await history.record(1)

    assert set((await history.read(1)).series.requests) == {None}
    await away.aclose()
