"""The relay: publishes the log, in order, and remembers how far. May import log, broker, message,
db.

Read what stands after the checkpoint, publish a bounded window of it, wait until RabbitMQ has
confirmed all of it, then move the checkpoint by compare-and-set on the position that was read.
Stopped or killed anywhere in between, the next one publishes that window again: every event at
least once, none left out. Any doubt (nack, return, time-out, a lost connection) ends the session;
the next goes on from the checkpoint as it is stored, on a new channel, so that an event's id is
never twice in flight on one channel (aiormq would then take one message's return for another's
confirm).

Several relays may run. A lease a partition keeps them from doing the same work; only the
compare-and-set keeps them right, so a relay that sleeps through its lease does no harm.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from functools import partial
from uuid import UUID, uuid4

from aio_pika.abc import AbstractConnection
from aiormq import Channel
from pamqp.commands import Basic
from sqlalchemy import Uuid, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from order_service import broker
from order_service import settings as limits
from order_service.db import PROJECTOR, create_engine
from order_service.log.codec import StoredEvent
from order_service.log.reading import read_partition
from order_service.message import to_message
from order_service.settings import Settings

logger = logging.getLogger(__name__)

# Partitions with something to publish that no other relay holds. `held`: this relay does, for at
# least half a lease, so that most windows cost no lease of their own (moving renews it).
_BEHIND = text("""
    SELECT p.partition, c.position,
           c.leased_by IS NOT DISTINCT FROM :relay
           AND c.leased_until > clock_timestamp() + make_interval(secs => :lease_s / 2) AS held
    FROM partitions p
    JOIN checkpoints c ON c.name = 'relay' AND c.generation = 0 AND c.partition = p.partition
    WHERE p.position > c.position
      AND (c.leased_by IS NULL OR c.leased_by = :relay OR c.leased_until < clock_timestamp())
    ORDER BY p.partition
""").bindparams(bindparam("relay", type_=Uuid))
_LEASE = text("""
    UPDATE checkpoints
    SET leased_by = :relay, leased_until = clock_timestamp() + make_interval(secs => :lease_s)
    WHERE name = 'relay' AND generation = 0 AND partition = :partition
      AND (leased_by IS NULL OR leased_by = :relay OR leased_until < clock_timestamp())
""").bindparams(bindparam("relay", type_=Uuid))
_MOVE = text("""
    UPDATE checkpoints
    SET position = :new, moved_at = clock_timestamp(),
        leased_by = :relay, leased_until = clock_timestamp() + make_interval(secs => :lease_s)
    WHERE name = 'relay' AND generation = 0 AND partition = :partition AND position = :old
""").bindparams(bindparam("relay", type_=Uuid))
_RELEASE = text("""
    UPDATE checkpoints SET leased_by = NULL, leased_until = NULL
    WHERE name = 'relay' AND generation = 0 AND leased_by = :relay
""").bindparams(bindparam("relay", type_=Uuid))


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Publishes until `stop` is set, whatever becomes of RabbitMQ and PostgreSQL meanwhile."""
    me = uuid4()  # for all sessions: the next one need not wait for the leases of the last
    engine = create_engine(settings, PROJECTOR, application_name="relay", pool_size=1)
    try:
        await broker.keep_connected(settings, "relay", partial(_session, engine, me, stop), stop)
    finally:
        await engine.dispose()


async def _session(
    engine: AsyncEngine, me: UUID, stop: asyncio.Event, rabbitmq: AbstractConnection
) -> None:
    channel = await broker.open_channel(rabbitmq)
    # AUTOCOMMIT: each statement stands alone, so no transaction is open while messages are under
    # way.
    async with engine.connect() as connection:
        connection = await connection.execution_options(isolation_level="AUTOCOMMIT")
        # A checkpoint that PostgreSQL forgets in a crash costs a window of duplicates, and waiting
        # for the disk at every window would cost the appends, whose disk it is.
        await connection.execute(text("SET synchronous_commit = off"))
        underlay = await channel.get_underlay_channel()
        assert isinstance(underlay, Channel)  # aio-pika has no other
        relay = Relay(connection, underlay, me)
        logger.info("relay: publishing")
        await _publish_until(stop, relay)
        await relay.release()


async def _publish_until(stop: asyncio.Event, relay: "Relay") -> None:
    busy_until = 0.0
    while not stop.is_set():
        if await relay.publish_next():
            busy_until = time.monotonic() + limits.RELAY_BUSY_S
            continue
        busy = time.monotonic() < busy_until
        await asyncio.sleep(limits.RELAY_POLL_BUSY_S if busy else limits.RELAY_POLL_IDLE_S)


class Relay:
    """One session's work: a connection in AUTOCOMMIT and a channel, both of its own."""

    def __init__(self, connection: AsyncConnection, channel: Channel, me: UUID) -> None:
        self._connection = connection
        self._channel = channel
        self._me = me

    async def publish_next(self) -> bool:
        """The next window is confirmed and the checkpoints stand behind it; False: nothing to
        do."""
        places = await self._behind()
        if not places:
            return False
        window = await self._read(places)
        await self._publish(window)
        await self._move(places, window)
        return True

    async def release(self) -> None:
        """Another relay need not wait for this one's leases."""
        await self._connection.execute(_RELEASE, {"relay": self._me})

    async def _behind(self) -> dict[int, int]:
        """Partition to checkpoint, for the partitions that are behind and leased to this relay."""
        rows = (await self._connection.execute(_BEHIND, self._lease())).all()
        unleased = [row.partition for row in rows if not row.held]
        if unleased:
            # One statement a partition, in order: two relays that take leases cannot deadlock.
            await self._connection.execute(_LEASE, [self._lease(partition=p) for p in unleased])
            rows = (await self._connection.execute(_BEHIND, self._lease())).all()
        return {row.partition: row.position for row in rows if row.held}

    async def _read(self, places: dict[int, int]) -> list[StoredEvent]:
        share = max(1, limits.RELAY_WINDOW // len(places))
        window: list[StoredEvent] = []
        for partition, position in places.items():
            window += await read_partition(self._connection, partition, position, share)
        return window

    async def _publish(self, window: Sequence[StoredEvent]) -> None:
        """Every event of `window` is confirmed by RabbitMQ and was routed; else raises."""
        # The limit surrounds all of it: a connection that RabbitMQ blocks (an alarm) lets a publish
        # wait for ever before any time-out of its own begins.
        async with asyncio.timeout(limits.RELAY_CONFIRM_TIMEOUT_S):
            confirms = await asyncio.gather(*(self._send(stored) for stored in window))
        assert all(isinstance(confirm, Basic.Ack) for confirm in confirms), "a nack raises"

    async def _send(self, stored: StoredEvent) -> object:
        message = to_message(stored)
        # The channel itself, since aio-pika's `publish` waits for the socket after each message and
        # reaches half the rate; the window bounds what is buffered.
        return await self._channel.basic_publish(
            message.body,
            exchange=broker.EVENTS_EXCHANGE,
            routing_key=message.routing_key,
            properties=message.properties,
            mandatory=True,  # else RabbitMQ confirms what it throws away
            wait=False,
        )

    async def _move(self, places: dict[int, int], window: Sequence[StoredEvent]) -> None:
        """The checkpoints stand at the window's end, except where another relay moved one first:
        that one goes on, and this relay finds out where at its next look."""
        last = {stored.partition: stored.position for stored in window}
        moves = [self._lease(partition=p, old=places[p], new=new) for p, new in last.items()]
        await self._connection.execute(_MOVE, moves)

    def _lease(self, **parameters: int) -> dict[str, object]:
        return {"relay": self._me, "lease_s": limits.RELAY_LEASE_S, **parameters}
