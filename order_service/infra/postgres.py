"""PostgreSQL: engines, one a process and role.

A process enters the database by DB_USER and drops to one of the roles that `migrate` made, by the
start-up parameter `role`; nothing that it runs can then do more than that role may. DB_USER may be
another login for each process: any that is a member of the role it needs will do.

All connections of a process lead to one incarnation of the log. A database that was restored from a
backup, or a standby that took over, may lack events that this process remembers; so a process that
meets another incarnation ends, and whoever keeps it running starts it with an empty memory.
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
# Whatever a query may raise: SQLAlchemy does not wrap all that the driver raises while it connects.
# The driver's internal error: the server ended a session in the middle of something.
FAILURES = (SQLAlchemyError, PostgresError, InterfaceError, InternalClientError, OSError)
LOCK_NOT_AVAILABLE = "55P03"  # SQLSTATE: lock_timeout has passed
T = TypeVar("T")

# A restored database has other numbers for its tables or is on another server; one that went back
# in time, or lost its last commits as a standby took over, is on another timeline.
_INCARNATION = """
    SELECT left(md5(concat_ws('.', s.system_identifier, d.oid, to_regclass('events')::oid)), 12),
           left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)
    FROM pg_control_system() s, pg_database d WHERE d.datname = current_database()
"""


class Incarnation(NamedTuple):
    """Which log this is. `copy`: another one after every restore of a backup; `timeline`: another
    one whenever its end may have been lost."""

    copy: str
    timeline: str

    def __str__(self) -> str:
        return f"{self.copy}.{self.timeline}"


class FairQueue(AsyncAdaptedQueue[ConnectionPoolEntry]):
    """A pool's free connections: whoever has waited longest is served first.

    asyncio.Queue gives what a waiter was woken for to anybody who asks before he runs, and he
    begins anew behind all others: where 64 readers share 10 connections, some waited until their
    time was up and were answered 503.
    """

    def __init__(self, maxsize: int = 0, use_lifo: bool = False) -> None:
        super().__init__(maxsize, use_lifo)
        self._waiting: deque[asyncio.Future[ConnectionPoolEntry]] = deque()

    def get(self, block: bool = True, timeout: float | None = None) -> ConnectionPoolEntry:
        if not block or not (self._waiting or self.empty()):
            return self.get_nowait()
        return await_only(self._in_turn(timeout))

    def put_nowait(self, item: ConnectionPoolEntry) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(item)
                return
        super().put_nowait(item)

    async def _in_turn(self, timeout_s: float | None) -> ConnectionPoolEntry:
        turn: asyncio.Future[ConnectionPoolEntry] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(timeout_s):
                return await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self.put_nowait(turn.result())  # given in the very moment that it gave up
            if isinstance(error, TimeoutError):
                raise Empty from error
            raise


class _Pool(AsyncAdaptedQueuePool):
    __module__ = AsyncAdaptedQueuePool.__module__  # and its logger: no news of each pool
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
    """An engine whose every session runs as `role` (None: DB_USER itself, for migrations).

    `derived`: all that it writes follows from the log, rows and checkpoints in one transaction. A
    crash of PostgreSQL may take its last commits, whole: they are made again. So it waits for no
    disk; the appends need it.
    """
    server_settings = {
        "application_name": application_name,
        "timezone": "UTC",
        "jit": "off",  # compiling costs more than any statement of ours takes
        "statement_timeout": str(statement_timeout_ms),
        # Well before the statement's own, so that a wait for a lock ends as one.
        "lock_timeout": str(min(limits.LOCK_TIMEOUT_MS, statement_timeout_ms // 2)),
        "idle_in_transaction_session_timeout": str(limits.IDLE_IN_TRANSACTION_TIMEOUT_MS),
    }
    if role is not None:
        server_settings["role"] = role
    if derived:
        server_settings["synchronous_commit"] = "off"
    connect_args: dict[str, Any] = {
        "timeout": limits.CONNECT_TIMEOUT_S,
        # Longer than the server's own limit, so that a slow statement ends with the server's word
        # on it.
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
        _keep_to_one_incarnation(engine)
    _ENGINES[application_name] = engine.sync_engine
    return engine


# Of this process, by what PostgreSQL knows them as.
_ENGINES: WeakValueDictionary[str, Engine] = WeakValueDictionary()


def _pools() -> dict[Labels, float]:
    found: dict[Labels, float] = {}
    for name, engine in _ENGINES.items():
        assert isinstance(engine.pool, QueuePool)
        found[name, "in_use"] = engine.pool.checkedout()
        found[name, "size"] = engine.pool.size()
    return found


POOL_CONNECTIONS.read = _pools


def _keep_to_one_incarnation(engine: AsyncEngine) -> None:
    known: Incarnation | None = None

    @event.listens_for(engine.sync_engine, "connect")
    def check(connection: DBAPIConnection, _: object) -> None:
        nonlocal known
        found: Incarnation = connection.run_async(read_incarnation)
        known = known or found
        if found != known:
            _start_anew()
            raise InterfaceError("another incarnation of the log")


def _start_anew() -> None:
    logger.critical("The database is not the one that it was (restored?): starting anew.")
    os.kill(os.getpid(), signal.SIGTERM)


async def read_incarnation(driver: asyncpg.Connection) -> Incarnation:
    return Incarnation(*await driver.fetchrow(_INCARNATION))


async def incarnation(engine: AsyncEngine) -> Incarnation:
    """Of the log that the engine leads to, for as long as this process lives."""
    async with driver_connection(engine) as (_, driver):
        return await read_incarnation(driver)


async def watch_incarnation(engine: AsyncEngine, known: Incarnation) -> None:
    """The background task of a process that may answer from memory or cache for long without a new
    connection; ends by cancellation only."""
    while True:
        await asyncio.sleep(limits.INCARNATION_WATCH_S)
        with suppress(*FAILURES):  # away: whoever needs it says so
            if await incarnation(engine) != known:
                _start_anew()


@asynccontextmanager
async def driver_connection(
    engine: AsyncEngine,
) -> AsyncIterator[tuple[AsyncConnection, asyncpg.Connection]]:
    """A connection of the pool in AUTOCOMMIT, and the same as the driver knows it: for statements
    that run so often that SQLAlchemy's share of their cost was measured to matter. The driver has
    $1, $2 for placeholders, errors of its own, and `transaction()`, which holds for both.

    After any error the connection is closed: the pool cannot see which of the driver's end it.
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
    """The same connection as the driver knows it."""
    driver = (await connection.get_raw_connection()).driver_connection
    assert driver is not None
    return driver


def sqlstate(error: BaseException) -> str:
    """The SQLSTATE of an error of the driver or of SQLAlchemy; empty if the server did not send
    one."""
    return getattr(getattr(error, "orig", error), "sqlstate", None) or ""


def is_data_error(error: BaseException) -> bool:
    """Nothing was stored, and the same data would fail again: SQLSTATE class 22 or 23, or the
    driver cannot encode it."""
    return sqlstate(error)[:2] in ("22", "23") or isinstance(error, ValueError)


async def query(engine: AsyncEngine, read: Callable[[AsyncConnection], Awaitable[T]]) -> T:
    """What `read` answers on a connection of the pool. Each of its statements stands alone: BEGIN
    and ROLLBACK around them, two round trips, cost 135 us of the 540 of an order, and would give no
    common snapshot.

    A pooled connection may have died while it lay there (server restarted, link cut): SQLAlchemy
    then drops the whole pool, and a read is repeated, once, on a new connection.
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
    """What is read inside, on a connection of `query`, is all of one moment."""
    driver = await driver_of(connection)
    async with driver.transaction(isolation="repeatable_read", readonly=True):
        yield


_AUTOCOMMITTING: WeakKeyDictionary[AsyncEngine, AsyncEngine] = WeakKeyDictionary()


def _autocommitting(engine: AsyncEngine) -> AsyncEngine:
    """The same engine, of the same pool; made once."""
    found = _AUTOCOMMITTING.get(engine)
    if found is None:
        found = engine.execution_options(isolation_level="AUTOCOMMIT")
        _AUTOCOMMITTING[engine] = found
    return found


async def check_role(engine: AsyncEngine, role: Role) -> None:
    """Raises unless sessions really run as `role`: an engine that did not drop its rights must not
    serve."""
    async with engine.connect() as connection:
        found = (await connection.execute(text("SELECT current_user"))).scalar_one()
    if found != role:
        raise RuntimeError(
            f"Sessions run as {found}, expected {role}: run `./entrypoint.sh migrate` first."
        )
