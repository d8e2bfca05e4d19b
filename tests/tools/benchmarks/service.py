"""The service under test: its clients, its data, its progress and its processes."""

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

# One web process; a rate limit that is counted but never reached; tokens that outlive a long run.
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
# The models of the data: the changes of status of each.
MODEL_STATUSES = (
    (),
    ("PAID",),
    ("PAID", "SHIPPED"),
    ("PAID", "SHIPPED", "DELIVERED"),
    ("CANCELED",),
)
PENDING = 0
LIVE_FILL_ORDERS_MAX = 50_000  # for more, a replay builds the read models
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
        """Events that the relay or a projection has not processed yet, summed over them."""
        return int(await self.database.fetchval(_BEHIND))

    async def drain(self) -> float:
        """Waits until relay and projections have processed every event; returns the seconds."""
        began = time.monotonic()
        while behind := await self.behind():
            if time.monotonic() - began > DRAIN_LIMIT_S:
                raise RuntimeError(f"{behind} events are not processed after {DRAIN_LIMIT_S:.0f} s")
            await asyncio.sleep(DRAIN_POLL_S)
        return time.monotonic() - began

    def usage(self) -> Usage:
        """The usage by role, with the yardsticks; keeps the peaks."""
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
        """Runs the program with the stack's settings; returns its output. Keeps its peak memory as
        that of `role`. Raises RuntimeError if it fails.
        """
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
        """Runs `./entrypoint.sh WORD ...` on this stack; returns its output."""
        folder = str(self.stack.state)
        return await self.run("./entrypoint.sh", *words, "--state", folder, role=words[0])

    async def _watch(self, pid: int, role: str) -> None:
        while True:
            self._note_peaks(processes.usage({pid: role}))
            await asyncio.sleep(WATCH_S)

    async def fill(self, generator: Generator, orders: int) -> None:
        """Adds `orders` orders of all models to the log and to every read model."""
        bypass = orders > LIVE_FILL_ORDERS_MAX

        def report(made: int) -> None:
            say(f"  {made:,} of {orders:,} orders are in the log")

        await generator.fill(orders, bypass=bypass, report=report)
        if bypass:
            say("  replay of all read models")
            await self.command("replay", "--all")
        await self.drain()
        await self.database.execute("VACUUM ANALYZE")

    # --- users and orders -------------------------------------------------------------------------

    async def register_users(self) -> None:
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

    async def make_models(self) -> Generator:
        """Places one order for each of MODEL_STATUSES; returns the generator that repeats them."""
        owner, models = self.customers[0], list[UUID]()
        for statuses in MODEL_STATUSES:
            order_id = (await self.place(owner)).json()["id"]
            for status in statuses:
                path, body = f"/orders/{order_id}/", {"status": status}
                changed = await self.web.patch(path, json=body, headers=self.staff)
                changed.raise_for_status()
            models.append(UUID(order_id))
        generator = Generator(self.database, owner.user_id, tuple(models))
        await generator.copy_models()
        return generator

    # --- the description of the machine -----------------------------------------------------------

    def broker_version(self) -> str:
        address = f"{self.settings['RABBITMQ_HOST']}:{self.settings['RABBITMQ_PORT']}"
        user, password = self.settings["RABBITMQ_USER"], self.settings["RABBITMQ_PASSWORD"]
        vhost = self.settings["RABBITMQ_VHOST"]
        with amqp.Connection(address, user, password, virtual_host=vhost) as connection:
            return str(connection.server_properties["version"])


@asynccontextmanager
async def opened(stack: Stack, wrk: Wrk) -> AsyncIterator[Service]:
    """A running stack with its clients."""
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
