"""The census of the log, and what refuses to begin while this code cannot read all of it."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from order_service import limits
from order_service.log.census import Kind, census, refusal
from order_service.settings import Settings
from projections.monitoring import status
from tests.conftest import ROOT, run_sql
from tests.support.log.examples import CAPTURED, PAID, PLACED
from tests.support.log.given_log import POISON, RawEvent
from tests.support.read_side.read_side import ReadSide, replayed
from tests.support.servers.command_line import run_word

NEWER = RawEvent("OrderPaid", "{}", schema_version=99)


def migrate(settings: Settings, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "order_service.cli", "migrate", *options],
        cwd=ROOT,
        env={**os.environ, "DB_NAME": settings.DB_NAME},
        capture_output=True,
        text=True,
        timeout=60,
    )


async def counted(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> dict[tuple[str, int], Any]:
    assert await run_word(status, settings, "--events", "--json") == 0
    return {
        (kind["type"], kind["schema_version"]): kind for kind in json.loads(capsys.readouterr().out)
    }


async def test_the_census_counts_types_and_versions_and_names_the_unreadable(
    settings: Settings, read_side: ReadSide, capsys: pytest.CaptureFixture[str]
) -> None:
    await read_side.given(PLACED, CAPTURED, PAID)
    await read_side.given(PLACED, CAPTURED, NEWER, partition=2)
    await read_side.given(PLACED, POISON, POISON, partition=2)
    await read_side.given(RawEvent("OrderPlaced", "{}", schema_version=1), partition=3)

    kinds = await counted(settings, capsys)
    await run_word(status, settings, "--events")

    def first(*places: tuple[int, int]) -> list[dict[str, int]]:
        return [{"partition": partition, "position": at} for partition, at in places]

    assert {key: (k["events"], k["readable"], k["first"]) for key, k in kinds.items()} == {
        ("OrderFrobnicated", 1): (2, False, first((2, 5))),
        ("OrderPaid", 1): (1, True, first((0, 3))),
        ("OrderPaid", 99): (1, False, first((2, 3))),
        ("OrderPlaced", 1): (1, True, first((3, 1))),
        ("OrderPlaced", 2): (3, True, first((0, 1), (2, 1))),
        ("PaymentCaptured", 1): (2, True, first((0, 2), (2, 2))),
    }
    output = capsys.readouterr().out
    assert "Cannot read OrderFrobnicated v1: first at partition 2, position 5." in output
    assert output.endswith("10 events, 2 kinds unreadable.\n")


async def test_the_census_reads_a_long_log_in_ranges(
    read_side: ReadSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(100):
        await read_side.given(PLACED, CAPTURED, PAID, partition=number % 4)
    monkeypatch.setattr(limits, "CENSUS_BLOCKS", 2)
    shown = list[tuple[int, int]]()

    kinds = await census(read_side.projector_engine, lambda *progress: shown.append(progress))

    assert [kind.events for kind in kinds] == [100, 100, 100]
    assert [kind.first for kind in kinds] == [dict.fromkeys(range(4), n) for n in (3, 1, 2)]
    assert len(shown) > 3
    assert shown[-1][0] == shown[-1][1]
    assert shown == sorted(shown)


@pytest.mark.parametrize(
    ("event", "named"), [(POISON, "OrderFrobnicated v1: 1,"), (NEWER, "OrderPaid v99: 1,")]
)
async def test_migrate_and_replay_refuse_a_log_that_this_code_cannot_read(
    settings: Settings,
    read_side: ReadSide,
    capsys: pytest.CaptureFixture[str],
    event: RawEvent,
    named: str,
) -> None:
    await read_side.given(PLACED, event, partition=1)
    generations = await read_side.rows("SELECT name, last_generation FROM read_models")

    migrated = migrate(settings)
    code = await replayed(settings, "--all")

    assert (migrated.returncode, code) == (2, 2)
    refused = capsys.readouterr().err
    assert migrated.stderr.replace("migrate", "replay") == refused
    assert f"{named} the first of them at partition 1, position 2\n" in refused
    assert "`replay --anyway` goes on" in refused
    assert await read_side.rows("SELECT name, last_generation FROM read_models") == generations


async def test_migrate_and_replay_go_on_anyway(settings: Settings, read_side: ReadSide) -> None:
    await read_side.given(PLACED, POISON)

    migrated = migrate(settings, "--anyway")
    code = await replayed(settings, "customer_summary", "--anyway")

    assert (migrated.returncode, code) == (0, 0), migrated.stderr
    parked = "SELECT count(*) FROM dead_letters WHERE generation = 2"
    assert await read_side.rows(parked) == [(1,)]


async def test_migrate_begins_on_an_empty_database(settings: Settings, read_side: ReadSide) -> None:
    await read_side.given(PLACED)
    emptied = settings.model_copy(update={"DB_NAME": f"{settings.DB_NAME}_empty"})
    await run_sql(settings, f"CREATE DATABASE {emptied.DB_NAME}")
    try:
        migrated = migrate(emptied)
    finally:
        await run_sql(settings, f"DROP DATABASE {emptied.DB_NAME} WITH (FORCE)")

    assert migrated.returncode == 0, migrated.stderr
    assert migrate(settings).returncode == 0


def test_a_refusal_stays_short() -> None:
    many = [Kind("Of" * 20, n, 1_000_000, dict.fromkeys(range(64), 10**9)) for n in range(1, 40)]

    text = refusal("replay", many)

    assert "and more: `./entrypoint.sh status --events` lists all" in text
    assert len(text) <= 2 * limits.REPLAY_MESSAGE_LENGTH_MAX
