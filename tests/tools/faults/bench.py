"""The bench that faults are injected into: one running stack. Its roles reach PostgreSQL, Redis and
RabbitMQ through proxies, and so do its clients the web role.
"""

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from signal import SIGKILL, Signals
from typing import Any
from uuid import UUID

import asyncpg
import psutil
from redis.asyncio import Redis

from order_service.infra.postgres import create_engine
from order_service.settings import Settings
from order_service.stack.processes import start_time
from order_service.stack.servers import choose_ports, free_port
from order_service.stack.state import State
from tests.support.log.examples import (
    CAPTURED,
    DELIVERED,
    DELIVERED_SHIPMENT,
    DISPATCHED,
    PAID,
    PLACED,
    SHIPPED,
)
from tests.support.log.given_log import given_orders
from tests.support.servers.proxy import Proxy, proxy_to
from tests.support.servers.stack import Stack, database_arguments, new_stack
from tests.tools.faults.journal import Journal
from tests.tools.faults.shopper import Shop
from tests.tools.faults.tail import Tail
from tests.tools.faults.tap import Published

# A rate limit that is counted but never reached; two processes each of web and of worker, whose
# parents restart them; tokens that outlive a long run.
SETTINGS = {
    "RATE_LIMIT": "999999999/second",
    "WEB_WORKERS": "2",
    "WORKER_PROCESSES": "2",
    "ACCESS_TOKEN_EXPIRE_MINUTES": "1440",
}
SQL_TIMEOUT_S = 30.0
REDIS_TIMEOUT_S = 5.0
ORDERS_PER_APPEND = 50
RABBITMQCTL_TIMEOUT_S = 60.0
LOOK_S = 0.05
SIGNALLED_S = 30.0


@dataclass
class Bench:
    """What a row may use. `sql`, `redis_client` and `rabbitmqctl` do not use the proxies."""

    stack: Stack
    settings: dict[str, str]  # of the stack: direct addresses and passwords
    web: Proxy
    postgres: Proxy
    redis: Proxy
    rabbitmq: Proxy
    redis_client: Redis
    journal: Journal
    shop: Shop
    tap: Published
    tail: Tail
    hold_s: float
    rng: random.Random  # the engine seeds one for each run
    # Streams that rows have written themselves: no journal holds them.
    strangers: set[UUID] = field(default_factory=set)
    # When Redis hung or could not be reached, in monotonic seconds: reads may be stale then.
    stale_times: list[tuple[float, float]] = field(default_factory=list)
    everything_s: float = 0.0  # how long F57 lasts

    async def hold(self, seconds: float | None = None) -> None:
        """Lets the fault last, under load, for `hold_s`, or for the `seconds` that a row names."""
        await asyncio.sleep(self.hold_s if seconds is None else seconds)

    # --- processes --------------------------------------------------------------------------------

    def pid(self, name: str) -> int:
        """The first process of this role or server: up, web, relay, consumer, worker, flower,
        postgres, redis, rabbitmq or epmd.
        """
        records = State(self.stack.state).read_processes()
        return next(int(record["pid"]) for record in records if record["role"] == name)

    def children(self, name: str) -> list[int]:
        """All descendants of that process, the oldest first."""
        try:
            found = psutil.Process(self.pid(name)).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return [process.pid for process in found]

    def runs(self, name: str) -> bool:
        """Whether that process runs now; the stack starts it again if it does not."""
        records = State(self.stack.state).read_processes()
        return any(r["role"] == name and start_time(r["pid"]) == r["started"] for r in records)

    def signal(self, name: str, number: Signals) -> None:
        """Sends the signal to the process of that role or server, if it runs."""
        with suppress(ProcessLookupError):
            os.kill(self.pid(name), number)

    def signal_all(self, name: str, number: Signals) -> None:
        """Sends the signal to the process and all its descendants."""
        for pid in (self.pid(name), *self.children(name)):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    async def restarted(self, name: str, before: int) -> None:
        """Waits until that role or server has another process than the pid `before`."""
        async with asyncio.timeout(SIGNALLED_S):
            while self.pid(name) == before:
                await asyncio.sleep(LOOK_S)

    async def kill(self, name: str) -> None:
        """Sends SIGKILL to its process; returns once the stack has started another."""
        before = self.pid(name)
        self.signal(name, SIGKILL)
        await self.restarted(name, before)

    # --- servers ----------------------------------------------------------------------------------

    async def sql(self, statement: str, *parameters: Any) -> list[asyncpg.Record]:
        """Runs one statement in a new session, as the owner of the database."""
        async with self.session() as session:
            rows: list[asyncpg.Record] = await session.fetch(statement, *parameters)
        return rows

    @asynccontextmanager
    async def session(self) -> AsyncIterator[asyncpg.Connection]:
        """A session of the owner of the database."""
        connection = await asyncpg.connect(
            **database_arguments(self.settings),
            timeout=SQL_TIMEOUT_S,
            command_timeout=SQL_TIMEOUT_S,
        )
        try:
            yield connection
        finally:
            await connection.close(timeout=SQL_TIMEOUT_S)

    async def add_events(self, number: int) -> None:
        """Appends about `number` events, of orders that no customer has placed."""
        life = (PLACED, CAPTURED, PAID, DISPATCHED, SHIPPED, DELIVERED_SHIPMENT, DELIVERED)
        settings = Settings.model_validate(self.settings)
        engine = create_engine(settings, None, application_name="faults", pool_size=1)
        try:
            for _ in range(0, number, len(life) * ORDERS_PER_APPEND):
                self.strangers.update(await given_orders(engine, *[life] * ORDERS_PER_APPEND))
        finally:
            await engine.dispose()

    async def rabbitmqctl(self, *words: str) -> str:
        """The output of `rabbitmqctl WORD ...`, run as the node's user in its environment. Raises
        RuntimeError if it fails.
        """
        node = psutil.Process(self.pid("rabbitmq"))
        done = await asyncio.to_thread(
            subprocess.run,
            ["rabbitmqctl", *words],
            env=node.environ(),
            cwd=node.cwd(),
            user=node.uids().real,
            group=node.gids().real,
            extra_groups=[],
            capture_output=True,
            text=True,
            timeout=RABBITMQCTL_TIMEOUT_S,
        )
        if done.returncode:
            raise RuntimeError(f"rabbitmqctl {' '.join(words)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def heal(self) -> None:
        """Lets every proxy pass all bytes again."""
        for proxy in (self.web, self.postgres, self.redis, self.rabbitmq):
            proxy.heal()


@asynccontextmanager
async def running_bench(seed: int, hold_s: float) -> AsyncIterator[Bench]:
    """A bench on a fresh stack that is ready, with its customers registered. At the end its data is
    removed, with the journal.
    """
    async with AsyncExitStack() as exits:
        stack = exits.enter_context(new_stack(**SETTINGS, FLOWER_PORT=str(free_port())))
        proxies = await _proxies(exits, stack)
        await _up(exits, stack, proxies)
        settings = State(stack.state).read()["settings"]
        redis = Redis(
            port=int(settings["REDIS_PORT"]),
            password=settings["REDIS_PASSWORD"],
            socket_timeout=REDIS_TIMEOUT_S,
            socket_connect_timeout=REDIS_TIMEOUT_S,
        )
        exits.push_async_callback(redis.aclose)
        journal = Journal(stack.state / "journal.jsonl")
        exits.push_async_callback(journal.close)
        tap = Published(Settings.model_validate(settings))
        exits.push_async_callback(tap.close)
        await tap.open()
        tail = Tail(database_arguments(settings), redis)
        exits.push_async_callback(tail.close)
        tail.start()
        shop = Shop(f"http://127.0.0.1:{proxies['web'].port}", journal, seed)
        exits.push_async_callback(shop.client.aclose)
        await shop.register_customers()
        yield Bench(
            stack, settings, **proxies, redis_client=redis, journal=journal, shop=shop, tap=tap,
            tail=tail, hold_s=hold_s, rng=random.Random(seed),
        )  # fmt: skip


async def _proxies(exits: AsyncExitStack, stack: Stack) -> dict[str, Proxy]:
    """Proxies to the web role and to the servers, which start later on the chosen ports."""
    state = State(stack.state)
    state.create()
    targets = {**choose_ports(state), "web": stack.port}
    return {
        name: await exits.enter_async_context(proxy_to("127.0.0.1", targets[name]))
        for name in ("web", "postgres", "redis", "rabbitmq")
    }


async def _up(exits: AsyncExitStack, stack: Stack, proxies: Mapping[str, Proxy]) -> None:
    proxied = (
        f"DB_PORT={proxies['postgres'].port}",
        f"REDIS_PORT={proxies['redis'].port}",
        f"RABBITMQ_PORT={proxies['rabbitmq'].port}",
    )
    up = (sys.executable, "-m", "tests.tools.faults.proxied_up", str(stack.state), str(stack.port))
    running = stack.up(*up, *proxied)
    await asyncio.to_thread(running.__enter__)  # not in the loop: the proxies run in it
    exits.push_async_callback(asyncio.to_thread, running.__exit__, None, None, None)
