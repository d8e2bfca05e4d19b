"""Migrations go down to nothing and up again."""

import os
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.cache.order_cache import OrderCache
from order_service.main import create_app
from order_service.settings import Settings
from projections.read_models import document_compression, order_view
from projections.replay import replay
from tests.conftest import ROOT, serving
from tests.support.http.accounts import new_account
from tests.support.http.queries import get
from tests.support.log.examples import PLACED
from tests.support.log.given_log import given_order
from tests.support.read_side.read_side import advance_all, rows, run, verified
from tests.support.servers.command_line import run_word


def alembic(settings: Settings, *arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "alembic", *arguments],
        cwd=ROOT,
        env={**os.environ, "DB_NAME": settings.DB_NAME},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
    ).stdout


def exit_codes_of_replicas(settings: Settings, count: int) -> list[int]:
    """The exit codes of processes that all start to migrate at once."""
    replicas = [
        subprocess.Popen(
            [sys.executable, "-m", "alembic", "upgrade", "head"],
            cwd=ROOT,
            env={**os.environ, "DB_NAME": settings.DB_NAME},
        )
        for _ in range(count)
    ]
    return [replica.wait(timeout=60) for replica in replicas]


async def tables(settings: Settings) -> set[str]:
    connection = await asyncpg.connect(
        host=settings.DB_HOST,
        port=settings.DB_PORT,
        user=settings.DB_USER,
        password=settings.DB_PASSWORD,
        database=settings.DB_NAME,
    )
    try:
        rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    finally:
        await connection.close()
    return {row["tablename"] for row in rows}


@pytest.mark.parametrize("target", ["0001", "base"])
async def test_a_downgraded_schema_is_upgraded_again(settings: Settings, target: str) -> None:
    before = await tables(settings)

    alembic(settings, "downgrade", target)
    down = await tables(settings)
    alembic(settings, "upgrade", "head")

    assert "users" in before
    assert "users" not in down
    assert await tables(settings) == before


async def test_replicas_that_start_together_migrate_once(settings: Settings) -> None:
    """Alembic takes no lock: without ours the replicas would run the same revision at once."""
    before = await tables(settings)
    alembic(settings, "downgrade", "base")

    ends = exit_codes_of_replicas(settings, 4)

    assert ends == [0, 0, 0, 0]
    assert await tables(settings) == before


EXCLUDED_RULES = (
    "prefer-bigint-over-int",  # our integers are no row counters: they number generations and lines
    "prefer-bigint-over-smallint",
    "prefer-text-field",  # alembic's own table
    "require-timeout-settings",  # the session sets both time-outs
    "require-lock-timeout",
    "require-statement-timeout",
    "transaction-nesting",  # each revision is a transaction, not the whole script
)


def linted(sql: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            str(Path(sys.executable).with_name("squawk")),
            "--assume-in-transaction",
            f"--exclude={','.join(EXCLUDED_RULES)}",
        ],
        input=sql,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_migrations_block_no_client(migrated_template: Settings) -> None:
    """By a linter's rules; each exception has its reason beside the statement."""
    sql = alembic(migrated_template, "upgrade", "head", "--sql")

    found = linted(sql)

    assert found.returncode == 0, found.stdout
    assert linted(f"{sql}\nCREATE INDEX ON events (type);").returncode == 1


INDEXES = "SELECT regexp_replace(indexdef, '.* USING ', '') FROM pg_indexes WHERE tablename = "


async def test_an_older_read_model_serves_what_it_has_until_a_replay(
    settings: Settings,
    web_engine: AsyncEngine,
    projector_engine: AsyncEngine,
    cache: OrderCache,
    redis: Redis,
) -> None:
    """The database is older than the new columns of order_view: no request fails with 500, and no
    response is wrong."""
    order_id = await given_order(web_engine, PLACED)
    await advance_all(projector_engine, cache)
    alembic(settings, "downgrade", "0003")
    as_before = "UPDATE read_models SET projection_version = 1 WHERE name = 'order_view'"
    await run(projector_engine, as_before)
    [(packed,)] = await rows(web_engine, "SELECT document FROM read_models.order_view")
    otherwise = document_compression.pack(
        document_compression.unpack(packed).replace(b'"USD"', b'"EUR"')
    )
    changed = f"UPDATE read_models.order_view SET document = '\\x{otherwise.hex()}'"
    await run(projector_engine, changed)
    alembic(settings, "upgrade", "head")
    await redis.flushdb()

    unlimited = settings.model_copy(update={"RATE_LIMIT": "1000000/minute"})
    async with serving(create_app(unlimited)) as web:
        staff = await new_account(web_engine, role="staff")
        before = {path: await get(web, staff, path) for path in _paths(order_id)}
        assert await run_word(replay, settings, "order_view", "--workers", "1") == 0
        after = {path: await get(web, staff, path) for path in _paths(order_id)}

    order, plain, *lagging = before.values()
    assert order.json()["id"] == str(order_id)  # folded from the log: the row has another version
    assert (plain.status_code, plain.json()[0]["currency"]) == (200, "EUR")
    assert {answer.status_code for answer in lagging} == {503}
    assert {a.json()["type"] for a in lagging} == {"/problems/projection-lagging"}
    assert {answer.status_code for answer in after.values()} == {200}
    assert (await verified(projector_engine)).agree
    built = await rows(web_engine, f"{INDEXES}'order_view_2'")
    assert sorted(built) == sorted(await rows(web_engine, f"{INDEXES}'order_view'"))
    assert ("gin (terms)",) in built


def _paths(order_id: UUID) -> list[str]:
    of_user = f"/orders/user/{PLACED.user_id}/"
    asking = [f"{of_user}?{asked}" for asked in ("q=pen", "has_credit_due=false")]
    lagging = [*asking, "/orders/", "/orders/export/", "/ops/board/"]
    return [f"/orders/{order_id}/", f"{of_user}?limit=9", *lagging]


async def test_an_empty_read_model_needs_no_replay(
    settings: Settings, web_engine: AsyncEngine
) -> None:
    version = "SELECT projection_version FROM read_models WHERE name = 'order_view'"
    assert await rows(web_engine, version) == [(order_view.PROJECTION.version,)]
    assert ("gin (terms)",) in await rows(web_engine, f"{INDEXES}'order_view_1'")
