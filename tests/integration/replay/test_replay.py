"""Read models are rebuilt beside the live ones: P6, and P4 afterwards."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import text

from order_service.domain.events import OrderPlaced
from order_service.infra.postgres import create_engine
from order_service.settings import Settings
from projections.operators import dead_letters
from projections.read_models import generations
from projections.read_models.registry import PROJECTIONS
from tests.support.log.examples import CAPTURED, DISPATCHED, PAID, PEN, PLACED, SHIPPED
from tests.support.log.given_log import POISON
from tests.support.read_side.read_side import ReadSide, replayed, rows
from tests.support.values import replace
from tests.support.waiting import WAIT_S, eventually

ROOT = Path(__file__).parents[3]
LIVE = "SELECT name, live_generation, previous_generation FROM read_models ORDER BY name"
TABLES = (
    "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE nspname = 'read_models' AND relkind = 'r' ORDER BY relname"
)
LEFT_OVER = "SELECT name FROM rebuilds UNION ALL SELECT name FROM rebuild_marks"
OTHER_USER = UUID("00000000-0000-7000-8000-00000000000b")
PLACED_BY_OTHER = OrderPlaced(OTHER_USER, "EUR", (PEN,), 0, 0, 1998)


@pytest.fixture
async def orders(read_side: ReadSide) -> list[UUID]:
    """Orders in every partition and in several states, not projected yet."""
    ids = []
    for partition in range(4):
        ids.append(await read_side.given(PLACED, partition=partition))
        ids.append(await read_side.given(PLACED, CAPTURED, PAID, partition=partition))
        life = (PLACED, CAPTURED, PAID, DISPATCHED, SHIPPED)
        ids.append(await read_side.given(*life, partition=partition))
        ids.append(await read_side.given(PLACED_BY_OTHER, partition=partition))
    return ids


async def skip(read_side: ReadSide, name: str, stream_id: UUID) -> None:
    engine, cache = read_side.projector_engine, read_side.cache
    await dead_letters.skip(engine, cache, PROJECTIONS[name], stream_id, "never meant")


async def test_every_read_model_is_rebuilt_and_equals_the_log(
    settings: Settings, read_side: ReadSide, orders: list[UUID], capsys: pytest.CaptureFixture[str]
) -> None:
    await read_side.advance()

    assert await replayed(settings, "--all") == 0

    assert await read_side.rows(LIVE) == [(name, 2, 1) for name in sorted(PROJECTIONS)]
    assert await read_side.rows(LEFT_OVER) == []
    assert (await read_side.verified()).agree
    output = capsys.readouterr().out
    assert "order_view: 0 rows differ, 0 streams parked." in output
    assert "40 of 40 events" in output


async def test_autovacuum_is_on_for_a_built_generation(
    settings: Settings, read_side: ReadSide, orders: list[UUID]
) -> None:
    """It is off during the build, so that the first index does not wait for it."""
    await replayed(settings, "order_view")

    built = "SELECT reloptions FROM pg_class WHERE relname = 'order_view_2'"
    assert await read_side.rows(built) == [
        (["fillfactor=100", "autovacuum_vacuum_scale_factor=0.05"],)
    ]


@asynccontextmanager
async def autovacuum_at(settings: Settings, table: str) -> AsyncIterator[None]:
    """Inside the block autovacuum runs on the table, slowed down as if the table were large."""
    owner = create_engine(settings, None, application_name="test-owner", pool_size=1)
    slow = "autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1"
    at_once = "autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0"
    try:
        async with owner.connect() as pooled:
            session = await pooled.execution_options(isolation_level="AUTOCOMMIT")
            for _ in range(200):
                await session.execute(text(f"UPDATE {table} SET version = version"))
            await session.execute(text(f"ALTER TABLE {table} SET ({slow}, {at_once})"))
            await session.execute(text("ALTER SYSTEM SET autovacuum_naptime = 1"))
            await session.execute(text("SELECT pg_reload_conf()"))
            running = text(
                f"SELECT 1 FROM pg_stat_progress_vacuum WHERE relid = '{table}'::regclass"
            )

            async def is_running() -> bool:
                return bool((await session.execute(running)).all())

            await eventually(is_running)
            try:
                yield
            finally:
                await session.execute(text("ALTER SYSTEM RESET autovacuum_naptime"))
                await session.execute(text("SELECT pg_reload_conf()"))
    finally:
        await owner.dispose()


async def test_a_running_autovacuum_does_not_prevent_the_drop_of_an_old_table(
    settings: Settings, read_side: ReadSide, orders: list[UUID]
) -> None:
    """PostgreSQL cancels it only for a lock request that waits longer than our DDL does."""
    await read_side.advance()
    assert await replayed(settings, "order_view") == 0

    async with autovacuum_at(settings, "read_models.order_view_1"):
        assert await replayed(settings, "order_view") == 0

    remaining = [
        table for (table,) in await read_side.rows(TABLES) if table.startswith("order_view_")
    ]
    assert remaining == ["order_view_2", "order_view_3"]


async def test_a_lagging_live_generation_is_replaced(
    settings: Settings, read_side: ReadSide, orders: list[UUID]
) -> None:
    assert await replayed(settings, "order_view", "--workers", "1") == 0

    built = await rows(read_side.projector_engine, "SELECT 1 FROM read_models.order_view_2")
    assert len(built) == 16


async def test_a_second_replay_drops_the_generation_before_the_last(
    settings: Settings, read_side: ReadSide, orders: list[UUID], capsys: pytest.CaptureFixture[str]
) -> None:
    await replayed(settings, "sales_by_day")
    capsys.readouterr()
    await replayed(settings, "sales_by_day", "--json")

    outcome = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert outcome["sales_by_day"]["live_generation"] == 3
    assert outcome["order_view"]["live_generation"] == 1

    tables = [name for (name,) in await read_side.rows(TABLES) if name.startswith("sales_by_day")]
    assert tables == ["sales_by_day_2", "sales_by_day_3"]
    generations = (
        "SELECT DISTINCT generation FROM checkpoints WHERE name = 'sales_by_day' ORDER BY 1"
    )
    assert await read_side.rows(generations) == [(2,), (3,)]


async def test_differences_are_shown_and_corrected(
    settings: Settings, read_side: ReadSide, orders: list[UUID], capsys: pytest.CaptureFixture[str]
) -> None:
    await read_side.advance()
    wrong = f"UPDATE read_models.order_view SET status = 'LOST' WHERE order_id = '{orders[0]}'"
    await read_side.run(wrong)

    assert await replayed(settings, "order_view") == 0

    output = capsys.readouterr().out
    assert f"differs (live / rebuilt): order_view ({orders[0]})" in output
    assert "order_view: 1 rows differ" in output
    assert (await read_side.verified()).agree


async def test_check_swaps_nothing_and_its_exit_code_shows_differences(
    settings: Settings, read_side: ReadSide, orders: list[UUID]
) -> None:
    await read_side.advance()

    assert await replayed(settings, "--all", "--check") == 0
    await read_side.run("UPDATE read_models.sales_by_day SET orders = orders + 1")
    assert await replayed(settings, "--all", "--check") == 1

    assert {row[1:] for row in await read_side.rows(LIVE)} == {(1, None)}
    assert await read_side.rows(LEFT_OVER) == []
    assert await read_side.rows(TABLES) == [(f"{name}_1",) for name in sorted(PROJECTIONS)]


async def test_a_rollback_is_caught_up_before_it_is_live(
    settings: Settings, read_side: ReadSide, orders: list[UUID]
) -> None:
    await read_side.advance()
    await replayed(settings, "--all")
    await read_side.given(PLACED, partition=1)
    await read_side.advance()

    assert await replayed(settings, "--rollback", "customer_summary") == 0

    assert ("customer_summary", 1, 2) in await read_side.rows(LIVE)
    assert (await read_side.verified()).agree


async def test_a_rollback_to_another_version_of_the_code_is_refused(
    settings: Settings, read_side: ReadSide, orders: list[UUID], capsys: pytest.CaptureFixture[str]
) -> None:
    await replayed(settings, "order_view")
    await read_side.run("UPDATE read_models SET previous_version = 7")

    assert await replayed(settings, "--rollback", "order_view") == 2
    assert await replayed(settings, "--rollback", "sales_by_day") == 2
    output = capsys.readouterr().err
    assert "was built by version 7 of its code, found version 5" in output
    assert "Cannot roll back sales_by_day: it has no previous generation." in output


async def test_of_two_concurrent_replays_one_is_refused(
    settings: Settings, orders: list[UUID], capsys: pytest.CaptureFixture[str]
) -> None:
    exits = await asyncio.gather(replayed(settings, "--all"), replayed(settings, "--all"))

    assert sorted(exits) == [0, 2]
    assert "Another replay is running" in capsys.readouterr().err


async def test_poison_parks_its_stream_in_the_rebuild_too(
    settings: Settings, read_side: ReadSide, orders: list[UUID]
) -> None:
    bad = await read_side.given(PLACED, CAPTURED, POISON, PAID)
    await read_side.advance()

    assert await replayed(settings, "--all", "--anyway") == 0

    letters = "SELECT stream_id, generation, version, last_version FROM dead_letters"
    assert set(await read_side.rows(letters)) == {(bad, 1, 3, 2), (bad, 2, 3, 2)}
    found = await read_side.verified()
    assert (found.wrong, found.parked) == (0, [bad] * 4)


async def test_a_number_too_large_to_store_parks_its_stream_live_and_in_the_rebuild(
    settings: Settings, read_side: ReadSide, orders: list[UUID]
) -> None:
    """The driver rejects the whole batch or COPY; only the stream of that number is parked."""
    huge = replace(PEN, unit_price_minor=2**63, quantity=1)
    bad = await read_side.given(replace(PLACED, lines=(huge,), total_minor=2**63))
    await read_side.advance()

    assert await replayed(settings, "--all") == 0

    letters = "SELECT name, stream_id, generation FROM dead_letters"
    # Sums in sales_by_day have no such bound; a single order's total has one.
    assert set(await read_side.rows(letters)) == {("order_view", bad, g) for g in (1, 2)}
    assert (await read_side.verified()).wrong == 0


async def test_a_skip_holds_for_rebuilds_and_prevents_a_rollback(
    settings: Settings, read_side: ReadSide, orders: list[UUID]
) -> None:
    await replayed(settings, "customer_summary")
    bad = await read_side.given(PLACED, POISON, CAPTURED)
    await read_side.advance()
    for name in PROJECTIONS:
        await skip(read_side, name, bad)

    assert await replayed(settings, "--rollback", "customer_summary") == 2
    assert await replayed(settings, "--all", "--anyway") == 0

    assert (await read_side.verified()).agree


async def test_no_event_is_skipped_while_a_replay_runs(read_side: ReadSide) -> None:
    bad = await read_side.given(PLACED, POISON)
    await read_side.advance()

    async with read_side.projector_engine.connect() as connection:
        await connection.execute(text(f"SELECT pg_advisory_lock({generations.REPLAY_LOCK})"))
        with pytest.raises(dead_letters.ReplayRunning, match="wait until it has ended"):
            await skip(read_side, "order_view", bad)


async def test_a_build_of_another_version_is_discarded(
    settings: Settings, read_side: ReadSide, orders: list[UUID]
) -> None:
    async with read_side.projector_engine.begin() as connection:
        await generations.begin(connection, [PROJECTIONS["order_view"]])
    await read_side.run("UPDATE rebuilds SET projection_version = 7")

    assert await replayed(settings, "order_view") == 0

    assert ("order_view", 3, 1) in await read_side.rows(LIVE)
    assert "order_view_2" not in {name for (name,) in await read_side.rows(TABLES)}


COMMAND = """
import argparse, asyncio, sys
from order_service import limits
from order_service.settings import Settings
from projections.replay import replay
if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    replay.add_arguments(parser)
    sys.exit(asyncio.run(replay.run(parser.parse_args(sys.argv[1:]), Settings())))
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A file, since the replay processes import the module that started them."""
    path = tmp_path / "replay_command.py"
    path.write_text(COMMAND)
    return path


async def start(settings: Settings, script: Path, *words: str) -> asyncio.subprocess.Process:
    """Starts the command in its own process group, so that it can be killed with its processes."""
    environment = {**os.environ, "DB_NAME": settings.DB_NAME, "PYTHONPATH": str(ROOT)}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        script,
        *words,
        env=environment,
        start_new_session=True,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


STEPS = {
    "the build has begun": "SELECT name FROM rebuilds",
    "a range is done": "SELECT name FROM rebuild_marks WHERE events > 0",
    "all ranges are done": "SELECT 1 FROM rebuild_marks HAVING bool_and(finished)",
    "a generation is swapped in": "SELECT name FROM read_models WHERE live_generation > 1",
}


# PostgreSQL notices only after its present statement that a session's client was killed.
LOCKS = (
    "SELECT objid FROM pg_locks JOIN pg_database d ON d.oid = database "
    "WHERE locktype = 'advisory' AND d.datname = current_database()"
)


@pytest.mark.parametrize("step", STEPS)
async def test_a_replay_killed_at_any_point_can_be_run_again(
    step: str, settings: Settings, read_side: ReadSide, orders: list[UUID], script: Path
) -> None:
    await read_side.advance()
    process = await start(settings, script, "--all")
    async with asyncio.timeout(WAIT_S):
        while process.returncode is None and not await read_side.rows(STEPS[step]):
            await asyncio.sleep(0.002)
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGKILL)
    output, _ = await process.communicate()
    assert process.returncode in (-signal.SIGKILL, 0), output.decode()
    await eventually(lambda: read_side.rows(LOCKS), lambda held: not held)
    await read_side.given(PLACED, partition=3)

    assert await replayed(settings, "--all") == 0

    await read_side.advance()
    assert (await read_side.verified()).agree
    assert await read_side.rows(LEFT_OVER) == []


async def test_a_replay_under_traffic_is_exact_and_no_read_goes_back(
    settings: Settings, read_side: ReadSide, orders: list[UUID]
) -> None:
    """Events are appended, projected and read meanwhile; no read returns fewer orders than
    before."""
    await read_side.advance()
    stop = asyncio.Event()
    counts: list[int] = []

    async def write() -> None:
        while not stop.is_set():
            await read_side.given(PLACED, CAPTURED, PAID, partition=len(counts) % 4)

    async def project() -> None:
        while not stop.is_set():
            await read_side.advance()

    seen = (
        "SELECT sum(orders)::integer FROM read_models.customer_summary WHERE generation = "
        "(SELECT live_generation FROM read_models WHERE name = 'customer_summary')"
    )

    async def read() -> None:
        while not stop.is_set():
            counts.append((await read_side.rows(seen))[0][0])

    traffic = [asyncio.create_task(work()) for work in (write, project, read)]
    exit_code = await replayed(settings, "--all")
    stop.set()
    await asyncio.gather(*traffic)
    await read_side.advance()

    assert exit_code == 0
    assert len(counts) > 10
    assert counts == sorted(counts)
    assert (await read_side.verified()).agree
    assert await read_side.rows(LIVE) == [(name, 2, 1) for name in sorted(PROJECTIONS)]
