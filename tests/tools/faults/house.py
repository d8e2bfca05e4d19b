"""A whole service whose processes can be stopped in their crash windows, and the check that
everything acknowledged is there once, everywhere.
"""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import psutil
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.infra import rabbitmq as broker
from order_service.infra.failpoints import Window
from order_service.infra.postgres import PROJECTOR, create_engine
from order_service.infra.redis import connect
from order_service.settings import Settings
from projections.worker.celery_argv import argv as argv_of_worker
from tests.conftest import ROOT, remove_topology
from tests.support.http.orders import ITEMS
from tests.support.log.event_log import raw
from tests.support.read_side.read_side import verified
from tests.support.servers.pipeline import Tap, tap_into
from tests.support.waiting import eventually
from tests.tools.faults import forked

REQUEST_S = 30
VIEW = "SELECT version FROM read_models.order_view WHERE order_id = $1"
EVENTS = "SELECT count(*) FROM events WHERE stream_id = $1"
UNRELAYED = (
    "SELECT count(*) FROM checkpoints c JOIN partitions p USING (partition) "
    "WHERE c.name = 'relay' AND c.position < p.position"
)


@dataclass
class House:
    """The processes of one service. `web`, relay, consumer and worker obey failpoints; `other` is a
    second web process without faults.
    """

    settings: Settings
    failpoints: Path
    environment: Mapping[str, str]
    worker: subprocess.Popen[bytes]
    listeners: dict[str, socket.socket] = field(default_factory=dict)
    processes: dict[str, BaseProcess] = field(default_factory=dict)

    def arm(self, window: Window, action: str) -> None:
        """The next process that reaches the window does `action`."""
        draft = self.failpoints / ".draft"
        draft.write_text(action)
        draft.rename(self.failpoints / window)

    async def taken(self, window: Window) -> int:
        """The pid of the process that reached the window. The window can be armed again."""
        found: list[Path] = []

        async def reached() -> bool:
            found.extend(self.failpoints.glob(f"{window}.*"))
            return bool(found)

        await eventually(reached)
        found[0].unlink()
        return int(found[0].suffix.removeprefix("."))

    def start(self, name: str, **changed: str) -> None:
        """`name`: a role, or `other`."""
        environment = {**self.environment, **changed}
        listener = self.listeners.get(name)
        word = "web" if listener else name
        self.processes[name] = forked.start(word, environment=environment, listener=listener)

    async def restart(self, name: str) -> None:
        """Starts the process again, as a supervisor does, after a window has killed it."""
        await asyncio.to_thread(self.processes[name].join, forked.STOP_S)
        assert self.processes[name].exitcode == -9
        self.start(name)

    def restart_ended(self) -> list[int]:
        """Starts all ended processes again, as a supervisor does; returns their exit codes."""
        ended = {n: p.exitcode for n, p in self.processes.items() if p.exitcode is not None}
        for name in ended:
            self.start(name)
        return list(ended.values())

    def pids(self, name: str) -> list[int]:
        """The process ids of the role."""
        if name == "worker":
            children = psutil.Process(self.worker.pid).children()
            return [self.worker.pid, *sorted(child.pid for child in children)]
        return [self.processes[name].pid or 0]

    def listen(self, name: str) -> None:
        self.listeners[name] = socket.create_server(("127.0.0.1", 0))

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.listeners[name].getsockname()[1]}"

    def end(self, name: str) -> None:
        """Ends the process and closes its listener."""
        process = self.processes.pop(name)
        forked.end(process.pid or 0)
        process.join()
        if name in self.listeners:
            self.listeners.pop(name).close()

    def close(self) -> None:
        forked.end(self.worker.pid)
        self.worker.wait()
        for name in list(self.processes):
            self.end(name)


@contextmanager
def house_of(settings: Settings, failpoints: Path, **changed: str) -> Iterator[House]:
    """A service whose processes have been started, but may not be ready yet."""
    environment = {
        **os.environ,
        "DB_NAME": settings.DB_NAME,
        "RATE_LIMIT": "1000000/minute",
        "SELF_SERVICE_TRANSITIONS": "PAID,CANCELED",
        "FAILPOINTS": str(failpoints),
        "FAILPOINTS_IN_TESTS": "yes",
        **changed,
    }
    asyncio.run(empty(settings))
    argv = [sys.executable, "-m", *argv_of_worker(settings)]
    worker = subprocess.Popen(argv, cwd=ROOT, env=environment)
    house = House(settings, failpoints, environment, worker)
    try:
        for name in ("web", "other"):
            house.listen(name)
        for name in ("relay", "consumer", "web", "other"):
            house.start(name)
        yield house
    finally:
        house.close()
        asyncio.run(empty(settings))


async def empty(settings: Settings) -> None:
    """Removes all keys from Redis, and the service's queues and exchanges from RabbitMQ."""
    redis = connect(settings)
    await redis.flushdb()
    await redis.aclose()
    connection = await broker.connect(settings, "test")
    await remove_topology(await connection.channel())
    await connection.close()


@dataclass(frozen=True)
class Visit:
    """A customer of the house, with direct access to its servers."""

    house: House
    web: httpx.AsyncClient
    other: httpx.AsyncClient
    sql: "asyncpg.Connection[Any]"
    engine: AsyncEngine
    tap: Tap

    async def once_everywhere(self, order_id: str, version: int) -> None:
        """Asserts that the order has `version` events, that all were published in order, and that
        both web processes and every read model show each of them once.
        """
        assert await self.sql.fetchval(EVENTS, order_id) == version
        await self.tap.until(lambda: self._published(order_id)[-1:] == [version])
        assert self._published(order_id) == list(range(1, version + 1))
        await eventually(lambda: self._is_projected(order_id, version))
        for web in (self.web, self.other):
            assert (await web.get(f"/orders/{order_id}/")).json()["version"] == version
        found = await verified(self.engine)
        assert found.agree, found

    def _published(self, order_id: str) -> list[int]:
        """The versions in order of their first arrival."""
        bodies = (body for body in self.tap.bodies if body["order_id"] == order_id)
        return list(dict.fromkeys(body["version"] for body in bodies))

    async def _is_projected(self, order_id: str, version: int) -> bool:
        is_relayed = await self.sql.fetchval(UNRELAYED) == 0
        return is_relayed and await self.sql.fetchval(VIEW, order_id) == version


@asynccontextmanager
async def visiting(house: House, headers: dict[str, str]) -> AsyncIterator[Visit]:
    settings = house.settings
    engine = create_engine(settings, PROJECTOR, application_name="test")
    rabbitmq = await broker.connect(settings, "test")
    sql = await raw(settings)
    given: dict[str, Any] = {"headers": headers, "timeout": REQUEST_S}
    try:
        async with (
            httpx.AsyncClient(base_url=house.url("web"), **given) as web,
            httpx.AsyncClient(base_url=house.url("other"), **given) as other,
        ):
            yield Visit(house, web, other, sql, engine, await tap_into(await rabbitmq.channel()))
    finally:
        await sql.close()
        await rabbitmq.close()
        await engine.dispose()


def key() -> dict[str, str]:
    return {"Idempotency-Key": uuid4().hex}


async def placed_id(web: httpx.AsyncClient, **body: Any) -> str:
    answer = await web.post("/orders/", json={"items": ITEMS, **body}, headers=key())
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def answered(request: Any) -> str:
    """The status, with the slug of a problem; `broken` if the connection broke."""
    try:
        answer: httpx.Response = await request
    except httpx.TransportError:
        return "broken"
    slug = answer.json().get("type", "").removeprefix("/problems/")
    return f"{answer.status_code} {slug}".strip()
