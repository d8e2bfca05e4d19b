"""P1 and P2: appended events are in the log once, without gaps, in commit order."""

import asyncio
import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Sequence
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.domain.events import OrderPlaced
from order_service.domain.parts import OrderLine
from order_service.errors import InvalidRequest, RuleViolation, Unavailable, VersionConflict
from order_service.ids import order_id_of_key, uuid7
from order_service.infra.postgres import create_engine
from order_service.log.append import Append, OrderText
from order_service.log.event_log import EventLog
from order_service.log.fold import FoldedOrder
from order_service.settings import Settings
from tests.support.log.event_log import (
    assert_dense,
    changed,
    holding,
    new_order,
    on_partition,
    opened,
    opened_through_proxy,
    placed,
    positions,
)
from tests.support.log.examples import BY_USER, CAPTURED, PAID, PLACED, USER, placing, to_status


async def test_an_appended_order_is_read_back_unchanged(log: EventLog) -> None:
    append = Append(uuid7(), None, (PLACED, CAPTURED, PAID), BY_USER)

    folded = await log.append(append)

    assert folded.version == 3
    assert await log.read(append.stream_id) == folded


async def test_an_append_to_a_changed_stream_is_a_conflict_and_stores_nothing(
    log: EventLog, web_engine: AsyncEngine
) -> None:
    stream_id = uuid7()
    await log.append(new_order(stream_id))

    with pytest.raises(VersionConflict) as caught:
        await log.append(new_order(stream_id))

    assert (caught.value.expected, caught.value.found) == (0, 1)
    await assert_dense(web_engine, events=1)


async def test_concurrent_appends_are_batched_without_gaps(
    log: EventLog, web_engine: AsyncEngine
) -> None:
    await asyncio.gather(*(log.append(new_order()) for _ in range(500)))

    await assert_dense(web_engine, events=500)


async def test_fifty_commands_on_one_stream_have_one_effect(
    log: EventLog, web_engine: AsyncEngine
) -> None:
    stream_id = uuid7()
    await placed(log, stream_id, placing(), BY_USER)

    answers = await asyncio.gather(
        *(changed(log, stream_id, to_status("PAID"), BY_USER) for _ in range(50))
    )

    assert {answer.order.version for answer in answers} == {3}
    await assert_dense(web_engine, events=3)


async def test_one_of_fifty_appends_at_the_same_version_wins(
    log: EventLog, web_engine: AsyncEngine
) -> None:
    stream_id = uuid7()

    outcomes = await asyncio.gather(
        *(log.append(new_order(stream_id)) for _ in range(50)), return_exceptions=True
    )

    assert Counter(type(o).__name__ for o in outcomes) == {"FoldedOrder": 1, "VersionConflict": 49}
    await assert_dense(web_engine, events=1)


async def test_a_bad_command_among_good_ones_fails_alone(
    log: EventLog, web_engine: AsyncEngine
) -> None:
    """PostgreSQL refuses U+0000. The API refuses it earlier; this is the second line of defence."""
    zero = OrderPlaced(USER, "USD", (OrderLine(1, "a\0b", None, 1, 1),), 0, 0, 1)
    bad = Append(uuid7(), None, (zero,), BY_USER)

    outcomes = await asyncio.gather(
        *(log.append(a) for a in (new_order(), bad, new_order(), new_order())),
        return_exceptions=True,
    )

    assert [type(o) for o in outcomes] == [FoldedOrder, InvalidRequest, FoldedOrder, FoldedOrder]
    await assert_dense(web_engine, events=3)


async def test_a_client_that_disconnects_cancels_no_append(
    log: EventLog, web_engine: AsyncEngine
) -> None:
    appends = [asyncio.create_task(log.append(new_order())) for _ in range(20)]
    await asyncio.sleep(0)

    for task in appends:
        task.cancel()
    await asyncio.gather(*appends, return_exceptions=True)
    await log.append(new_order())

    await assert_dense(web_engine, events=21)


async def test_only_changed_orders_refresh_the_cache(settings: Settings) -> None:
    """No cache can have an older version of a new order."""
    refreshed: list[int] = []

    async def refresh(orders: Sequence[FoldedOrder]) -> None:
        refreshed.extend(order.version for order in orders)

    async with opened(settings, refresh) as log:
        before = await log.append(new_order())
        await log.append(Append(before.id, before, (CAPTURED, PAID), BY_USER))

    assert refreshed == [3]


async def test_free_text_is_stored_with_the_command_and_not_in_its_event(
    log: EventLog, web_engine: AsyncEngine
) -> None:
    text_id, stream_id = uuid4(), uuid7()

    await log.append(
        Append(stream_id, None, (PLACED,), BY_USER, texts=(OrderText(text_id, "note", "Hello"),))
    )

    async with web_engine.connect() as connection:
        row = (await connection.execute(text("SELECT order_id, body FROM order_texts"))).one()
    assert tuple(row) == (stream_id, "Hello")


async def test_a_user_can_use_an_external_reference_once(
    log: EventLog, web_engine: AsyncEngine
) -> None:
    first = await placed(log, uuid7(), placing(reference="R1"), BY_USER)

    with pytest.raises(RuleViolation) as caught:
        await placed(log, uuid7(), placing(reference="R1"), BY_USER)

    assert caught.value.code == "duplicate-reference"
    assert caught.value.facts == {"existing_order": first.order.id}
    await assert_dense(web_engine, events=1)


async def test_one_of_two_orders_with_a_reference_in_one_batch_wins(
    log: EventLog, web_engine: AsyncEngine
) -> None:
    outcomes = await asyncio.gather(
        *(placed(log, uuid7(), placing(reference="R1"), BY_USER) for _ in range(10)),
        return_exceptions=True,
    )

    assert Counter(type(o).__name__ for o in outcomes) == {"Answer": 1, "RuleViolation": 9}
    await assert_dense(web_engine, events=1)


@pytest.mark.parametrize(
    "statement", ["UPDATE events SET version = 9", "DELETE FROM events", "TRUNCATE events"]
)
async def test_recorded_events_cannot_be_changed(
    settings: Settings, log: EventLog, statement: str
) -> None:
    await log.append(new_order())
    owner = create_engine(settings, None, application_name="test-owner")

    with pytest.raises(Exception, match="recorded events never change"):
        async with owner.begin() as connection:
            await connection.execute(text(statement))
    await owner.dispose()


async def test_the_web_role_can_append_only_with_the_function(web_engine: AsyncEngine) -> None:
    with pytest.raises(Exception, match="permission denied"):
        async with web_engine.begin() as connection:
            await connection.execute(text("UPDATE partitions SET position = 9"))
    with pytest.raises(Exception, match="permission denied"):
        async with web_engine.begin() as connection:
            await connection.execute(text("DELETE FROM events"))


@pytest.mark.parametrize("ending", ["COMMIT", "ROLLBACK"])
async def test_a_blocked_append_blocks_its_partition_and_no_other(
    settings: Settings, log: EventLog, web_engine: AsyncEngine, ending: str
) -> None:
    """R6: no reader sees B's position before A's; a rolled-back A leaves no gap."""
    async with holding(settings, 1) as held:
        await log.append(new_order(on_partition(2)))
        behind = asyncio.create_task(log.append(new_order(on_partition(1))))
        async with web_engine.connect() as connection:
            waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
            while not (await connection.execute(waiting)).scalar_one():
                await connection.rollback()
        assert 1 not in await positions(web_engine)
        await held.execute(ending)
        await behind

    await assert_dense(web_engine, events=3 if ending == "COMMIT" else 2)


async def test_the_wait_for_a_writer_that_holds_the_partition_is_bounded(
    settings: Settings, log: EventLog, web_engine: AsyncEngine
) -> None:
    async with holding(settings, 1) as held:
        with pytest.raises(Unavailable) as caught:
            await log.append(new_order(on_partition(1)))
        held.terminate()

    assert caught.value.code == "dependency-unavailable"
    await log.append(new_order(on_partition(1)))
    await assert_dense(web_engine, events=1)


async def test_a_lost_commit_reply_is_resolved_by_sending_the_same_batch_again(
    settings: Settings, web_engine: AsyncEngine
) -> None:
    """F10: the server commits, but its reply is lost; the second attempt finds its own events."""
    async with opened_through_proxy(settings) as (log, proxy):
        await log.append(new_order())
        proxy.replies = False
        lost = asyncio.create_task(log.append(new_order()))
        await proxy.swallowed.wait()
        proxy.replies = True
        proxy.cut()
        folded = await lost

        assert await log.read(folded.id) == folded
    await assert_dense(web_engine, events=2)


async def test_an_append_to_an_unreachable_database_has_an_unknown_outcome(
    settings: Settings, web_engine: AsyncEngine
) -> None:
    async with opened_through_proxy(settings) as (log, proxy):
        await log.append(new_order())
        proxy.replies = False
        with pytest.raises(Unavailable) as caught:
            await log.append(new_order())
        proxy.cut()
        assert caught.value.code == "outcome-unknown"

        proxy.replies = True
        await log.append(new_order())


def _appending_process(settings: Settings, orders: int) -> None:
    async def main() -> None:
        async with opened(settings) as log:
            await asyncio.gather(*(log.append(new_order()) for _ in range(orders)))

    asyncio.run(main())


async def test_several_processes_append_without_gaps(
    settings: Settings, web_engine: AsyncEngine
) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_appending_process, args=(settings, 300)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        await asyncio.to_thread(process.join, 60)

    assert [process.exitcode for process in processes] == [0, 0, 0]
    await assert_dense(web_engine, events=900)


async def test_a_stopped_process_with_appends_in_flight_does_not_block_others(
    settings: Settings, log: EventLog, web_engine: AsyncEngine
) -> None:
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_appending_process, args=(settings, 20_000))
    process.start()
    assert process.pid is not None
    while not await positions(web_engine):
        assert process.is_alive()

    os.kill(process.pid, signal.SIGSTOP)
    await asyncio.gather(*(log.append(new_order()) for _ in range(100)))
    process.kill()
    await asyncio.to_thread(process.join, 10)
    await asyncio.gather(*(log.append(new_order()) for _ in range(100)))

    found = await positions(web_engine)
    await assert_dense(web_engine, events=sum(map(len, found.values())))


async def test_a_repeat_with_a_key_gets_the_first_response_at_its_version(log: EventLog) -> None:
    keyed = BY_USER.__class__("user", USER, "key-1", "print-1")
    order_id = order_id_of_key(USER, "key-1")
    first = await placed(log, order_id, placing(), keyed)
    await changed(log, order_id, to_status("PAID"), BY_USER)

    again = await placed(log, order_id, placing(), keyed)

    assert again.replayed
    assert again.order == first.order


async def test_concurrent_repeats_with_a_key_store_one_order(
    log: EventLog, web_engine: AsyncEngine
) -> None:
    keyed = BY_USER.__class__("user", USER, "key-1", "print-1")
    order_id = order_id_of_key(USER, "key-1")

    answers = await asyncio.gather(*(placed(log, order_id, placing(), keyed) for _ in range(20)))

    assert sorted(answer.replayed for answer in answers) == [False] + [True] * 19
    await assert_dense(web_engine, events=1)


async def test_another_request_with_a_used_key_is_refused(log: EventLog) -> None:
    order_id = order_id_of_key(USER, "key-1")
    await placed(log, order_id, placing(), BY_USER.__class__("user", USER, "key-1", "print-1"))

    with pytest.raises(InvalidRequest) as caught:
        await placed(log, order_id, placing(), BY_USER.__class__("user", USER, "key-1", "print-2"))

    assert caught.value.code == "idempotency-key-reused"
