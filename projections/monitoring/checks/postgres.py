"""PostgreSQL: version, free connections, durability, schema revision, an append."""

import time

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service import limits
from projections.monitoring.checks.check import Finding, finding
from projections.monitoring.checks.servers import Clock, agreement

VERSION_MIN = 15
# The last revision in `migrations`. Not read from Alembic, whose import takes a seventh of a web
# process's start; a test compares the two.
SCHEMA_REVISION = "0011"
_REVISION = text("SELECT version_num FROM alembic_version")
_NOW = text("SELECT extract(epoch FROM clock_timestamp())::float")
_FACTS = text(
    "SELECT current_setting('server_version') AS version, "
    "current_setting('server_version_num')::int / 10000 AS major, "
    "(SELECT sum(numbackends) FROM pg_stat_database) AS connections, "
    "current_setting('max_connections')::int AS connections_max, "
    "pg_size_pretty(pg_database_size(current_database())) AS size"
)
# Of nothing. PostgreSQL checks rights, tables and read-only mode all the same.
_APPEND = text("SELECT count(*) FROM append(" + ", ".join(["'{}'"] * 18) + ")")  # noqa: S608  # constants
# A commit that PostgreSQL acknowledges must be on disk: every promise depends on it.
_DURABLE = ("fsync", "full_page_writes", "synchronous_commit")


async def read_clock(connection: AsyncConnection) -> Clock:
    before = time.time()
    theirs = (await connection.execute(_NOW)).scalar_one()
    return Clock("PostgreSQL", before, theirs, time.time())


async def server(connection: AsyncConnection) -> list[Finding]:
    facts = (await connection.execute(_FACTS)).one()
    return [
        finding(
            "PostgreSQL version",
            facts.major >= VERSION_MIN,
            facts.version,
            f"{VERSION_MIN} or newer",
            "Move the database to a newer server: docs/operate.md, Backup.",
        ),
        finding(
            "PostgreSQL connections",
            facts.connections < facts.connections_max * limits.DOCTOR_FULL,
            f"{facts.connections} of {facts.connections_max}",
            f"less than {limits.DOCTOR_FULL:.0%}",
            "Raise max_connections, or run fewer processes: each may use "
            f"{limits.POOL_SIZE} and its appender's.",
        ),
        finding("database size", True, facts.size, "-", ""),
        agreement(await read_clock(connection)),
    ]


async def durable(connection: AsyncConnection) -> list[Finding]:
    return [await _durable(connection, name) for name in _DURABLE]


async def _durable(connection: AsyncConnection, name: str) -> Finding:
    value = (await connection.execute(text(f"SHOW {name}"))).scalar_one()
    remedy = f"Set {name} = on in postgresql.conf and reload: acknowledged orders could be lost."
    expected = "not off" if name == "synchronous_commit" else "on"
    return finding(f"PostgreSQL {name}", value != "off", value, expected, remedy)


async def revision(connection: AsyncConnection) -> list[Finding]:
    revision = (await connection.execute(_REVISION)).scalar_one_or_none()
    remedy = (
        "Run `./entrypoint.sh migrate` of this version; if the database is newer, run the newer "
        "code."
    )
    is_current = revision == SCHEMA_REVISION
    return [finding("schema revision", is_current, revision, SCHEMA_REVISION, remedy)]


async def appends(connection: AsyncConnection) -> list[Finding]:
    """Whether the log takes an append, tried with one of no events. `connection`: with the role of
    web, not read-only."""
    try:
        await connection.execute(_APPEND)
        found, works = "works", True
    except DBAPIError as error:
        found, works = str(error.orig).partition("\n")[0], False
    remedy = (
        "No order can be placed or changed: check whether the server is a standby, read-only or "
        "out of disk, and run `./entrypoint.sh migrate`."
    )
    return [finding("append", works, found, "works", remedy)]
