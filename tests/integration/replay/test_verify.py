"""`verify` finds wrong rows and entries, and reports none if all are right, also under traffic."""

import argparse
import asyncio
import json
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.cache.order_cache import Lease, OrderCache
from order_service.domain.events import OrderDelivered
from order_service.log.upcasters import UPCASTERS
from order_service.settings import Settings
from projections.monitoring import status
from projections.operators import dead_letters
from projections.read_models import document_compression
from projections.read_models.registry import PROJECTIONS
from projections.replay import verify
from projections.replay.verify import verify_cache
from tests.support.log.examples import CAPTURED, PAID, PLACED, USER
from tests.support.log.given_log import POISON, RawEvent, given_order
from tests.support.read_side.read_side import ReadSide, advance_all, rows, run, verified
from tests.support.servers.command_line import run_word
from tests.support.waiting import eventually


@pytest.fixture
async def orders(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> list[UUID]:
    """Projected orders, two in each partition."""
    ids = [
        await given_order(web_engine, *events, partition=partition)
        for partition in range(4)
        for events in ((PLACED,), (PLACED, CAPTURED, PAID))
    ]
    await advance_all(projector_engine, cache)
    return ids


@pytest.mark.parametrize(
    ("harm", "name"),
    [
        ("UPDATE read_models.order_view SET total_minor = 1 WHERE order_id = '{0}'", "order_view"),
        (
            "UPDATE read_models.order_view SET document = '\\x7b7d' WHERE order_id = '{0}'",
            "order_view",
        ),
        ("UPDATE read_models.order_view SET terms = '{{}}' WHERE order_id = '{0}'", "order_view"),
        ("DELETE FROM read_models.order_view WHERE order_id = '{0}'", "order_view"),
        (
            "UPDATE read_models.customer_summary SET spent_minor = spent_minor + 1 "
            "WHERE partition = 2",
            "customer_summary",
        ),
        (
            "DELETE FROM read_models.sales_by_day WHERE partition = 3 AND status = 'PAID'",
            "sales_by_day",
        ),
        (
            "INSERT INTO read_models.sales_by_day "
            "VALUES (1, '2020-01-01', 'USD', 'PAID', 0, 1, 1, 1)",
            "sales_by_day",
        ),
    ],
)
async def test_one_wrong_row_is_found(
    harm: str, name: str, projector_engine: AsyncEngine, orders: list[UUID]
) -> None:
    await run(projector_engine, harm.format(*orders))

    found = await verified(projector_engine)

    assert found.wrong == 1
    assert found.differences[0].name == name


async def test_two_swapped_rows_are_found(
    projector_engine: AsyncEngine, orders: list[UUID]
) -> None:
    """The number of rows and every sum stay right."""
    rename = "UPDATE read_models.order_view SET order_id = '{1}' WHERE order_id = '{0}'"
    spare = UUID(int=4)
    for old, new in ((orders[0], spare), (orders[1], orders[0]), (spare, orders[1])):
        await run(projector_engine, rename.format(old, new))

    assert (await verified(projector_engine)).wrong == 2


async def test_ranges_of_streams_meet_without_a_gap(
    projector_engine: AsyncEngine, orders: list[UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("order_service.limits.VERIFY_RANGE_ROWS", 1)
    monkeypatch.setattr("order_service.limits.REBUILD_RANGE_EVENTS", 1)

    assert (await verified(projector_engine)).agree
    await run(
        projector_engine, f"DELETE FROM read_models.order_view WHERE order_id = '{orders[3]}'"
    )
    assert (await verified(projector_engine)).wrong == 1


async def test_verify_is_exact_while_orders_are_placed_and_projected(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache, orders: list[UUID]
) -> None:
    stop = asyncio.Event()

    async def traffic() -> None:
        while not stop.is_set():
            for partition in range(4):
                await given_order(web_engine, PLACED, CAPTURED, PAID, partition=partition)
            await advance_all(projector_engine, cache)

    working = asyncio.create_task(traffic())
    found = [await verified(projector_engine) for _ in range(5)]
    stop.set()
    await working

    assert [f.wrong for f in found] == [0] * 5
    assert found[-1].rows > found[0].rows


async def test_a_parked_stream_fails_verify_even_if_its_rows_are_right(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache, orders: list[UUID]
) -> None:
    bad = await given_order(web_engine, PLACED, POISON)
    await advance_all(projector_engine, cache)

    found = await verified(projector_engine)

    assert (found.wrong, found.parked, found.agree) == (0, [bad] * 4, False)


async def test_a_skipped_event_is_left_out_of_the_comparison(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    bad = await given_order(web_engine, PLACED, POISON, CAPTURED)
    await advance_all(projector_engine, cache)
    for projection in PROJECTIONS.values():
        await dead_letters.skip(projector_engine, cache, projection, bad, "never meant")

    assert (await verified(projector_engine)).agree


async def fill(cache: OrderCache, order_id: UUID, version: int, document: bytes) -> None:
    lease = await cache.look_up(order_id)
    assert isinstance(lease, Lease)
    await cache.fill(order_id, lease, version, USER, document)


async def test_a_wrong_cached_order_is_found(
    projector_engine: AsyncEngine, cache: OrderCache, orders: list[UUID]
) -> None:
    documents = "SELECT document FROM read_models.order_view WHERE order_id = "
    right = document_compression.unpack(
        (await rows(projector_engine, f"{documents}'{orders[0]}'"))[0][0]
    )
    await fill(cache, orders[0], 1, right)
    assert (await verify_cache(projector_engine, cache, 4)).agree

    await fill(cache, orders[1], 1, b"{}")
    await fill(cache, orders[2], 9, right)
    found = await verify_cache(projector_engine, cache, 4)

    assert (found.rows, found.wrong) == (3, 2)
    assert {d.key for d in found.differences} == {(orders[1],), (orders[2],)}


async def verify_command(settings: Settings, *words: str) -> int:
    return await run_word(verify, settings, *words)


async def test_the_command_lists_differences_and_repairs_them(
    settings: Settings,
    projector_engine: AsyncEngine,
    cache: OrderCache,
    orders: list[UUID],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert await verify_command(settings) == 0
    await run(
        projector_engine, f"DELETE FROM read_models.order_view WHERE order_id = '{orders[0]}'"
    )
    await fill(cache, orders[1], 1, b"{}")

    assert await verify_command(settings) == 1
    output = capsys.readouterr().out
    assert f"differs (log / found): order_view ({orders[0]})" in output
    assert "customer_summary: 4 rows, 0 differ, 0 streams parked." in output
    assert "cache: 1 rows, 1 differ" in output

    assert await verify_command(settings, "--repair") == 0
    capsys.readouterr()
    assert await verify_command(settings, "--json") == 0
    outcome = json.loads(capsys.readouterr().out)
    assert set(outcome) == {*PROJECTIONS, "cache"}
    assert outcome["customer_summary"] == {
        "agree": True,
        "rows": 4,
        "differ": 0,
        "differences": [],
        "parked": [],
    }


async def test_status_shows_every_checkpoint(
    settings: Settings,
    web_engine: AsyncEngine,
    projector_engine: AsyncEngine,
    cache: OrderCache,
    orders: list[UUID],
    capsys: pytest.CaptureFixture[str],
) -> None:
    await given_order(web_engine, PLACED, POISON, partition=1)
    await advance_all(projector_engine, cache)
    await given_order(web_engine, PLACED, CAPTURED, partition=2)

    assert await run_word(status, settings, "--json") == 0

    found = {(row["name"], row["partition"]): row for row in json.loads(capsys.readouterr().out)}
    assert len(found) == 20
    relay = found["relay", 0]
    assert (relay["head"], relay["checkpoint"], relay["lag_events"]) == (4, 0, 4)
    assert relay["lag_s"] > 0
    parked = found["order_view", 1]
    assert (parked["generation"], parked["lag_events"], parked["parked"]) == (1, 0, 1)
    behind = found["sales_by_day", 2]
    assert (behind["head"], behind["checkpoint"], behind["lag_events"]) == (6, 4, 2)
    assert behind["lag_s"] > 0

    watching = asyncio.create_task(run_word(status, settings, "--json", "--watch", "0.1"))
    output = ""

    def printed_twice() -> bool:
        nonlocal output
        output += capsys.readouterr().out
        return output.count("\n") >= 2

    await eventually(printed_twice)
    watching.cancel()
    await asyncio.wait({watching})
    assert "events_per_s" not in output.splitlines()[0]
    assert {row["events_per_s"] for row in json.loads(output.splitlines()[1])} == {0.0}


async def test_the_dead_letters_command_lists_shows_and_changes_parked_streams(
    settings: Settings,
    web_engine: AsyncEngine,
    projector_engine: AsyncEngine,
    cache: OrderCache,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bad = await given_order(web_engine, PLACED, POISON)
    await advance_all(projector_engine, cache)

    async def command(*words: str) -> int:
        return await run_word(dead_letters, settings, *words)

    assert await command("list") == 0
    assert "4 parked." in capsys.readouterr().out
    assert await command("list", "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert {(one["name"], one["stream_id"]) for one in listed} == {
        (name, str(bad)) for name in PROJECTIONS
    }
    assert await command("show", "order_view", str(bad), "--json") == 0
    assert json.loads(capsys.readouterr().out)["type"] == "OrderFrobnicated"
    assert await command("show", "order_view", str(bad)) == 0
    assert "type: OrderFrobnicated" in capsys.readouterr().out
    assert await command("retry", "order_view", str(bad)) == 1
    assert await command("skip", "order_view", str(bad), "--reason", "never meant") == 0
    assert await command("retry", "order_view", str(bad)) == 1
    assert f"Stream {bad} is not parked in order_view." in capsys.readouterr().out


async def test_every_parked_stream_is_retried_after_the_code_was_fixed(
    settings: Settings,
    web_engine: AsyncEngine,
    projector_engine: AsyncEngine,
    cache: OrderCache,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An upcaster is missing at first, then it is added."""
    monkeypatch.setattr(OrderDelivered, "SCHEMA_VERSION", 2)
    for _ in range(2):
        await given_order(web_engine, PLACED, RawEvent("OrderDelivered", "{}", schema_version=1))
    await advance_all(projector_engine, cache)
    arguments = argparse.Namespace(action="retry-all")

    assert await dead_letters.run(arguments, settings) == 1
    assert "Applied 0 of 8 parked streams." in capsys.readouterr().out
    monkeypatch.setitem(UPCASTERS, ("OrderDelivered", 1), lambda data: data)
    assert await dead_letters.run(arguments, settings) == 0
    assert "Applied 8 of 8 parked streams." in capsys.readouterr().out

    found = await verified(projector_engine)
    assert (found.wrong, found.parked) == (0, [])


async def test_a_repair_goes_on_beside_a_parked_stream(
    settings: Settings, read_side: ReadSide
) -> None:
    await read_side.given(PLACED, POISON)
    good = await read_side.given(PLACED, partition=1)
    await read_side.advance()
    await read_side.run(f"DELETE FROM read_models.order_view WHERE order_id = '{good}'")

    assert await verify_command(settings, "--repair") == 1  # one is still parked

    shown = "SELECT version FROM read_models.order_view WHERE generation = 2"
    assert await read_side.rows(shown) == [(1,), (1,)]
