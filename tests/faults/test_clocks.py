"""F49: clocks that are wrong and that jump. W10: order, uniqueness and concurrency never go by one;
tokens of a wrong clock are not good; nothing waits for an hour that will not come."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.cache.entries import Slots
from order_service.cli import UVICORN_OPTIONS
from order_service.infra.postgres import PROJECTOR, WEB, create_engine, incarnation
from order_service.infra.redis import connect
from order_service.settings import Settings
from order_service.stack import packages, programs
from projections.monitoring import status
from projections.worker.celery_argv import argv as argv_of_worker
from tests.conftest import ROOT, own_database, run_sql, serving_with
from tests.support.http.accounts import PASSWORD, Account, new_account
from tests.support.http.orders import change, place
from tests.support.read_side.read_side import rows, verified
from tests.support.servers.command_line import run_word
from tests.support.waiting import WAIT_S, eventually
from tests.tools.faults import forked
from tests.tools.faults.house import empty

HOUR = 3_600
LIBRARY = "usr/lib/*/faketime/libfaketimeMT.so.1"
ROLES = ("web", "relay", "consumer", "worker")
TOLERANCE_S = 60  # between the test's clock and what a server on the same machine has noted
VIEW = "SELECT version FROM read_models.order_view WHERE order_id = "


@dataclass(frozen=True)
class World:
    """Every role has a clock of its own, which the test sets while it runs; `honest` is another web
    process, with the machine's."""

    settings: Settings
    clocks: Path
    web: httpx.AsyncClient
    honest: httpx.AsyncClient
    account: Account
    redis: Redis
    projector_engine: AsyncEngine

    def set(self, role: str, seconds: int) -> None:
        """The role's clock is so far ahead of the machine's."""
        set_clock(self.clocks, role, seconds)

    async def login(self, web: httpx.AsyncClient) -> Account:
        answer = await web.post(
            "/token/", data={"username": self.account.email, "password": PASSWORD}
        )
        token = answer.raise_for_status().json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        return Account(self.account.user_id, self.account.email, headers)

    async def shows(self, order_id: str, version: int) -> None:
        """The read models have come so far, and equal the log."""

        async def is_there() -> bool:
            return await rows(self.projector_engine, f"{VIEW}'{order_id}'") == [(version,)]

        await eventually(is_there)
        assert (await verified(self.projector_engine)).agree


def set_clock(clocks: Path, role: str, seconds: int) -> None:
    (clocks / ".draft").write_text(f"{seconds:+d}")
    (clocks / ".draft").rename(clocks / role)


@pytest.fixture(scope="session")
def library() -> Path:
    """libfaketime: the machine's own, or unpacked as the servers' programs are."""
    if own := next(Path("/").glob(LIBRARY), None):
        return own
    return next(
        packages.unpack("libfaketime", programs.cache() / "libfaketime", print).glob(LIBRARY)
    )


@contextmanager
def running(
    settings: Settings, library: Path, clocks: Path, listener: socket.socket
) -> Iterator[None]:
    python = [sys.executable, "-m"]
    uvicorn = ["uvicorn", "order_service.main:create_app", "--factory", *UVICORN_OPTIONS]
    commands = {
        "web": [*python, *uvicorn, "--fd", str(listener.fileno())],
        "relay": [*python, "order_service.cli", "relay"],
        "consumer": [*python, "order_service.cli", "consumer"],
        "worker": [*python, *argv_of_worker(settings)],
    }
    processes = []
    for role in ROLES:
        set_clock(clocks, role, 0)
        environment = {
            **os.environ,
            "DB_NAME": settings.DB_NAME,
            "RATE_LIMIT": "1000000/minute",
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(clocks / role),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }
        fd = (listener.fileno(),)
        processes.append(subprocess.Popen(commands[role], cwd=ROOT, env=environment, pass_fds=fd))
    try:
        yield
    finally:
        forked.end(*(process.pid for process in processes))
        for process in processes:
            process.wait()


@pytest.fixture(scope="module")
def clocks(
    migrated_template: Settings, library: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Settings, Path, str]]:
    folder = tmp_path_factory.mktemp("clocks")
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with listener, own_database(migrated_template) as settings:
        asyncio.run(empty(settings))
        with running(settings, library, folder, listener):
            yield settings, folder, url
        asyncio.run(empty(settings))


@pytest.fixture
async def world(clocks: tuple[Settings, Path, str]) -> AsyncIterator[World]:
    settings, folder, url = clocks
    web_engine = create_engine(settings, WEB, application_name="test")
    projector_engine = create_engine(settings, PROJECTOR, application_name="test")
    redis = connect(settings)
    async with (
        serving_with(settings) as honest,
        httpx.AsyncClient(base_url=url, timeout=WAIT_S) as web,
    ):
        account = await new_account(web_engine)
        yield World(settings, folder, web, honest, account, redis, projector_engine)
    for role in ROLES:
        set_clock(folder, role, 0)
    await redis.aclose()
    await web_engine.dispose()
    await projector_engine.dispose()


@pytest.mark.parametrize("seconds", [HOUR, -HOUR])
async def test_orders_go_all_the_way_whatever_the_clocks_say(world: World, seconds: int) -> None:
    """W10, also between roles that are two hours apart. The log's own time is PostgreSQL's."""
    for role in ROLES:
        world.set(role, seconds if role in ("web", "consumer") else -seconds)
    customer = await world.login(world.web)

    order = await place(world.web, customer)
    canceled = await change(world.web, customer, order, status="CANCELED")

    assert (order.status_code, canceled.status_code) == (201, 200)
    age = datetime.now(UTC) - datetime.fromisoformat(canceled.json()["updated_at"])
    assert abs(age.total_seconds()) < TOLERANCE_S
    path = f"/orders/{order.json()['id']}/"
    read = [await world.web.get(path, headers=customer.headers) for _ in range(2)]
    assert [answer.json()["version"] for answer in read] == [2, 2]
    await world.shows(order.json()["id"], 2)
    cached = Slots(str(await incarnation(world.projector_engine))).order(UUID(order.json()["id"]))
    assert 0 < await world.redis.ttl(cached.entry) <= 300


async def test_a_token_is_good_within_the_leeway_of_two_clocks_only(world: World) -> None:
    """Ahead it is not good yet, behind no more; the same of honest tokens, where the clock is
    wrong."""
    found = {}
    for seconds in (3, -3, HOUR, -HOUR):
        world.set("web", seconds)
        wrong, honest = await world.login(world.web), await world.login(world.honest)
        found[seconds] = [
            (await web.get("/users/me/", headers=token.headers)).status_code
            for web, token in ((world.web, wrong), (world.honest, wrong), (world.web, honest))
        ]

    assert found == {3: [200] * 3, -3: [200] * 3, HOUR: [200, 401, 401], -HOUR: [200, 401, 401]}


async def test_a_clock_that_is_set_right_again_locks_no_account_out(world: World) -> None:
    world.set("web", HOUR)
    wrong = {"username": world.account.email, "password": "not-the-right-passphrase"}
    answers = [await world.web.post("/token/", data=wrong) for _ in range(6)]

    world.set("web", 0)
    right = await world.web.post("/token/", data=wrong | {"password": PASSWORD})

    assert [answer.status_code for answer in answers] == [401] * 5 + [429]
    assert right.status_code == 200


async def test_the_log_goes_on_where_the_servers_clock_was_set_back(
    settings: Settings, web_engine: AsyncEngine, redis: Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    """Times never go back: for an hour all events have the last one's, and none a negative age."""
    await run_sql(
        settings,
        "UPDATE partitions SET recorded_at = clock_timestamp() + interval '1 hour'",
        settings.DB_NAME,
    )
    async with serving_with(settings) as web:
        customer = await new_account(web_engine)
        order = await place(web, customer)
        canceled = await change(web, customer, order, status="CANCELED")
        token = canceled.headers["consistency-token"]
        listed = await web.get(
            f"/orders/user/{customer.user_id}/",
            headers={**customer.headers, "Consistency-Token": token, "Prefer": "wait=0"},
        )
    assert await run_word(status, settings, "--json") == 0

    assert order.json()["created_at"] == canceled.json()["updated_at"] > str(datetime.now(UTC))
    assert int(listed.headers["projection-lag-ms"]) >= 0
    lags: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    assert {row["lag_events"] for row in lags} == {0, 2}
    assert min(row["lag_s"] for row in lags) >= 0
