"""P1 and P4: kill -9 of each role and each server, one after another, while orders are placed."""

import asyncio
import os
import signal
from uuid import uuid4

import httpx
import pytest

from tests.stack import Stack

VICTIMS = ("web", "relay", "consumer", "worker", "flower", "postgres", "redis", "rabbitmq")
PASSWORD = "a-long-enough-passphrase"
ITEMS = [{"sku": "PEN", "quantity": 2, "unit_price": "9.99"}]
RECOVERY_S = 60


class Shopper:
    """Places orders and pays them, each under a key, until told to stop; remembers what was
    acknowledged."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self.acknowledged: dict[str, tuple[str, int]] = {}  # key -> order id, version
        self.stop = asyncio.Event()

    async def run(self) -> None:
        while not self.stop.is_set():
            key = uuid4().hex
            order_id, version = await self._insist("POST", "/orders/", key, {"items": ITEMS})
            self.acknowledged[key] = order_id, version
            _, version = await self._insist(
                "PATCH", f"/orders/{order_id}/", f"{key}-pay", {"status": "PAID"}
            )
            self.acknowledged[key] = order_id, version

    async def _insist(self, method: str, path: str, key: str, body: object) -> tuple[str, int]:
        """Repeats under the same key until there is an answer: at most until recovery is due."""
        async with asyncio.timeout(RECOVERY_S):
            while True:
                try:
                    answer = await self._client.request(
                        method, path, json=body, headers={"Idempotency-Key": key}
                    )
                except httpx.TransportError:
                    continue
                if answer.is_success:
                    return answer.json()["id"], answer.json()["version"]
                assert answer.status_code == 503, answer.text


async def until(ask: object, wanted: str) -> None:
    assert callable(ask), wanted
    async with asyncio.timeout(RECOVERY_S):
        while not await ask():
            pass


async def test_nothing_acknowledged_is_lost_when_processes_are_killed(stack: Stack) -> None:
    async with stack.client() as client:
        email = f"{uuid4().hex[:8]}@example.com"
        await client.post("/register/", json={"email": email, "password": PASSWORD})
        login = await client.post("/token/", data={"username": email, "password": PASSWORD})
        client.headers["Authorization"] = f"Bearer {login.json()['access_token']}"
        shopper = Shopper(client)
        shopping = [asyncio.create_task(shopper.run()) for _ in range(4)]

        for victim in VICTIMS:
            before = await asyncio.to_thread(stack.processes)
            os.kill(before[victim], signal.SIGKILL)

            async def is_back(victim: str = victim, before: dict[str, int] = before) -> bool:
                now = await asyncio.to_thread(stack.processes)
                if now.get(victim, before[victim]) == before[victim]:
                    return False
                try:
                    return (await client.get("/readyz")).status_code == 200
                except httpx.TransportError:
                    return False

            await until(is_back, f"{victim} is back")
        shopper.stop.set()
        await asyncio.gather(*shopping)

        async def is_quiet() -> bool:
            verified = await asyncio.to_thread(stack.run, "verify")
            return verified.returncode == 0

        await until(is_quiet, "read models equal the log")
        for order_id, version in shopper.acknowledged.values():
            read = (await client.get(f"/orders/{order_id}/")).json()
            assert (read["status"], read["version"]) == ("PAID", version)
        if len(shopper.acknowledged) < len(VICTIMS):
            pytest.fail("hardly an order was placed: the test proved nothing")
