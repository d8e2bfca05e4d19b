"""PostgreSQL: one engine per process and role.

A process logs in as DB_USER and switches to one of the roles that `migrate` creates, by the
start-up parameter `role`; its statements have the rights of that role only. Each process may have
its own DB_USER: any login that is a member of the role.

All connections of a process lead to one incarnation of the log. A database restored from a backup,
or a promoted standby, may lack events that this process has in memory. So a process that connects
to another incarnation ends, and its supervisor restarts it with an empty memory.
"""

import asyncio
import logging
import os
import signal
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Literal, NamedTuple, TypeVar
from weakref import WeakKeyDictionary, WeakValueDictionary

import asyncpg
from asyncpg import InterfaceError, InternalClientError, PostgresError
from sqlalchemy import URL, Engine, event, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry, QueuePool
from sqlalchemy.util import await_only
from sqlalchemy.util.queue import AsyncAdaptedQueue, Empty

from order_service import limits
from order_service.settings import Settings
from order_service.telemetry.metrics import POOL_CONNECTIONS, Labels

logger = logging.getLogger(__name__)

Role = Literal["order_web", "order_projector"]
WEB: Role = (
    "order_web"  # reads events and read models, appends by the function only, keeps accounts
)
PROJECTOR: Role = (
    "order_projector"  # reads events, owns checkpoints and read models; relay, workers, replay
)
# The errors that a query may raise. SQLAlchemy does not wrap every error that the driver raises
# while connecting. InternalClientError: the server ended the session during an operation.
FAILURES = (SQLAlchemyError, PostgresError, InterfaceError, InternalClientError, OSError)
LOCK_NOT_AVAILABLE = "55P03"  # SQLSTATE: lock_timeout has passed
T = TypeVar("T")

# A restored database has other table OIDs or is on another server. A database that was recovered to
# an earlier time, or lost its last commits when a standby was promoted, is on another timeline.
_INCARNATION = """
    SELECT left(md5(concat_ws('.', s.system_identifier, d.oid, to_regclass('events')::oid)), 12),
           left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)
    FROM pg_control_system() s, pg_database d WHERE d.datname = current_database()
"""


class Incarnation(NamedTuple):
    """Identifies the log. `copy` changes with every restore of a backup; `timeline` whenever the
    last events may have been lost."""

    copy: str
    timeline: str

    def __str__(self) -> str:
        return f"{self.copy}.{self.timeline}"


class FairQueue(AsyncAdaptedQueue[ConnectionPoolEntry]):
    """A pool's free connections: the caller that has waited longest gets the next one.

    asyncio.Queue wakes the first waiter, but a caller that arrives before that waiter runs takes
    the item, and the waiter rejoins the queue at its end. With 64 readers on 10 connections some
    readers timed out and got a 503.
    """

    def __init__(self, maxsize: int = 0, use_lifo: bool = False) -> None:
        super().__init__(maxsize, use_lifo)
        self._waiting: deque[asyncio.Future[ConnectionPoolEntry]] = deque()

    def get(self, block: bool = True, timeout: float | None = None) -> ConnectionPoolEntry:
        if not block or not (self._waiting or self.empty()):
            return self.get_nowait()
        return await_only(self._wait(timeout))

    def put_nowait(self, item: ConnectionPoolEntry) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(item)
                return
        super().put_nowait(item)

    async def _wait(self, timeout_s: float | None) -> ConnectionPoolEntry:
        waiter: asyncio.Future[ConnectionPoolEntry] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                return await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled():
                self.put_nowait(waiter.result())  # it arrived as the wait ended
            if isinstance(error, TimeoutError):
                raise Empty from error
            raise


class _Pool(AsyncAdaptedQueuePool):
    __module__ = AsyncAdaptedQueuePool.__module__  # and its logger, which logs no new pools
    _queue_class = FairQueue


def database_url(settings: Settings) -> URL:
    return URL.create(
        "postgresql+asyncpg",
        username=settings.DB_USER,
        password=settings.DB_PASSWORD,
        host=settings.DB_HOST,
        port=settings.DB_PORT,
        database=settings.DB_NAME,
    )


def create_engine(
    settings: Settings,
    role: Role | None,
    *,
    application_name: str,
    pool_size: int = limits.POOL_SIZE,
    statement_timeout_ms: int = limits.STATEMENT_TIMEOUT_MS,
    derived: bool = False,
) -> AsyncEngine:
    """An engine whose sessions all run as `role` (None: as DB_USER, for migrations).

    `derived`: all that the engine writes is derived from the log, rows and checkpoints in one
    transaction. If a crash of PostgreSQL loses its last commits, the same transactions run again.
    So its commits do not wait for the disk; those of appends must.
    """
    server_settings = {
        "application_name": application_name,
        "timezone": "UTC",
        "jit": "off",  # compiling takes longer than any of our statements
        "statement_timeout": str(statement_timeout_ms),
        # Half the statement's time-out at most, so that a long wait for a lock fails as one.
        "lock_timeout": str(min(limits.LOCK_TIMEOUT_MS, statement_timeout_ms // 2)),
        "idle_in_transaction_session_timeout": str(limits.IDLE_IN_TRANSACTION_TIMEOUT_MS),
    }
    if role is not None:
        server_settings["role"] = role
    if derived:
        server_settings["synchronous_commit"] = "off"
    connect_args: dict[str, Any] = {
        "timeout": limits.CONNECT_TIMEOUT_S,
        # Longer than the server's time-out, so that a slow statement ends with the server's error.
        "command_timeout": max(limits.DRIVER_TIMEOUT_S, statement_timeout_ms / 1000 + 2),
        "server_settings": server_settings,
    }
    engine = create_async_engine(
        database_url(settings),
        poolclass=_Pool,
        pool_size=pool_size,
        max_overflow=0,
        hide_parameters=True,  # an error's text ends up in logs
        pool_timeout=limits.POOL_WAIT_S,
        pool_recycle=1_800,
        connect_args=connect_args,
    )
    if role is not None:
        _require_one_incarnation(engine)
    _ENGINES[application_name] = engine.sync_engine
    return engine


# The engines of this process by application name.
_ENGINES: WeakValueDictionary[str, Engine] = WeakValueDictionary()


def _pool_connections() -> dict[Labels, float]:
    found: dict[Labels, float] = {}
    for name, engine in _ENGINES.items():
        assert isinstance(engine.pool, QueuePool)
        found[name, "in_use"] = engine.pool.checkedout()
        found[name, "size"] = engine.pool.size()
    return found


POOL_CONNECTIONS.read = _pool_connections


def _require_one_incarnation(engine: AsyncEngine) -> None:
    known: Incarnation | None = None

    @event.listens_for(engine.sync_engine, "connect")
    def check(connection: DBAPIConnection, _: object) -> None:
        nonlocal known
        found: Incarnation = connection.run_async(read_incarnation)
        known = known or found
        if found != known:
            _end_process()
            raise InterfaceError("another incarnation of the log")


def _end_process() -> None:
    logger.critical("The database was restored or replaced by a standby: ending this process.")
    os.kill(os.getpid(), signal.SIGTERM)


async def read_incarnation(driver: asyncpg.Connection) -> Incarnation:
    return Incarnation(*await driver.fetchrow(_INCARNATION))


async def incarnation(engine: AsyncEngine) -> Incarnation:
    """The incarnation of the engine's log, which stays the same while this process runs."""
    async with driver_connection(engine) as (_, driver):
        return await read_incarnation(driver)


async def watch_incarnation(engine: AsyncEngine, known: Incarnation) -> None:
    """The background task of a process that may serve from memory or cache for a long time without
    a new connection; it ends only when cancelled."""
    while True:
        await asyncio.sleep(limits.INCARNATION_WATCH_S)
        with suppress(*FAILURES):  # its callers report that the database does not answer
            if await incarnation(engine) != known:
                _end_process()


@asynccontextmanager
async def driver_connection(
    engine: AsyncEngine,
) -> AsyncIterator[tuple[AsyncConnection, asyncpg.Connection]]:
    """A connection of the pool in AUTOCOMMIT, and the driver's connection below it: for statements
    so frequent that SQLAlchemy's measured overhead matters. The driver takes $1, $2 as
    placeholders and raises its own errors; its `transaction()` covers both objects.

    After any error the connection is closed: the pool cannot tell which of the driver's errors
    break a connection.
    """
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        driver = await driver_of(connection)
        try:
            yield connection, driver
        except BaseException:
            await connection.invalidate()
            raise


async def driver_of(connection: AsyncConnection) -> asyncpg.Connection:
    """The driver's connection below `connection`."""
    driver = (await connection.get_raw_connection()).driver_connection
    assert driver is not None
    return driver


def sqlstate(error: BaseException) -> str:
    """The SQLSTATE of an error of the driver or of SQLAlchemy; empty if the server sent none."""
    return getattr(getattr(error, "orig", error), "sqlstate", None) or ""


def is_data_error(error: BaseException) -> bool:
    """Whether nothing was stored and the same data would fail again: SQLSTATE class 22 or 23, or
    the driver cannot encode the data."""
    return sqlstate(error)[:2] in ("22", "23") or isinstance(error, ValueError)


async def query(engine: AsyncEngine, read: Callable[[AsyncConnection], Awaitable[T]]) -> T:
    """The result of `read` on a connection of the pool. Each statement is its own transaction:
    BEGIN and ROLLBACK around them are two round trips, took 135 of the 540 us of reading an order,
    and would give no common snapshot.

    A pooled connection may have died while idle (server restarted, network cut). SQLAlchemy then
    drops the whole pool, and `read` runs once more on a new connection.
    """
    reading = _autocommitting(engine)
    try:
        async with reading.connect() as connection:
            return await read(connection)
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
    async with reading.connect() as connection:
        return await read(connection)


@asynccontextmanager
async def one_snapshot(connection: AsyncConnection) -> AsyncIterator[None]:
    """Inside the block all reads on `connection`, one of `query`, see the same snapshot."""
    driver = await driver_of(connection)
    async with driver.transaction(isolation="repeatable_read", readonly=True):
        yield


_AUTOCOMMITTING: WeakKeyDictionary[AsyncEngine, AsyncEngine] = WeakKeyDictionary()


def _autocommitting(engine: AsyncEngine) -> AsyncEngine:
    """The engine in AUTOCOMMIT, on the same pool; created once."""
    found = _AUTOCOMMITTING.get(engine)
    if found is None:
        found = engine.execution_options(isolation_level="AUTOCOMMIT")
        _AUTOCOMMITTING[engine] = found
    return found


async def check_role(engine: AsyncEngine, role: Role) -> None:
    """Raises RuntimeError unless sessions run as `role`: an engine with more rights must not
    serve."""
    async with engine.connect() as connection:
        found = (await connection.execute(text("SELECT current_user"))).scalar_one()
    if found != role:
        raise RuntimeError(
            f"Sessions run as {found}, expected {role}: run `./entrypoint.sh migrate` first."
        )
