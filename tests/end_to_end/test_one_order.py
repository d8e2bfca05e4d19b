"""One order, all the way, through processes started as an operator starts them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest

from order_service.stack.state import State
from tests.support.servers.quiet import quiet
from tests.support.servers.stack import Stack, database_arguments
from tests.support.waiting import eventually

PASSWORD = "a-long-enough-passphrase"
ITEMS = [{"sku": "PEN", "quantity": 2, "unit_price": "9.99"}]


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who has just registered and logged in."""
    async with stack.client() as client:
        email = f"{uuid4().hex[:8]}@example.com"
        registered = await client.post("/register/", json={"email": email, "password": PASSWORD})
        assert registered.status_code == 201
        login = await client.post("/token/", data={"username": email, "password": PASSWORD})
        client.headers["Authorization"] = f"Bearer {login.json()['access_token']}"
        yield client


async def content(client: httpx.AsyncClient, path: str) -> Any:
    return (await client.get(path)).raise_for_status().json()


async def test_an_order_reaches_every_read_model(client: httpx.AsyncClient) -> None:
    order = (await client.post("/orders/", json={"items": ITEMS})).json()
    path, mine = f"/orders/{order['id']}/", f"/orders/user/{order['user_id']}/"

    for status in ("PAID", "SHIPPED", "DELIVERED"):
        changed = await client.patch(path, json={"status": status})
        read = await client.get(path)

        assert changed.json()["status"] == status
        assert read.content == changed.content

    listed = await eventually(
        lambda: content(client, mine), lambda orders: orders[:1] and orders[0]["version"] == 7
    )
    assert listed == [read.json()]
    summary = await eventually(
        lambda: content(client, f"/users/{order['user_id']}/summary/"),
        lambda found: [one["spent"] for one in found["currencies"]] not in ([], ["0"]),
    )
    assert summary["currencies"] == [
        {
            "currency": "USD",
            "orders": 1,
            "spent": "19.98",
            "last_order_at": order["created_at"],
            "last_order_id": order["id"],
        }
    ]
    again = await client.get(path, headers={"If-None-Match": read.headers["etag"]})
    assert again.status_code == 304


async def test_an_order_that_is_read_again_comes_from_the_cache(client: httpx.AsyncClient) -> None:
    """Not always the second time: the projection's own refresh of the new order may come between
    a miss and its fill, which then leaves the cache as it is."""
    order = (await client.post("/orders/", json={"items": ITEMS})).json()
    path = f"/orders/{order['id']}/"

    first = await client.get(path)
    again = await eventually(
        lambda: client.get(path), lambda answer: answer.headers["x-cache"] == "hit"
    )

    assert first.headers["x-cache"] == "miss"
    assert first.content == again.content


async def test_replay_under_traffic_fails_no_request(
    stack: Stack, client: httpx.AsyncClient
) -> None:
    """P6: while every read model is rebuilt and swapped, no answer fails or goes back in time."""
    order = (await client.post("/orders/", json={"items": ITEMS})).json()
    replay = asyncio.create_task(asyncio.to_thread(stack.run, "replay", "--all"))
    seen = 0
    while not replay.done():
        placed = await client.post("/orders/", json={"items": ITEMS})
        listed = await client.get(f"/orders/user/{order['user_id']}/?limit=200")

        assert (placed.status_code, listed.status_code) == (201, 200)
        assert len(listed.json()) >= min(seen, 200)
        seen = len(listed.json())

    done = await replay
    assert done.returncode == 0, done.stdout + done.stderr
    await quiet(stack)
    verified = await asyncio.to_thread(stack.run, "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr


async def test_the_running_stack_can_be_asked_from_another_terminal(stack: Stack) -> None:
    roles = {"up", "postgres", "redis", "rabbitmq", "web", "relay", "consumer", "worker", "flower"}

    assert roles <= set(stack.processes())
    assert "export DB_HOST=" in stack.run("env").stdout
    assert stack.run("status").returncode == 0


async def test_staff_are_made_on_the_command_line(stack: Stack, client: httpx.AsyncClient) -> None:
    made = stack.run("create-user", "chief@example.com", "--role", "staff")
    password = made.stdout.split()[-1]
    login = await client.post(
        "/token/", data={"username": "chief@example.com", "password": password}
    )
    report = await client.get(
        "/reports/sales/?from=2026-01-01&to=2026-12-31",
        headers={"Authorization": f"Bearer {login.json()['access_token']}"},
    )

    assert report.status_code == 200


async def test_each_process_enters_the_database_by_a_login_of_its_own(stack: Stack) -> None:
    connection = await asyncpg.connect(**database_arguments(State(stack.state).read()["settings"]))
    try:
        sessions = await connection.fetch(
            "SELECT DISTINCT application_name, usename::text FROM pg_stat_activity "
            "WHERE application_name LIKE 'order-service-%' "
            "OR application_name IN ('relay', 'consumer', 'worker')"
        )
    finally:
        await connection.close()

    assert dict(map(tuple, sessions)) == {
        "order-service-web": "order_db_web",
        "order-service-append": "order_db_web",
        "relay": "order_db_projector",
        "consumer": "order_db_projector",
        "worker": "order_db_projector",
    }
