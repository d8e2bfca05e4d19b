"""The service under test, up and with data in it: its clients, its progress, its processes."""

import asyncio
import json
import os
import shlex
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import amqp
import asyncpg
import httpx
from redis.asyncio import Redis

from order_service.stack.state import State
from tests.support.servers.stack import ROOT, Stack, database_arguments, say
from tests.tools.benchmarks import processes
from tests.tools.benchmarks.data import SKUS, Generator
from tests.tools.benchmarks.processes import Usage
from tests.tools.benchmarks.wrk import Wrk
from tests.tools.benchmarks.yardsticks import Yardstick

# One web process and a limit that is counted but never reached; tokens outlive a long run.
SETTINGS = {
    "RATE_LIMIT": "999999999/second",
    "WEB_WORKERS": "1",
    "ACCESS_TOKEN_EXPIRE_MINUTES": "1440",
}
PASSWORD = "a-long-enough-passphrase"
CUSTOMERS = 16
ITEMS = [
    {"sku": sku, "name": f"Article {sku}", "quantity": n, "unit_price": f"{n * 7}.9{n}"}
    for n, sku in enumerate(SKUS, start=1)
]
ORDER = json.dumps({"items": ITEMS}).encode()
# The models of the data: where an order stands after so many changes of its status.
LIVES = ((), ("PAID",), ("PAID", "SHIPPED"), ("PAID", "SHIPPED", "DELIVERED"), ("CANCELED",))
PENDING = 0
LIVE_FILL_ORDERS_MAX = 50_000  # more than that are made visible by a replay
SESSION = {"server_settings": {"application_name": "bench", "jit": "off"}}
DRAIN_LIMIT_S = 1_800.0
DRAIN_POLL_S = 0.02
WATCH_S = 0.5
_BEHIND = """
SELECT coalesce(sum(p.position - c.position), 0)::bigint FROM checkpoints c
JOIN partitions p ON p.partition = c.partition LEFT JOIN read_models m ON m.name = c.name
WHERE c.name = 'relay' OR c.generation = m.live_generation
"""
_EVENTS = "SELECT sum(position)::bigint FROM partitions"


@dataclass(frozen=True)
class Customer:
    user_id: UUID
    headers: Mapping[str, str]


@dataclass
class Service:
    stack: Stack
    settings: Mapping[str, str]
    web: httpx.AsyncClient
    database: asyncpg.Connection
    redis: Redis
    wrk: Wrk
    customers: list[Customer] = field(default_factory=list)
    staff: Mapping[str, str] = field(default_factory=dict)
    yardsticks: list[Yardstick] = field(default_factory=list)
    peaks_mb: dict[str, float] = field(default_factory=dict)

    def url_of(self, contender: str) -> str:
        urls = {yardstick.name: yardstick.url for yardstick in self.yardsticks}
        return urls.get(contender, self.stack.url)

    # --- progress ---------------------------------------------------------------------------------

    async def events(self) -> int:
        return int(await self.database.fetchval(_EVENTS))

    async def behind(self) -> int:
        """Events that the relay or a projection has yet to take, summed over them."""
        return int(await self.database.fetchval(_BEHIND))

    async def drain(self) -> float:
        """Relay and projections have taken every event; returns the seconds it took."""
        began = time.monotonic()
        while left := await self.behind():
            if time.monotonic() - began > DRAIN_LIMIT_S:
                raise RuntimeError(f"{left} events are still behind after {DRAIN_LIMIT_S:.0f} s")
            await asyncio.sleep(DRAIN_POLL_S)
        return time.monotonic() - began

    def usage(self) -> Usage:
        """By role, the yardsticks' included; notes the peaks."""
        records = State(self.stack.state).read_processes()
        roots = {record["pid"]: record["role"] for record in records}
        roots |= {yardstick.pid: yardstick.name for yardstick in self.yardsticks}
        found = processes.usage(roots)
        self._note_peaks(found)
        return found

    def _note_peaks(self, found: Usage) -> None:
        for role, peaks in found.peaks_mb.items():
            self.peaks_mb[role] = max(self.peaks_mb.get(role, 0.0), *peaks)

    # --- commands ---------------------------------------------------------------------------------

    async def run(self, *argv: str, role: str = "command") -> str:
        """What the program prints, run with the stack's settings; raises if it fails. Its peak of
        memory is noted as that of `role`."""
        process = await asyncio.create_subprocess_exec(
            *argv,
            cwd=ROOT,
            env={**os.environ, **self.settings},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        watch = asyncio.create_task(self._watch(process.pid, role))
        try:
            printed, _ = await process.communicate()
        finally:
            watch.cancel()
            if process.returncode is None:
                process.terminate()
                await process.wait()
        if process.returncode:
            raise RuntimeError(f"{shlex.join(argv)} failed:\n{printed.decode()}")
        return printed.decode()

    async def command(self, *words: str) -> str:
        """`./entrypoint.sh WORD ...` on this stack."""
        folder = str(self.stack.state)
        return await self.run("./entrypoint.sh", *words, "--state", folder, role=words[0])

    async def _watch(self, pid: int, role: str) -> None:
        while True:
            self._note_peaks(processes.usage({pid: role}))
            await asyncio.sleep(WATCH_S)

    async def fill(self, generator: Generator, orders: int) -> None:
        """So many more orders, as the data's mix is, in the log and in every read model."""
        bypass = orders > LIVE_FILL_ORDERS_MAX

        def told(made: int) -> None:
            say(f"  {made:,} of {orders:,} orders are in the log")

        await generator.fill(orders, bypass=bypass, told=told)
        if bypass:
            say("  replay of all read models")
            await self.command("replay", "--all")
        await self.drain()
        await self.database.execute("VACUUM ANALYZE")

    # --- people and orders ------------------------------------------------------------------------

    async def enter_people(self) -> None:
        self.customers = [await self._new_customer() for _ in range(CUSTOMERS)]
        email = f"{uuid4().hex}@example.com"
        made = await self.command("create-user", email, "--role", "staff")
        self.staff = await self._log_in(email, made.split()[-1])

    async def _new_customer(self) -> Customer:
        email = f"{uuid4().hex}@example.com"
        body = {"email": email, "password": PASSWORD}
        registered = (await self.web.post("/register/", json=body)).raise_for_status().json()
        return Customer(UUID(registered["id"]), await self._log_in(email, PASSWORD))

    async def _log_in(self, email: str, password: str) -> dict[str, str]:
        answer = await self.web.post("/token/", data={"username": email, "password": password})
        return {"Authorization": f"Bearer {answer.raise_for_status().json()['access_token']}"}

    async def place(self, customer: Customer) -> httpx.Response:
        headers = {**customer.headers, "Content-Type": "application/json"}
        return (await self.web.post("/orders/", content=ORDER, headers=headers)).raise_for_status()

    async def lead_lives(self) -> Generator:
        """One order of each life; what the data is made of."""
        owner, led = self.customers[0], list[UUID]()
        for statuses in LIVES:
            order_id = (await self.place(owner)).json()["id"]
            for status in statuses:
                path, body = f"/orders/{order_id}/", {"status": status}
                changed = await self.web.patch(path, json=body, headers=self.staff)
                changed.raise_for_status()
            led.append(UUID(order_id))
        generator = Generator(self.database, owner.user_id, tuple(led))
        await generator.remember()
        return generator

    # --- what the machine's description needs -----------------------------------------------------

    def broker_version(self) -> str:
        address = f"{self.settings['RABBITMQ_HOST']}:{self.settings['RABBITMQ_PORT']}"
        user, password = self.settings["RABBITMQ_USER"], self.settings["RABBITMQ_PASSWORD"]
        vhost = self.settings["RABBITMQ_VHOST"]
        with amqp.Connection(address, user, password, virtual_host=vhost) as connection:
            return str(connection.server_properties["version"])


@asynccontextmanager
async def opened(stack: Stack, wrk: Wrk) -> AsyncIterator[Service]:
    """The clients of a stack that is up."""
    settings: dict[str, Any] = State(stack.state).read()["settings"]
    async with AsyncExitStack() as clients:
        web = await clients.enter_async_context(stack.client())
        database = await asyncpg.connect(**database_arguments(settings), **SESSION)
        clients.push_async_callback(database.close)
        redis = Redis(
            host=settings["REDIS_HOST"],
            port=int(settings["REDIS_PORT"]),
            password=settings["REDIS_PASSWORD"],
            db=int(settings["REDIS_DB"]),
        )
        clients.push_async_callback(redis.aclose)
        yield Service(stack, settings, web, database, redis, wrk)
