"""Two web processes on one log: an outdated memory never causes an outdated response."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.commands.handler import Answer
from order_service.domain.commands import TargetStatus
from order_service.domain.state import status
from order_service.errors import RuleViolation, VersionConflict
from order_service.ids import order_id_of_key, uuid7
from order_service.log.append import Append
from order_service.log.codec import Metadata
from order_service.log.event_log import EventLog
from order_service.settings import Settings
from tests.support.log.event_log import assert_dense, changed, opened, placed
from tests.support.log.examples import BY_USER, CAPTURED, PAID, USER, placing, to_status
from tests.support.servers.proxy import proxy_to

KEYED = Metadata("user", USER, "key-1", "print-1")


@pytest.fixture
async def one(settings: Settings) -> AsyncIterator[EventLog]:
    async with opened(settings) as log:
        yield log


@pytest.fixture
async def other(settings: Settings) -> AsyncIterator[EventLog]:
    async with opened(settings) as log:
        yield log


async def moved(
    log: EventLog, order_id: UUID, to: TargetStatus, metadata: Metadata = BY_USER
) -> Answer:
    return await changed(log, order_id, to_status(to), metadata)


async def test_a_refusal_is_never_decided_from_memory(one: EventLog, other: EventLog) -> None:
    order_id = (await placed(one, uuid7(), placing(), BY_USER)).order.id
    await moved(other, order_id, "PAID")

    shipped = await moved(one, order_id, "SHIPPED")

    assert shipped.order.version == 5


async def test_a_command_without_effect_is_never_decided_from_memory(
    one: EventLog, other: EventLog
) -> None:
    order_id = (await placed(one, uuid7(), placing(), BY_USER)).order.id
    await moved(one, order_id, "PAID")
    await moved(other, order_id, "CANCELED")

    with pytest.raises(RuleViolation) as caught:
        await moved(one, order_id, "PAID")

    assert caught.value.facts["current_version"] == 5


async def test_the_same_command_in_both_processes_has_one_effect(
    one: EventLog, other: EventLog, web_engine: AsyncEngine
) -> None:
    order_id = (await placed(one, uuid7(), placing(), BY_USER)).order.id

    answers = await asyncio.gather(*(moved(log, order_id, "PAID") for log in (one, other) * 20))

    assert {answer.order.version for answer in answers} == {3}
    await assert_dense(web_engine, events=3)


async def test_one_of_the_appends_of_both_processes_at_one_version_wins(
    one: EventLog, other: EventLog, web_engine: AsyncEngine
) -> None:
    before = (await placed(one, uuid7(), placing(), BY_USER)).order
    payment = Append(before.id, before, (CAPTURED, PAID), BY_USER)

    outcomes = await asyncio.gather(
        *(log.append(payment) for log in (one, other) * 20), return_exceptions=True
    )

    assert Counter(map(type, outcomes))[VersionConflict] == 39
    await assert_dense(web_engine, events=3)


async def test_concurrent_repeats_of_a_creation_in_both_processes_create_one_order(
    one: EventLog, other: EventLog, web_engine: AsyncEngine
) -> None:
    order_id = order_id_of_key(USER, "key-1")

    answers = await asyncio.gather(
        *(placed(log, order_id, placing(reference="R"), KEYED) for log in (one, other) * 10)
    )

    assert Counter(answer.replayed for answer in answers) == {False: 1, True: 19}
    assert all(answer.order == answers[0].order for answer in answers)
    await assert_dense(web_engine, events=1)


async def test_concurrent_repeats_of_a_change_in_both_processes_change_once(
    one: EventLog, other: EventLog, web_engine: AsyncEngine
) -> None:
    order_id = (await placed(one, uuid7(), placing(), BY_USER)).order.id

    answers = await asyncio.gather(
        *(moved(log, order_id, "PAID", KEYED) for log in (one, other) * 10)
    )

    assert Counter(answer.replayed for answer in answers) == {False: 1, True: 19}
    await assert_dense(web_engine, events=3)


async def test_a_repeat_in_another_process_finds_the_command_of_a_disconnected_client(
    one: EventLog, other: EventLog, web_engine: AsyncEngine
) -> None:
    order_id = order_id_of_key(USER, "key-1")
    gone = asyncio.create_task(placed(one, order_id, placing(), KEYED))
    await asyncio.sleep(0)
    gone.cancel()

    again = await placed(other, order_id, placing(), KEYED)
    later = await placed(one, order_id, placing(), replace(KEYED))

    assert again.order == later.order
    await assert_dense(web_engine, events=1)


async def test_a_resent_append_succeeds_even_if_the_order_changed_meanwhile(
    settings: Settings, other: EventLog, web_engine: AsyncEngine
) -> None:
    """The reply was lost, and another process paid the order before the append was sent again."""
    async with proxy_to(settings.DB_HOST, settings.DB_PORT) as proxy:
        through = settings.model_copy(update={"DB_HOST": "127.0.0.1", "DB_PORT": proxy.port})
        async with opened(through) as one:
            await placed(one, uuid7(), placing(), BY_USER)
            proxy.replies = False
            order_id = uuid7()
            lost = asyncio.create_task(placed(one, order_id, placing(), BY_USER))
            await proxy.swallowed.wait()
            await moved(other, order_id, "PAID")
            proxy.replies = True
            proxy.cut()

            assert (await lost).order.version == 1
            shipped = await moved(one, order_id, "SHIPPED")

    assert (shipped.order.version, status(shipped.order.order)) == (5, "SHIPPED")
    await assert_dense(web_engine, events=6)
