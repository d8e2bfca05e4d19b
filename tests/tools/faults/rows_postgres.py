"""Faults of PostgreSQL: F07 to F13 and F16 to F19; those of its disks are in rows_disk.py.

Each row injects, holds and heals. A row checks what must continue during the fault; the bench
checks what must be true afterwards.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial

import asyncpg
import psutil

from tests.support.servers.stack import database_arguments
from tests.tools.faults.bench import Bench
from tests.tools.faults.holding import (
    commands_continue,
    locked_table,
    owner_session,
    relay_continues,
    repeat,
    wait_for_postgres,
)
from tests.tools.faults.rows import row

RESET_EVERY_S = 2.0
LOSE_A_REPLY_EVERY_S = 0.2
REPLY_S = 1.0
DELAY_S = 0.2
THROTTLE_BYTES_PER_S = 20_000
HOT_TABLE_BYTES_MAX = 2_000_000  # of partitions, and of checkpoints, without vacuum
# Sessions of the service's roles have a name; the bench's sessions have none.
ROLES_SESSIONS = "FROM pg_stat_activity WHERE application_name <> '' AND pid <> pg_backend_pid()"


@row("F07", "PostgreSQL crashes")
async def crash(bench: Bench) -> None:
    """By an immediate shutdown, then by SIGKILL to the postmaster alone."""
    for death in (signal.SIGQUIT, signal.SIGKILL):
        await wait_for_postgres(bench)
        bench.signal("postgres", death)
        await bench.hold()


@row("F08", "Backends are killed")
async def killed_backend(bench: Bench) -> None:
    """Terminates all sessions, which costs each of them one error. Then kills one backend with
    SIGKILL: the server ends all others and recovers as from a crash.
    """
    await wait_for_postgres(bench)
    await bench.sql(f"SELECT pg_terminate_backend(pid) {ROLES_SESSIONS}")
    await bench.hold()
    victims = await bench.sql(f"SELECT pid {ROLES_SESSIONS}")
    os.kill(bench.rng.choice(victims)["pid"], signal.SIGKILL)
    await bench.hold()


@row("F09", "PostgreSQL hangs")
async def hung(bench: Bench) -> None:
    postmaster = psutil.Process(bench.pid("postgres"))
    postmaster.suspend()  # first, so that it starts no more backends
    backends = postmaster.children(recursive=True)
    try:
        for process in backends:
            process.suspend()
        await bench.hold()
    finally:
        for process in (*backends, postmaster):
            if process.is_running():
                process.resume()


@row("F10", "Replies to commits are lost")
async def lost_replies(bench: Bench) -> None:
    """PostgreSQL does the work, but its reply never arrives."""

    async def lose() -> None:
        bench.postgres.drop_replies()
        try:
            async with asyncio.timeout(REPLY_S):
                await bench.postgres.swallowed.wait()
        finally:
            bench.postgres.cut()
            bench.postgres.heal()

    await repeat(LOSE_A_REPLY_EVERY_S, bench, lose)


@row("F11", "The link to PostgreSQL is slow")
async def slow_link(bench: Bench) -> None:
    try:
        bench.postgres.delay(DELAY_S)
        await bench.hold()
        bench.postgres.throttle(THROTTLE_BYTES_PER_S)
        await bench.hold()
    finally:
        bench.postgres.heal()


@row("F12", "The link to PostgreSQL is reset again and again")
async def link_resets(bench: Bench) -> None:
    async def cut() -> None:
        bench.postgres.cut()

    await repeat(RESET_EVERY_S, bench, cut)


@row("F13", "No connection to PostgreSQL is left")
async def no_connections(bench: Bench) -> None:
    """The bench's idle sessions take every connection: the roles get error 53300 meanwhile."""
    async with AsyncExitStack() as idle:
        await take_all_connections(bench, idle)
        await bench.hold()


async def take_all_connections(bench: Bench, idle: AsyncExitStack) -> None:
    async def take() -> asyncpg.Connection:
        connection = await asyncpg.connect(**database_arguments(bench.settings))
        idle.callback(connection.terminate)
        return connection

    first = await take()
    while await first.fetchval(f"SELECT count(*) {ROLES_SESSIONS}"):
        await first.execute(f"SELECT pg_terminate_backend(pid) {ROLES_SESSIONS}")
        with suppress(asyncpg.TooManyConnectionsError):
            while True:
                await take()


@row("F16", "A transaction stays open")
async def long_transaction(bench: Bench) -> None:
    """The transaction has written, so it would block any reader that follows transaction ids; the
    relay follows positions.
    """
    async with owner_session(bench) as session, session.transaction():
        await session.execute("SELECT pg_current_xact_id()")
        async with commands_continue(bench), relay_continues(bench):
            await bench.hold()


@row("F17", "A read model is locked")
async def locked_read_model(bench: Bench) -> None:
    """Projections fail with lock_timeout and retry; commands are not affected."""
    async with locked_table(bench, "read_models.order_view"), commands_continue(bench):
        await bench.hold()


@row("F18", "Appends are held")
async def held_appends(bench: Bench) -> None:
    """One append in twenty sleeps between its rows and its commit, until its statement_timeout.
    Then another writer holds one partition's counter and rolls back.
    """
    await wait_for_postgres(bench)
    for statement in HOLD_SOME_APPENDS:
        await bench.sql(statement)
    try:
        async with commands_continue(bench):
            await bench.hold()
    finally:
        await bench.sql("DROP FUNCTION hold_some_appends CASCADE")
    async with commands_continue(bench), held_counter(bench):
        await bench.hold()


HOLD_SOME_APPENDS = (
    "CREATE FUNCTION hold_some_appends() RETURNS trigger LANGUAGE plpgsql AS "
    "$$BEGIN IF random() < 0.05 THEN PERFORM pg_sleep(10); END IF; RETURN NULL; END$$",
    "CREATE TRIGGER hold_some_appends AFTER INSERT ON events "
    "FOR EACH STATEMENT EXECUTE FUNCTION hold_some_appends()",
)


@asynccontextmanager
async def held_counter(bench: Bench) -> AsyncIterator[None]:
    """A writer holds the counter of partition 0, with a new position; at the end it rolls back."""
    async with owner_session(bench) as session:
        transaction = session.transaction()
        await transaction.start()
        await session.execute("UPDATE partitions SET position = position + 1 WHERE partition = 0")
        try:
            yield
        finally:
            await transaction.rollback()


@row("F19", "Nothing is vacuumed")
async def no_vacuum(bench: Bench) -> None:
    """The rows that every append and every batch rewrites stay on their pages: the pages have room
    for the next version, and each update removes old versions.
    """
    await wait_for_postgres(bench)
    await autovacuum(bench, "= off")
    try:
        await repeat(0, bench, partial(bench.sql, REWRITE_HOT_ROWS))
        sizes = await bench.sql(HOT_SIZES)
        assert all(row["bytes"] <= HOT_TABLE_BYTES_MAX for row in sizes), sizes
    finally:
        await autovacuum(bench, "TO DEFAULT")


async def autovacuum(bench: Bench, setting: str) -> None:
    await bench.sql(f"ALTER SYSTEM SET autovacuum {setting}")
    await bench.sql("SELECT pg_reload_conf()")


REWRITE_HOT_ROWS = """
    DO $$ BEGIN FOR i IN 1..100 LOOP
        UPDATE partitions SET recorded_at = recorded_at WHERE partition = i % 4; COMMIT;
        UPDATE checkpoints SET moved_at = moved_at WHERE partition = i % 4 AND name = 'relay';
        COMMIT;
    END LOOP; END $$
"""
HOT_SIZES = """
    SELECT name, pg_total_relation_size(name::regclass) AS bytes
    FROM unnest(ARRAY['partitions', 'checkpoints']) AS name
"""
