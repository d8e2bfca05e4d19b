"""Alembic's environment: runs migrations over asyncpg, one process at a time.

Alembic takes no lock, so replicas that start at once would run the same revision at once (pitfall
15). A session-level advisory lock, on a separate connection, lets one of them migrate; the others
wait, then find nothing to do.
"""

import asyncio

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service.infra.postgres import create_engine
from order_service.infra.postgres_logins import make_logins
from order_service.settings import Settings
from order_service.telemetry import logging

MIGRATION_LOCK = 0x6F72646572  # "order"; advisory locks are per database
LOCK_WAIT_S = 120
LOCK_POLL_S = 0.2
STATEMENT_TIMEOUT_MS = 600_000


async def take_lock(connection: AsyncConnection) -> None:
    """Returns with the lock held; raises TimeoutError after LOCK_WAIT_S."""
    deadline = asyncio.get_running_loop().time() + LOCK_WAIT_S
    take = text("SELECT pg_try_advisory_lock(:lock)")
    while not (await connection.execute(take, {"lock": MIGRATION_LOCK})).scalar_one():
        if asyncio.get_running_loop().time() > deadline:
            raise TimeoutError(
                f"Cannot migrate: another migration has held the lock for {LOCK_WAIT_S} s. "
                "Find its process and wait for its end, or end it; then migrate again."
            )
        await asyncio.sleep(LOCK_POLL_S)


def migrate(connection: Connection) -> None:
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


async def main() -> None:
    logging.set_up()
    settings = Settings()  # type: ignore[call-arg]  # the environment gives the rest
    context.config.attributes["partitions"] = settings.LOG_PARTITIONS
    engine = create_engine(
        settings, None, application_name="migrate", statement_timeout_ms=STATEMENT_TIMEOUT_MS
    )
    try:
        async with engine.connect() as holder:
            holder = await holder.execution_options(isolation_level="AUTOCOMMIT")
            await take_lock(holder)
            async with engine.connect() as connection:
                await connection.run_sync(migrate)
                await connection.commit()
            await make_logins(holder, settings)
            await holder.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": MIGRATION_LOCK})
    finally:
        await engine.dispose()


def print_sql() -> None:
    """`alembic upgrade head --sql`: prints the SQL that migrates an empty database."""
    settings = Settings()  # type: ignore[call-arg]
    context.config.attributes["partitions"] = settings.LOG_PARTITIONS
    context.configure(
        dialect_name="postgresql",
        dialect_opts={"paramstyle": "named"},  # otherwise each % is doubled
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    print_sql()
else:
    asyncio.run(main())
