"""PostgreSQL: reachable, new enough, durable, migrated; and how far relay and read models are. May
import status.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import groupby
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service import limits
from order_service.infra.postgres import FAILURES, PROJECTOR, WEB, Role, check_role, create_engine
from order_service.infra.readiness import SCHEMA_REVISION
from order_service.settings import Settings
from projections.monitoring import status
from projections.monitoring.doctor.finding import Finding, clock, finding, unreachable

VERSION_MIN = 15
Ask = Callable[[AsyncConnection], Awaitable[list[Finding]]]
_REVISION = text("SELECT version_num FROM alembic_version")
_NOW = text("SELECT extract(epoch FROM clock_timestamp())::float")
_FACTS = text(
    "SELECT current_setting('server_version') AS version, "
    "current_setting('server_version_num')::int / 10000 AS major, "
    "(SELECT sum(numbackends) FROM pg_stat_database) AS connections, "
    "current_setting('max_connections')::int AS connections_max, "
    "pg_size_pretty(pg_database_size(current_database())) AS size"
)
# A commit that PostgreSQL acknowledges has to be on disk: all promises rest on that.
_DURABLE = ("fsync", "full_page_writes", "synchronous_commit")


async def check(settings: Settings) -> list[Finding]:
    """As web sees the server, and as the read side does."""
    return [
        *await _as_role(settings, WEB, _server),
        *await _as_role(settings, PROJECTOR, _progress),
    ]


async def _as_role(settings: Settings, role: Role, ask: Ask) -> list[Finding]:
    name = f"PostgreSQL as {role}"
    engine = create_engine(settings, role, application_name="doctor", pool_size=1)
    try:
        await check_role(engine, role)
        async with engine.connect() as connection:
            await connection.execution_options(postgresql_readonly=True)
            return [finding(name, True, "answers", "answers", ""), *await ask(connection)]
    except (*FAILURES, RuntimeError) as error:
        where = f"{settings.DB_HOST}:{settings.DB_PORT}/{settings.DB_NAME}"
        remedy = (
            "Start PostgreSQL, look at DB_HOST, DB_PORT, DB_NAME, DB_USER and DB_PASSWORD, and run "
            "`./entrypoint.sh migrate`, which makes the roles."
        )
        return [unreachable(name, where, error, remedy)]
    finally:
        await engine.dispose()


async def _server(connection: AsyncConnection) -> list[Finding]:
    facts = (await connection.execute(_FACTS)).one()
    before = time.time()
    theirs = (await connection.execute(_NOW)).scalar_one()
    after = time.time()
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
            "Raise max_connections, or run fewer processes: each may take "
            f"{limits.POOL_SIZE} and its appender's.",
        ),
        finding("database size", True, facts.size, "-", ""),
        clock("PostgreSQL", before, theirs, after, limits.DOCTOR_CLOCK_S),
        *[await _durable(connection, name) for name in _DURABLE],
        await _revision(connection),
    ]


async def _durable(connection: AsyncConnection, name: str) -> Finding:
    value = (await connection.execute(text(f"SHOW {name}"))).scalar_one()
    remedy = f"Set {name} = on in postgresql.conf and reload: acknowledged orders could be lost."
    expected = "not off" if name == "synchronous_commit" else "on"
    return finding(f"PostgreSQL {name}", value != "off", value, expected, remedy)


async def _revision(connection: AsyncConnection) -> Finding:
    revision = (await connection.execute(_REVISION)).scalar_one_or_none()
    return finding(
        "schema revision",
        revision == SCHEMA_REVISION,
        revision,
        SCHEMA_REVISION,
        "Run `./entrypoint.sh migrate` of this version; where the database is ahead, run the "
        "newer code.",
    )


# --- how far things are ---------------------------------------------------------------------------


async def _progress(connection: AsyncConnection) -> list[Finding]:
    rows = await status.read(connection)
    by_name = groupby(rows, key=lambda row: row["name"])
    return [one for name, of_name in by_name for one in _of_checkpoints(name, list(of_name))]


def _of_checkpoints(name: str, rows: Sequence[dict[str, Any]]) -> list[Finding]:
    """`rows`: one a partition."""
    lag_s = max(row["lag_s"] or 0.0 for row in rows)
    lag_events = sum(row["lag_events"] for row in rows)
    roles = "relay" if name == "relay" else "consumer and worker"
    lag = finding(
        f"{name} lag",
        lag_s <= limits.DOCTOR_LAG_S,
        f"{lag_events} events, {lag_s:.1f} s",
        f"at most {limits.DOCTOR_LAG_S:g} s",
        f"See that {roles} run and what they log, and whether RabbitMQ serves.",
    )
    if name == "relay":
        return [lag]
    parked = sum(row["parked"] for row in rows)
    replay_needed = rows[0]["replay_needed"]
    return [
        lag,
        finding(
            f"{name} parked streams",
            parked == 0,
            parked,
            "0",
            "Look at `./entrypoint.sh dead-letters list`; mend the code and retry, or skip.",
        ),
        finding(
            f"{name} version",
            not replay_needed,
            "another version's rows" if replay_needed else "this version's rows",
            "this version's rows",
            f"Run `./entrypoint.sh replay {name}`.",
        ),
    ]
