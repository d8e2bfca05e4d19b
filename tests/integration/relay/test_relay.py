"""P3: every event is published at least once, in order, confirmed before the checkpoint moves."""

import asyncio
from uuid import UUID

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.infra import rabbitmq as broker
from order_service.limits import RELAY_WINDOW
from order_service.relay import relay
from order_service.settings import Settings
from tests.support.log.examples import CAPTURED, PAID, PLACED
from tests.support.log.given_log import RawEvent, given_order
from tests.support.servers.pipeline import (
    Tap,
    checkpoints,
    given_backlog,
    relayed,
    running,
    tap_into,
    through,
)
from tests.support.servers.proxy import Proxy, proxy_to
from tests.support.waiting import eventually

ORDER = UUID("00000000-0000-7000-8000-000000000102")  # in partition 2 of 4
LOCK = text("SELECT 1 FROM checkpoints WHERE name = 'relay' AND partition = 0 FOR UPDATE")
MOVE = text("UPDATE checkpoints SET position = :to WHERE name = 'relay' AND partition = 0")


@pytest.fixture
async def tap(rabbitmq: AbstractChannel) -> Tap:
    return await tap_into(rabbitmq)


async def test_every_event_is_published_once_in_the_order_of_its_partition(
    settings: Settings, web_engine: AsyncEngine, tap: Tap
) -> None:
    for partition in (0, 1, 3, 0):
        await given_order(web_engine, PLACED, CAPTURED, PAID, partition=partition)

    async with running(relay.run, settings):
        await relayed(web_engine, {0: 6, 1: 3, 3: 3})
        await given_order(web_engine, PLACED, partition=1)
        await relayed(web_engine, {1: 4})
    await tap.has_all({0: 6, 1: 4, 3: 3})

    assert [n for p, n in tap.places if p == 0] == [1, 2, 3, 4, 5, 6]
    assert [n for p, n in tap.places if p == 1] == [1, 2, 3, 4]
    assert [n for p, n in tap.places if p == 3] == [1, 2, 3]
    assert len(tap.places) == 13


async def test_a_message_is_persistent_and_contains_the_event_as_stored(
    settings: Settings, web_engine: AsyncEngine, tap: Tap
) -> None:
    await given_order(web_engine, RawEvent("OfTomorrow", '{"b": 1.10}', 7), stream_id=ORDER)

    async with running(relay.run, settings):
        await tap.has_all({2: 1})

    message, body = tap.messages[0], tap.bodies[0]
    assert (message.exchange, message.routing_key) == ("orders.events", "order.of_tomorrow")
    assert (body["order_id"], body["version"], body["data"]) == (str(ORDER), 1, {"b": 1.10})
    assert message.content_type == "application/json"
    assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
    assert message.message_id == message.headers["cloudEvents:id"]
    assert message.headers["cloudEvents:type"] == "org.order-service.of.tomorrow.v7"


async def test_a_backlog_is_published_in_order(
    settings: Settings, web_engine: AsyncEngine, tap: Tap
) -> None:
    await given_backlog(web_engine, 3_000)

    async with running(relay.run, settings):
        await relayed(web_engine, {0: 3_000})
    await tap.has_all({0: 3_000})

    assert tap.places == [(0, n) for n in range(1, 3_001)]


async def test_a_relay_that_is_killed_before_its_checkpoint_moves_loses_no_event(
    settings: Settings, web_engine: AsyncEngine, projector_engine: AsyncEngine, tap: Tap
) -> None:
    async with running(relay.run, settings) as killed:
        await before_its_move(web_engine, projector_engine, tap, killed)
    async with running(relay.run, settings):
        await relayed(web_engine, {0: 400})
    await tap.has_all({0: 400})

    window = [(0, n) for n in range(2, 2 + RELAY_WINDOW)]
    assert tap.places[1 : 1 + 2 * RELAY_WINDOW] == window + window
    assert tap.first_appearances(0) == list(range(1, 401))


async def before_its_move(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, tap: Tap, killed: asyncio.Task[None]
) -> None:
    """The relay has published exactly one window, and is killed."""
    await given_order(web_engine, PLACED)
    await relayed(web_engine, {0: 1})
    async with projector_engine.begin() as holder:
        await holder.execute(LOCK)
        await given_backlog(web_engine, 399)
        await tap.has_all({0: 1 + RELAY_WINDOW})
        killed.cancel()
        await asyncio.wait({killed})
    assert len(tap.places) == 1 + RELAY_WINDOW


async def test_a_slow_relay_does_not_move_a_checkpoint_that_another_has_moved(
    settings: Settings, web_engine: AsyncEngine, projector_engine: AsyncEngine, tap: Tap
) -> None:
    async with running(relay.run, settings):
        await given_order(web_engine, PLACED)
        await relayed(web_engine, {0: 1})
        async with projector_engine.begin() as other:
            await other.execute(LOCK)
            await given_order(web_engine, PLACED, CAPTURED, PAID)
            await tap.has_all({0: 4})
            await other.execute(MOVE, {"to": 3})
        await relayed(web_engine, {0: 4})
    await tap.until(lambda: len(tap.places) >= 5)

    assert tap.places == [(0, n) for n in (1, 2, 3, 4, 4)]


async def test_two_relays_together_lose_no_event_and_keep_the_order(
    settings: Settings, web_engine: AsyncEngine, tap: Tap
) -> None:
    async with running(relay.run, settings), running(relay.run, settings) as stopped_early:
        for partition in (0, 1, 2, 3):
            await given_backlog(web_engine, 400, partition)
        await tap.until(lambda: len(tap.places) > 300)
        stopped_early.cancel()
        await relayed(web_engine, dict.fromkeys(range(4), 400))
    await tap.has_all(dict.fromkeys(range(4), 400))

    for partition in (0, 1, 2, 3):
        assert tap.first_appearances(partition) == list(range(1, 401))


async def test_a_lease_prevents_a_second_relay_from_publishing_the_same_events(
    settings: Settings, web_engine: AsyncEngine, tap: Tap
) -> None:
    async with running(relay.run, settings):
        await given_order(web_engine, PLACED)
        await relayed(web_engine, {0: 1})
        async with running(relay.run, settings):
            for _ in range(20):
                await given_order(web_engine, PLACED)
            await relayed(web_engine, {0: 21})
    await tap.has_all({0: 21})

    assert tap.places == [(0, n) for n in range(1, 22)]


async def test_a_relay_that_stops_releases_its_leases(
    settings: Settings, web_engine: AsyncEngine, tap: Tap
) -> None:
    await given_order(web_engine, PLACED)
    async with running(relay.run, settings):
        await tap.has_all({0: 1})

    async with web_engine.connect() as connection:
        leased = await connection.execute(text("SELECT count(leased_by) FROM checkpoints"))
        assert leased.scalar_one() == 0


@pytest.mark.parametrize("deleted", ["queue", "binding", "exchange"])
async def test_deleted_topology_is_declared_again_and_no_event_is_lost(
    settings: Settings, web_engine: AsyncEngine, rabbitmq: AbstractChannel, deleted: str
) -> None:
    """F35, F37: without a bound queue, RabbitMQ returns the message, but also confirms it."""
    async with running(relay.run, settings):
        await given_order(web_engine, PLACED)
        await relayed(web_engine, {0: 1})
        hints = await rabbitmq.get_queue(broker.HINT_QUEUE)
        match deleted:
            case "queue":
                await hints.delete(if_empty=False)
            case "binding":
                await hints.unbind(broker.EVENTS_EXCHANGE, broker.ALL_EVENTS)
            case "exchange":
                await rabbitmq.exchange_delete(broker.EVENTS_EXCHANGE)
        await given_order(web_engine, CAPTURED)
        await relayed(web_engine, {0: 2})

    hints = await rabbitmq.get_queue(broker.HINT_QUEUE)
    last = None
    while message := await hints.get(no_ack=True, fail=False):
        last = message
    assert last is not None
    assert last.routing_key == "order.payment_captured"


async def test_a_lost_connection_to_rabbitmq_causes_at_most_duplicates(
    settings: Settings, web_engine: AsyncEngine, tap: Tap
) -> None:
    async with (
        proxy_to(settings.RABBITMQ_HOST, settings.RABBITMQ_PORT) as proxy,
        running(relay.run, through(proxy, settings)),
    ):
        await cut_while_publishing(web_engine, tap, proxy)
    await tap.has_all({0: 2_000})

    assert tap.first_appearances(0) == list(range(1, 2_001))


async def test_a_lost_connection_to_postgresql_causes_at_most_duplicates(
    settings: Settings, web_engine: AsyncEngine, tap: Tap
) -> None:
    async with proxy_to(settings.DB_HOST, settings.DB_PORT) as proxy:
        through_it = settings.model_copy(update={"DB_HOST": "127.0.0.1", "DB_PORT": proxy.port})
        async with running(relay.run, through_it):
            await cut_while_publishing(web_engine, tap, proxy)
    await tap.has_all({0: 2_000})

    assert tap.first_appearances(0) == list(range(1, 2_001))


async def cut_while_publishing(engine: AsyncEngine, tap: Tap, proxy: Proxy) -> None:
    await given_backlog(engine, 2_000)
    for seen in (200, 900):
        await tap.until(lambda seen=seen: len(tap.places) > seen)  # type: ignore[misc]
        proxy.cut()
    await relayed(engine, {0: 2_000})


async def test_the_checkpoint_does_not_move_without_confirms(
    settings: Settings, web_engine: AsyncEngine, tap: Tap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F33, F39: RabbitMQ hangs or has an alarm. The outcome is unknown: the window is repeated."""
    monkeypatch.setattr("order_service.limits.RELAY_CONFIRM_TIMEOUT_S", 0.3)
    monkeypatch.setattr("order_service.limits.RABBITMQ_CLOSE_TIMEOUT_S", 0.1)
    async with (
        proxy_to(settings.RABBITMQ_HOST, settings.RABBITMQ_PORT) as proxy,
        running(relay.run, through(proxy, settings)),
    ):
        await given_order(web_engine, PLACED)
        await relayed(web_engine, {0: 1})
        proxy.replies = False
        await given_order(web_engine, PLACED)
        await tap.has_all({0: 2})
        await proxy.swallowed.wait()
        assert (await checkpoints(web_engine))[0] == 1
        proxy.replies = True
        await relayed(web_engine, {0: 2})

    assert tap.places[:3] == [(0, 1), (0, 2), (0, 2)]


async def test_a_relay_waits_until_rabbitmq_is_reachable(
    settings: Settings, web_engine: AsyncEngine, tap: Tap
) -> None:
    await given_order(web_engine, PLACED)
    async with proxy_to(settings.RABBITMQ_HOST, settings.RABBITMQ_PORT) as proxy:
        port = proxy.port
    absent = settings.model_copy(update={"RABBITMQ_HOST": "127.0.0.1", "RABBITMQ_PORT": port})

    async with running(relay.run, absent) as started:

        async def tried() -> bool:
            return started.get_loop().time() > until

        until = started.get_loop().time() + 0.5
        await eventually(tried)
        assert not started.done()
        async with proxy_to(settings.RABBITMQ_HOST, settings.RABBITMQ_PORT, port):
            await relayed(web_engine, {0: 1})
    await tap.has_all({0: 1})

    assert tap.places == [(0, 1)]
