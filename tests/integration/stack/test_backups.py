"""A dump of the database is all that is needed: P1, P4 and P5 after a restore."""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import aio_pika
import httpx
import orjson
import pytest

from order_service.infra import rabbitmq
from order_service.settings import Settings
from order_service.stack.processes import spawn, stop
from order_service.stack.programs import POSTGRESQL, find
from order_service.stack.servers import DB_NAME, DB_USER, choose_ports, postgres
from order_service.stack.state import State
from tests.conftest import ROOT, run_sql, serving_with
from tests.support.http.accounts import PASSWORD
from tests.support.http.orders import ITEMS
from tests.support.servers.backups import ROLES, dump, restore
from tests.support.servers.stack import Stack, new_stack
from tests.support.waiting import WAIT_S, eventually


@pytest.fixture
def empty_server(settings: Settings) -> Iterator[Settings]:
    """Settings of a new PostgreSQL server with an empty database."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        state = State(Path(folder) / "state")
        state.create()
        port, password = choose_ports(state)["postgres"], state.read()["secrets"]["DB_PASSWORD"]
        server = postgres(state, find(POSTGRESQL, print), port, password)
        running = spawn(server.command, state.logs / "postgres")
        try:
            asyncio.run(eventually(server.ready))
            there: dict[str, Any] = {
                "DB_HOST": "127.0.0.1",
                "DB_PORT": port,
                "DB_NAME": DB_NAME,
                "DB_USER": DB_USER,
                "DB_PASSWORD": password,
            }
            yield settings.model_copy(update=there)
        finally:
            stop({"postgres": (running, server.command.stop_signal)}, WAIT_S)
            state.wipe()


@pytest.fixture
def stack() -> Iterator[Stack]:
    """A whole service whose database nobody else is using."""
    with new_stack(RATE_LIMIT="1000000/minute") as stack, stack.up():
        yield stack


@contextmanager
def dumped(settings: Settings) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        dump(settings, Path(folder) / "orders.dump")
        yield Path(folder) / "orders.dump"


async def log_in(client: httpx.AsyncClient, email: str) -> str:
    """The client is logged in; returns the refresh token."""
    login = await client.post("/token/", data={"username": email, "password": PASSWORD})
    tokens = login.raise_for_status().json()
    client.headers["Authorization"] = f"Bearer {tokens['access_token']}"
    return str(tokens["refresh_token"])


async def registered(client: httpx.AsyncClient) -> str:
    email = f"{uuid4().hex[:8]}@example.com"
    answer = await client.post("/register/", json={"email": email, "password": PASSWORD})
    answer.raise_for_status()
    return email


def run(settings: Settings, *words: str) -> int:
    given = {key: str(value) for key, value in settings.model_dump(mode="json").items()}
    there = {name: value for name, value in given.items() if name.startswith("DB_")}
    argv = [sys.executable, "-m", *words]
    return subprocess.run(argv, cwd=ROOT, env={**os.environ, **there}, timeout=60).returncode


async def test_a_dump_is_restored_into_an_empty_server_and_orders_go_on(
    web: httpx.AsyncClient, settings: Settings, empty_server: Settings
) -> None:
    email = await registered(web)
    refresh_token = await log_in(web, email)
    order = (await web.post("/orders/", json={"items": ITEMS})).json()
    with dumped(settings) as file:
        for statement in ROLES:
            await run_sql(empty_server, statement)
        await restore(empty_server, file, beside="restored")

    assert run(empty_server, "alembic", "upgrade", "head") == 0
    async with serving_with(empty_server) as there:
        # Who logged out, or lost a token to a thief, since the backup was made is not logged in.
        refused = await there.post("/token/refresh/", json={"refresh_token": refresh_token})
        assert refused.status_code == 401
        await log_in(there, email)
        path = f"/orders/{order['id']}/"
        assert (await there.get(path)).json() == order
        assert (await there.patch(path, json={"status": "CANCELED"})).status_code == 200
        assert (await there.post("/orders/", json={"items": ITEMS})).status_code == 201
        assert await asyncio.to_thread(run, empty_server, "order_service.cli", "verify") == 0


async def tell_of_what_is_lost(settings: Settings) -> None:
    """A message that RabbitMQ kept from the time after the backup."""
    connection = await rabbitmq.connect(settings, "test")
    async with connection, connection.channel() as channel:
        exchange = await channel.get_exchange(rabbitmq.EVENTS_EXCHANGE)
        hint = {"event": "new_order", "version": 1, "partition": 0, "position": 10**6}
        await exchange.publish(aio_pika.Message(orjson.dumps(hint)), "order.new_order")


async def test_a_dump_older_than_redis_and_rabbitmq_is_restored_under_running_processes(
    stack: Stack,
) -> None:
    """No process goes by what it, Redis or RabbitMQ remember of events that the backup lacks."""
    settings = Settings.model_validate(State(stack.state).read()["settings"])
    before = stack.processes()
    async with stack.client() as client:
        refresh_token = await log_in(client, await registered(client))
        kept = (await client.post("/orders/", json={"items": ITEMS})).json()
        kept_path, mine = f"/orders/{kept['id']}/", f"/orders/user/{kept['user_id']}/"
        with dumped(settings) as file:
            paid = await client.patch(kept_path, json={"status": "PAID"})
            lost = (await client.post("/orders/", json={"items": ITEMS})).json()
            lost_path = f"/orders/{lost['id']}/"
            for path in (kept_path, lost_path, mine):
                await _until_cached(client, path)
            await client.post("/token/revoke/", json={"token": refresh_token})

            await restore(settings, file, beside="restored")
        await tell_of_what_is_lost(settings)

        await _until_started_anew(stack, client, before["web"])
        assert (await client.get(kept_path)).json() == kept
        assert (await client.get(lost_path)).status_code == 404
        token = {"Consistency-Token": paid.headers["consistency-token"]}
        # What is waited for will never come: so it is answered as it is by then.
        await eventually(
            lambda: client.get(mine, headers=token), lambda answer: answer.json() == [kept]
        )
        refreshed = await client.post("/token/refresh/", json={"refresh_token": refresh_token})
        assert refreshed.status_code == 401
        # The version that was lost is given again, to something else.
        canceled = await client.patch(kept_path, json={"status": "CANCELED"})
        assert canceled.json()["version"] == 2
        assert (await client.get(kept_path)).content == canceled.content
        assert (await client.post("/orders/", json={"items": ITEMS})).status_code == 201
        await eventually(
            lambda: asyncio.to_thread(stack.run, "verify"), lambda done: done.returncode == 0
        )


async def _until_cached(client: httpx.AsyncClient, path: str) -> None:
    await eventually(
        lambda: client.get(path), lambda answer: answer.headers.get("x-cache") == "hit"
    )


async def _until_started_anew(stack: Stack, client: httpx.AsyncClient, before: int) -> None:
    await eventually(
        lambda: asyncio.to_thread(stack.processes),
        lambda processes: processes.get("web", before) != before,
    )
    await eventually(lambda: _is_ready(client))


async def _is_ready(client: httpx.AsyncClient) -> bool:
    with suppress(httpx.TransportError):
        return (await client.get("/readyz")).status_code == 200
    return False
