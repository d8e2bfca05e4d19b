"""Migrations go down to nothing and up again."""

import os
import subprocess
import sys

import asyncpg
import pytest

from order_service.settings import Settings
from tests.conftest import ROOT


def alembic(settings: Settings, *arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "alembic", *arguments],
        cwd=ROOT,
        env={**os.environ, "DB_NAME": settings.DB_NAME},
        check=True,
        timeout=60,
    )


def exit_codes_of_replicas(settings: Settings, count: int) -> list[int]:
    """Of processes that all begin to migrate at once."""
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
async def test_what_goes_down_comes_up_again(settings: Settings, target: str) -> None:
    before = await tables(settings)

    alembic(settings, "downgrade", target)
    down = await tables(settings)
    alembic(settings, "upgrade", "head")

    assert "users" in before
    assert "users" not in down
    assert await tables(settings) == before


async def test_replicas_that_start_together_migrate_once(settings: Settings) -> None:
    """Alembic takes no lock of its own: without ours they would meet half-way in a revision."""
    before = await tables(settings)
    alembic(settings, "downgrade", "base")

    ends = exit_codes_of_replicas(settings, 4)

    assert ends == [0, 0, 0, 0]
    assert await tables(settings) == before
