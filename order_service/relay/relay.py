"""The relay: publishes the log to RabbitMQ, in order, at least once.

It reads a bounded window of events after the checkpoint, publishes it, waits until RabbitMQ has
confirmed all of it, then moves the checkpoint by compare-and-set on the position that it read. If
it stops or is killed in between, the next relay publishes that window again: no event is left out.
Any doubt (nack, return, time-out, a lost connection) ends the session. The next session continues
from the stored checkpoint on a new channel, so that one channel never has the same event id in
flight twice (aiormq would take one message's return for the other's confirm).

Several relays may run. A lease on each partition only saves them from doing the same work. The
compare-and-set alone makes them correct, so a relay that outlives its lease does no harm.
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

# The events after the checkpoint, of every partition that has some and is not leased to another
# relay. `held`: this relay has the lease for at least half its time more (moving renews it, so most
# windows need no statement for leases); a partition that is not held has one row, without an event.
# Positions have no gaps, so a partition returns at most its share of the window.
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
    """Publishes until `stop` is set, through outages of RabbitMQ and PostgreSQL."""
    relay_id = uuid4()  # for all sessions, so that the next one has the leases of the last
    engine = create_engine(settings, PROJECTOR, application_name="relay", pool_size=1, derived=True)
    session = partial(_session, engine, relay_id, stop)
    tracing.start(settings, "relay")
    try:
        async with exposed(settings, "relay"), heartbeat(settings, "relay"):
            await broker.keep_connected(settings, "relay", session, stop)
    finally:
        tracing.stop()
        await engine.dispose()


async def _session(
    engine: AsyncEngine, relay_id: UUID, stop: asyncio.Event, rabbitmq: AbstractConnection
) -> None:
    channel = await broker.open_channel(rabbitmq)
    underlay = await channel.get_underlay_channel()
    assert isinstance(underlay, Channel)  # the only class that aio-pika uses
    async with driver_connection(engine) as (_, connection):
        relay = Relay(connection, underlay, relay_id)
        logger.info("relay: connected and publishing")
        await _publish_until(stop, relay)
        await relay.release()


async def _publish_until(stop: asyncio.Event, relay: "Relay") -> None:
    busy_until = 0.0
    while not stop.is_set():
        published = await relay.publish_next()
        if published >= limits.RELAY_WINDOW:
            continue  # a full window: more events may be waiting
        if published:
            busy_until = time.monotonic() + limits.RELAY_BUSY_S
        busy = time.monotonic() < busy_until
        await asyncio.sleep(limits.RELAY_POLL_BUSY_S if busy else limits.RELAY_POLL_IDLE_S)


class Relay:
    """The work of one session, which alone uses the connection and the channel.

    The connection is the driver's, and each statement is its own transaction: none is open while
    messages are in flight. An idle relay polls fifty times a second, which took 3 % of a core
    through SQLAlchemy.
    """

    def __init__(self, connection: asyncpg.Connection, channel: Channel, relay_id: UUID) -> None:
        self._connection = connection
        self._channel = channel
        self._relay_id = relay_id

    async def publish_next(self) -> int:
        """Publishes the next window, then moves the checkpoints. Returns the number of events."""
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
        """Ends this relay's leases, so that another relay need not wait for them."""
        await self._connection.execute(_RELEASE, self._relay_id)

    async def _next(self) -> list[asyncpg.Record]:
        """The next events of the partitions that are leased to this relay."""
        rows = await self._read()
        if unleased := [row["partition"] for row in rows if not row["held"]]:
            # One statement a partition, in order, so that two relays cannot deadlock.
            for partition in unleased:
                await self._connection.execute(
                    LEASE, self._relay_id, limits.RELAY_LEASE_S, partition
                )
            rows = await self._read()
        return [row for row in rows if row["held"] and row["position"] is not None]

    async def _read(self) -> list[asyncpg.Record]:
        rows: list[asyncpg.Record] = await self._connection.fetch(
            NEXT, self._relay_id, limits.RELAY_LEASE_S, limits.RELAY_WINDOW
        )
        return rows

    async def _publish(self, window: Sequence[StoredEvent]) -> None:
        """Every event of `window` is routed and confirmed by RabbitMQ; else raises."""
        # The time-out covers the writes too: on a connection that RabbitMQ blocks (an alarm) they
        # would wait for ever.
        async with asyncio.timeout(limits.RELAY_CONFIRM_TIMEOUT_S):
            await publish(self._channel, window)

    async def _move(self, rows: Sequence[asyncpg.Record]) -> None:
        """Moves the checkpoints to the window's end. A checkpoint that another relay moved first
        stays: this relay reads it again with the next window."""
        ends = {row["partition"]: (row["after"], row["position"]) for row in rows}
        old, new = zip(*ends.values(), strict=True)
        await self._connection.execute(
            _MOVE, self._relay_id, limits.RELAY_LEASE_S, list(ends), list(old), list(new)
        )
