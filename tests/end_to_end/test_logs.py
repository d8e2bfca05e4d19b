"""What the processes of a running stack log: lines of one shape, the request's id, no secrets."""

import json
from typing import Any
from uuid import uuid4

import httpx

from tests.support.http.accounts import PASSWORD
from tests.support.http.orders import ITEMS
from tests.support.servers.stack import Stack
from tests.support.waiting import eventually

OURS = {"migrate", "web", "relay", "consumer", "worker", "flower"}
NOTE = "Leave it with the neighbour, Mrs Meier."


def lines(stack: Stack, *roles: str) -> list[dict[str, Any]]:
    said = stack.logs()
    return [json.loads(line) for role in roles for line in said.get(role, "").splitlines()]


async def logged(stack: Stack, role: str, **facts: str) -> dict[str, Any]:
    """The first line of the role that says all of this, as soon as there is one."""
    found = await eventually(
        lambda: [line for line in lines(stack, role) if facts.items() <= line.items()]
    )
    return found[0]


async def log_in(client: httpx.AsyncClient) -> tuple[str, dict[str, str]]:
    """Somebody new: user id and tokens."""
    email = f"{uuid4().hex[:8]}@example.com"
    user = await client.post("/register/", json={"email": email, "password": PASSWORD})
    await client.post("/register/", json={"email": email, "password": PASSWORD})
    login = await client.post("/token/", data={"username": email, "password": PASSWORD})
    return user.json()["id"], login.json()


async def test_the_request_behind_it_is_named_by_the_task_that_updates_the_read_models(
    stack: Stack,
) -> None:
    async with stack.client() as client:
        _, tokens = await log_in(client)
        client.headers["Authorization"] = f"Bearer {tokens['access_token']}"
        sent: set[str] = set()

        async def named() -> list[dict[str, Any]]:
            """Not each of them need be: what a worker is at already causes no task, and a hint that
            stands for several requests names the newest."""
            placed = await client.post("/orders/", json={"items": ITEMS})
            sent.add(placed.headers["x-request-id"])
            return [line for line in lines(stack, "worker") if line.get("request_id") in sent]

        line = (await eventually(named))[0]

    assert line["logger"] == "projections.worker.tasks"
    assert line["at"].endswith("Z")


async def test_logins_refusals_and_limits_are_logged_and_nothing_secret_is(stack: Stack) -> None:
    async with stack.client() as client:
        mine, tokens = await log_in(client)
        other, others = await log_in(client)
        me = {"Authorization": f"Bearer {tokens['access_token']}"}
        placed = await client.post("/orders/", json={"items": ITEMS}, headers=me)
        path = f"/orders/{placed.json()['id']}/"
        await client.post(f"{path}notes/", json={"text": NOTE}, headers=me)
        them = {"Authorization": f"Bearer {others['access_token']}"}
        stranger = await client.get(path, headers=them)
        forbidden = await client.get("/reports/sales/?from=2026-01-01&to=2026-01-02", headers=me)
        broken = f"{tokens['access_token']}x"
        untold = await client.get(path, headers={"Authorization": f"Bearer {broken}"})
        wrong = {"username": f"{mine}@example.com", "password": "a-wrong-passphrase\r\n[2J"}
        refused = [await client.post("/token/", data=wrong) for _ in range(6)]
        refreshed = await client.post(
            "/token/refresh/", json={"refresh_token": tokens["refresh_token"]}
        )
        ticket = await client.post("/stream-tickets/", headers=me)
        made = stack.run("keys", "create", "shop", "--scope", "orders:read")
        assert made.returncode == 0, made.stderr
        key = made.stdout.strip()
        keyed = await client.get("/reports/sales/", headers={"Authorization": f"Bearer {key}"})
        guess = f"{key[:-1]}{'1' if key[-1] == '0' else '0'}"
        guessed = await client.get("/orders/", headers={"Authorization": f"Bearer {guess}"})

    async def says(answer: httpx.Response, message: str, **facts: str) -> None:
        await logged(
            stack, "web", request_id=answer.headers["x-request-id"], message=message, **facts
        )

    await says(stranger, "refused: 404 order-not-found", user_id=other)
    await says(forbidden, "refused: 403 forbidden", user_id=mine)
    await says(untold, "refused: 401 token-invalid")
    await says(refused[0], "refused: 401 invalid-credentials")
    assert refused[-1].status_code == 429
    await says(refused[-1], f"refused: 429 {refused[-1].json()['type']}")
    await says(guessed, "refused: 401 token-invalid")
    assert keyed.status_code == 422
    secrets = [key[37:], guess[37:]]
    secrets += [NOTE, wrong["password"], broken, ticket.json()["ticket"]]
    secrets += [kept["refresh_token"] for kept in (tokens, others, refreshed.json())]
    assert stack.leaks(*secrets) == []


async def test_every_line_of_every_role_is_one_json_object(stack: Stack) -> None:
    said = stack.logs()

    assert set(said) >= OURS
    shape = {"at", "level", "logger", "message", "pid"}
    wrong = [line for line in lines(stack, *OURS) if not shape <= line.keys()]
    assert wrong == []
