"""The relay: publishes the log, in order, and remembers how far.

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

import asyncpg
from aio_pika.abc import AbstractConnection
from aiormq import Channel
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service import limits
from order_service.infra import failpoints
from order_service.infra import rabbitmq as broker
from order_service.infra.heartbeat import heartbeat
from order_service.infra.postgres import PROJECTOR, create_engine, driver_connection
from order_service.log.codec import StoredEvent
from order_service.relay.message import trace_events
from order_service.relay.publish import publish
from order_service.settings import Settings
from order_service.telemetry import tracing
from order_service.telemetry.exposition import exposed
from order_service.telemetry.metrics import RELAY_SECONDS, RELAYED

logger = logging.getLogger(__name__)

# The next events of every partition that has some and that no other relay holds, after the position
# where the checkpoint stands. `held`: this relay does, for at least half a lease, so that most
# windows cost no lease of their own (moving renews it); of a partition that is not, one row without
# an event. Positions have no holes, so each partition gives its share of the window or less.
NEXT = """
    SELECT b.held, b.after, b.partition, e.position, e.stream_id, e.version, e.event_id, e.type,
           e.schema_version, e.data::text, e.metadata::text, e.recorded_at
    FROM (
        SELECT p.partition, c.position AS after, count(*) OVER () AS partitions,
               c.leased_by IS NOT DISTINCT FROM $1
               AND c.leased_until > clock_timestamp() + make_interval(secs => $2 / 2) AS held
        FROM partitions p
        JOIN checkpoints c ON c.name = 'relay' AND c.generation = 0 AND c.partition = p.partition
        WHERE p.position > c.position
          AND (c.leased_by IS NULL OR c.leased_by = $1 OR c.leased_until < clock_timestamp())
    ) b LEFT JOIN events e ON b.held AND e.partition = b.partition AND e.position > b.after
        AND e.position <= b.after + greatest(1, $3::bigint / b.partitions)
    ORDER BY b.partition, e.position
"""
LEASE = """
    UPDATE checkpoints
    SET leased_by = $1, leased_until = clock_timestamp() + make_interval(secs => $2)
    WHERE name = 'relay' AND generation = 0 AND partition = $3
      AND (leased_by IS NULL OR leased_by = $1 OR leased_until < clock_timestamp())
"""
_MOVE = """
    UPDATE checkpoints c
    SET position = m.new, moved_at = clock_timestamp(),
        leased_by = $1, leased_until = clock_timestamp() + make_interval(secs => $2)
    FROM unnest($3::smallint[], $4::bigint[], $5::bigint[]) AS m (partition, old, new)
    WHERE c.name = 'relay' AND c.generation = 0 AND c.partition = m.partition
      AND c.position = m.old
"""
_RELEASE = """
    UPDATE checkpoints SET leased_by = NULL, leased_until = NULL
    WHERE name = 'relay' AND generation = 0 AND leased_by = $1
"""


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Publishes until `stop` is set, whatever becomes of RabbitMQ and PostgreSQL meanwhile."""
    me = uuid4()  # for all sessions: the next one need not wait for the leases of the last
    engine = create_engine(settings, PROJECTOR, application_name="relay", pool_size=1, derived=True)
    session = partial(_session, engine, me, stop)
    tracing.start(settings, "relay")
    try:
        async with exposed(settings, "relay"), heartbeat(settings, "relay"):
            await broker.keep_connected(settings, "relay", session, stop)
    finally:
        tracing.stop()
        await engine.dispose()


async def _session(
    engine: AsyncEngine, me: UUID, stop: asyncio.Event, rabbitmq: AbstractConnection
) -> None:
    channel = await broker.open_channel(rabbitmq)
    underlay = await channel.get_underlay_channel()
    assert isinstance(underlay, Channel)  # aio-pika has no other
    async with driver_connection(engine) as (_, connection):
        relay = Relay(connection, underlay, me)
        logger.info("relay: publishing")
        await _publish_until(stop, relay)
        await relay.release()


async def _publish_until(stop: asyncio.Event, relay: "Relay") -> None:
    busy_until = 0.0
    while not stop.is_set():
        published = await relay.publish_next()
        if published >= limits.RELAY_WINDOW:
            continue  # there is more
        if published:
            busy_until = time.monotonic() + limits.RELAY_BUSY_S
        busy = time.monotonic() < busy_until
        await asyncio.sleep(limits.RELAY_POLL_BUSY_S if busy else limits.RELAY_POLL_IDLE_S)


class Relay:
    """One session's work: a connection and a channel, both of its own.

    The driver's own connection, in which each statement stands alone: no transaction is open while
    messages are under way. With SQLAlchemy around it an idle relay took 3 % of a core, which looks
    fifty times a second.
    """

    def __init__(self, connection: asyncpg.Connection, channel: Channel, me: UUID) -> None:
        self._connection = connection
        self._channel = channel
        self._me = me

    async def publish_next(self) -> int:
        """The next window is confirmed and the checkpoints stand behind it; returns its events."""
        rows = await self._next()
        if not rows:
            return 0
        await failpoints.reach("relay-read")
        window = [StoredEvent(*row[2:]) for row in rows]
        began = time.time()
        await self._publish(window)
        RELAY_SECONDS.observe(time.time() - began)
        RELAYED.inc(len(rows))
        if tracing.is_on():
            trace_events("publish", "PRODUCER", began, window)
        await failpoints.reach("relay-confirmed")
        await self._move(rows)
        await failpoints.reach("relay-moved")
        return len(rows)

    async def release(self) -> None:
        """Another relay need not wait for this one's leases."""
        await self._connection.execute(_RELEASE, self._me)

    async def _next(self) -> list[asyncpg.Record]:
        """The next events of the partitions that this relay has a lease of."""
        rows = await self._look()
        if unleased := [row["partition"] for row in rows if not row["held"]]:
            # One statement a partition, in order: two relays that take leases cannot deadlock.
            for partition in unleased:
                await self._connection.execute(LEASE, self._me, limits.RELAY_LEASE_S, partition)
            rows = await self._look()
        return [row for row in rows if row["held"] and row["position"] is not None]

    async def _look(self) -> list[asyncpg.Record]:
        found: list[asyncpg.Record] = await self._connection.fetch(
            NEXT, self._me, limits.RELAY_LEASE_S, limits.RELAY_WINDOW
        )
        return found

    async def _publish(self, window: Sequence[StoredEvent]) -> None:
        """Every event of `window` is confirmed by RabbitMQ and was routed; else raises."""
        # The limit surrounds all of it: a connection that RabbitMQ blocks (an alarm) lets a publish
        # wait for ever before any time-out of its own begins.
        async with asyncio.timeout(limits.RELAY_CONFIRM_TIMEOUT_S):
            await publish(self._channel, window)

    async def _move(self, rows: Sequence[asyncpg.Record]) -> None:
        """The checkpoints stand at the window's end, except where another relay moved one first:
        that one goes on, and this relay finds out where at its next look."""
        ends = {row["partition"]: (row["after"], row["position"]) for row in rows}
        old, new = zip(*ends.values(), strict=True)
        await self._connection.execute(
            _MOVE, self._me, limits.RELAY_LEASE_S, list(ends), list(old), list(new)
        )
