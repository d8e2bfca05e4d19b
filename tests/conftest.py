"""Fixtures: a migrated database, an emptied Redis and RabbitMQ for tests on real servers.

`./entrypoint.sh test` starts private servers and gives their addresses in the environment; nothing
here starts or fakes one. A test that needs no server asks for none of these.
"""

import asyncio
import atexit
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from pathlib import Path
from uuid import uuid4

import asyncpg
import httpx
import hypothesis
import pytest
import uvicorn
from aio_pika.abc import AbstractChannel
from fastapi import FastAPI
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.infra import rabbitmq as broker
from order_service.infra.postgres import PROJECTOR, WEB, create_engine
from order_service.infra.redis import connect
from order_service.main import create_app
from order_service.settings import Settings
from order_service.web.connection import Connection
from tests.support.http.conformance import known_contract
from tests.support.random_input import SEED, register_profiles
from tests.support.waiting import WAIT_S, eventually
from tests.tools.faults.running import bench, stack

__all__ = ["bench", "stack"]  # found here by every folder of tests, and started once

register_profiles()

GRACE_S = 2.0  # for requests in work when a test stops its server
ROOT = Path(__file__).parent.parent


def pytest_report_header(config: pytest.Config) -> str:
    profile = hypothesis.settings.get_current_profile_name()
    return f"random input: seed {_seed(config)}, hypothesis profile {profile}"


def _seed(config: pytest.Config) -> int:
    return int(config.getoption("hypothesis_seed") or SEED)


@pytest.fixture(scope="session")
def random_seed(pytestconfig: pytest.Config) -> int:
    """Of all that is random in a test but does not come from hypothesis."""
    return _seed(pytestconfig)


async def run_sql(settings: Settings, statement: str, database: str = "postgres") -> None:
    """Runs one statement as the owner of the database."""
    connection = await asyncpg.connect(
        host=settings.DB_HOST,
        port=settings.DB_PORT,
        user=settings.DB_USER,
        password=settings.DB_PASSWORD,
        database=database,
    )
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture(scope="session")
def migrated_template() -> Iterator[Settings]:
    """Settings of a freshly migrated database that tests copy; dropped at the end of the run."""
    settings = Settings(
        DB_NAME=f"template_{uuid4().hex[:12]}",
        CUSTOMER_PRICES="accept",
        SELF_SERVICE_TRANSITIONS=("CANCELED",),  # whatever the environment of the run allows
    )  # type: ignore[call-arg]
    asyncio.run(run_sql(settings, f"CREATE DATABASE {settings.DB_NAME}"))
    subprocess.run(
        [sys.executable, "-m", "alembic", "upgrade", "head"],
        cwd=ROOT,
        env={**os.environ, "DB_NAME": settings.DB_NAME},
        check=True,
    )
    yield settings
    asyncio.run(run_sql(settings, f"DROP DATABASE {settings.DB_NAME} WITH (FORCE)"))


@pytest.fixture
def settings(migrated_template: Settings) -> Iterator[Settings]:
    """Settings that name an empty, migrated database of this test's own."""
    with own_database(migrated_template) as settings:
        yield settings


@contextmanager
def own_database(template: Settings) -> Iterator[Settings]:
    name = f"test_{uuid4().hex[:12]}"
    as_owner = _owner_of(template.DB_HOST, template.DB_PORT)
    as_owner(f"CREATE DATABASE {name} TEMPLATE {template.DB_NAME}")
    yield template.model_copy(update={"DB_NAME": name})
    as_owner(f"DROP DATABASE {name} WITH (FORCE)")


@cache
def _owner_of(host: str, port: int) -> Callable[[str], None]:
    """Runs a statement as the owner of all databases there, on one connection for the whole run: to
    open it takes as long as most statements."""
    loop = asyncio.new_event_loop()
    atexit.register(loop.close)
    found = Settings()  # type: ignore[call-arg]
    connection = loop.run_until_complete(
        asyncpg.connect(
            host=host,
            port=port,
            user=found.DB_USER,
            password=found.DB_PASSWORD,
            database="postgres",
        )
    )
    atexit.register(connection.terminate)
    return lambda statement: loop.run_until_complete(connection.execute(statement))


@pytest.fixture
async def web_engine(settings: Settings) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(settings, WEB, application_name="test-web")
    yield engine
    await engine.dispose()


@pytest.fixture
async def projector_engine(settings: Settings) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(settings, PROJECTOR, application_name="test-projector")
    yield engine
    await engine.dispose()


@pytest.fixture
async def redis(settings: Settings) -> AsyncIterator[Redis]:
    """A client of the tests' Redis database, emptied."""
    client = connect(settings)
    await client.flushdb()
    yield client
    await client.aclose()


@pytest.fixture
async def rabbitmq(settings: Settings) -> AsyncIterator[AbstractChannel]:
    """A channel to RabbitMQ, where nothing of ours exists before the test, nor after it."""
    connection = await broker.connect(settings, "test")
    channel = await connection.channel()
    await remove_topology(channel)
    yield channel
    if not channel.is_closed:
        await remove_topology(channel)
    await connection.close()


async def remove_topology(channel: AbstractChannel) -> None:
    for queue in (broker.HINT_QUEUE, broker.TASK_QUEUE):
        await channel.queue_delete(queue)
    for exchange in (broker.EVENTS_EXCHANGE, broker.TASK_QUEUE):
        await channel.exchange_delete(exchange)


@pytest.fixture
async def web(settings: Settings, redis: Redis) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the whole web process; not limited, so that tests of other things are not
    refused."""
    async with serving_with(settings) as client:
        yield client


@asynccontextmanager
async def serving_with(settings: Settings, **changed: str) -> AsyncIterator[httpx.AsyncClient]:
    """The whole web process, with these settings as the environment would give them."""
    given = settings.model_dump() | {"RATE_LIMIT": "1000000/minute"} | changed
    async with serving(create_app(Settings.model_validate(given))) as client:
        yield client


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """The application behind a real server on a free port, stopped at the end; every answer is held
    against the OpenAPI document. Answers are plain unless a test asks for compressed ones."""
    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        loop="none",
        lifespan="on",
        proxy_headers=False,
        server_header=False,
        log_config=None,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    listener = socket.create_server(("127.0.0.1", 0))
    # As uvloop does it: otherwise each answer waits 40 ms for the acknowledgement of its headers.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # Step by step, since `serve` would take over the signal handlers, which are pytest's.
    await server.startup(sockets=[listener])
    running = asyncio.create_task(server.main_loop())
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        hooks = {"response": [known_contract().check]}
        async with httpx.AsyncClient(
            base_url=url,
            headers={"Accept-Encoding": "identity"},
            timeout=WAIT_S,
            verify=False,  # nothing is encrypted: to load all authorities takes 20 ms
            event_hooks=hooks,
        ) as client:
            yield client
    finally:
        # What `main_loop` and `shutdown` do at the end, without their pauses of 0.1 s each, which
        # would be an eighth of a run of all tests.
        running.cancel()
        for accepting in server.servers:
            accepting.close()
        listener.close()
        for connection in [*server.server_state.connections]:
            connection.shutdown()
        state = server.server_state
        try:
            await eventually(lambda: not (state.connections or state.tasks), limit_s=GRACE_S)
        except TimeoutError:  # as `timeout_graceful_shutdown`
            for task in state.tasks:
                task.cancel()
        await server.lifespan.shutdown()
