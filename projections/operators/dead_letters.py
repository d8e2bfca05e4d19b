"""Parked streams: list, show, retry, skip.

A retry or a skip is one transaction that holds the live checkpoint's lock, so a step never sees
half of it.
"""

import argparse
import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from tqdm import tqdm

from order_service import limits
from order_service.cache.order_cache import OrderCache
from order_service.documents.operations import DeadLetter, DeadLetters
from order_service.documents.shape import json_time
from order_service.ids import order_number
from order_service.infra.postgres import PROJECTOR, create_engine, incarnation
from order_service.infra.redis import connect
from order_service.infra.terminal import aligned
from order_service.log.reading import heads, partition_of, read_streams
from order_service.settings import Settings
from projections.loop.checkpoints import LockedCheckpoint, lock_live
from projections.loop.rows import Stream, read_skips, without
from projections.loop.step import step_singly
from projections.read_models.generations import REPLAY_LOCK, discard_build
from projections.read_models.projection import Projection, Rows
from projections.read_models.registry import PROJECTIONS

_COLUMNS = (
    "d.name, d.partition, d.stream_id, d.version, d.position, d.last_version, d.error, d.parked_at"
)
_LIVE = "dead_letters d JOIN read_models m ON m.name = d.name AND m.live_generation = d.generation"
_EVENT = (  # the event at which the stream is parked
    "JOIN events e ON e.partition = d.partition AND e.stream_id = d.stream_id "
    "AND e.version = d.version"
)
_LIST = text(f"SELECT {_COLUMNS} FROM {_LIVE} ORDER BY d.parked_at, d.stream_id")  # noqa: S608
_LETTERS = text(
    "SELECT d.name, d.generation, d.partition, d.stream_id, d.position, d.version, d.error, "  # noqa: S608
    "d.attempts, d.parked_at, e.type, p.position AS placed_at, "
    "(SELECT max(n.version) FROM events n WHERE n.partition = d.partition "
    "AND n.stream_id = d.stream_id) - d.version + 1 AS waiting "
    f"FROM {_LIVE} {_EVENT} "
    "JOIN events p ON p.partition = d.partition AND p.stream_id = d.stream_id AND p.version = 1 "
    "WHERE d.name = coalesce(:name, d.name) ORDER BY d.parked_at, d.stream_id LIMIT :limit"
)
_SHOW = text(
    f"SELECT {_COLUMNS}, e.type, e.schema_version, e.event_id, e.recorded_at, e.data::text "  # noqa: S608
    f"FROM {_LIVE} {_EVENT} "
    "WHERE d.name = :name AND d.stream_id = :stream_id"
)
_UNPARK = text(
    "DELETE FROM dead_letters WHERE name = :name AND generation = :generation "
    "AND partition = :partition AND stream_id = :stream_id "
    "RETURNING version, last_version, attempts"
)
# One more attempt if parked at the same event; the first attempt if parked at a later one.
_COUNT_IF_PARKED = text(
    "UPDATE dead_letters SET attempts = CASE WHEN version = :version THEN :attempts + 1 ELSE 1 END "
    "WHERE name = :name AND generation = :generation "
    "AND partition = :partition AND stream_id = :stream_id"
)
_SKIP = text(
    "INSERT INTO skips (name, partition, stream_id, version, reason) "
    "VALUES (:name, :partition, :stream_id, :version, :reason)"
)
_FORGET_PREVIOUS = text(
    "UPDATE read_models SET previous_generation = NULL, previous_version = NULL WHERE name = :name"
)
_TRY_REPLAY_LOCK = text("SELECT pg_try_advisory_xact_lock(:lock)")


async def page(connection: AsyncConnection, name: str | None, partitions: int) -> DeadLetters:
    """The response of `GET /ops/dead-letters/`. `name`: of this read model only; None: of all."""
    limit = limits.DEAD_LETTERS_LISTED_MAX
    rows = (await connection.execute(_LETTERS, {"name": name, "limit": limit + 1})).all()
    items = [
        DeadLetter(
            id=f"{row.name}.{row.stream_id}",
            projection=row.name,
            generation=row.generation,
            partition=row.partition,
            position=row.position,
            order_id=row.stream_id,
            number=order_number(row.placed_at, row.partition, partitions),
            event_type=row.type,
            version=row.version,
            error=row.error,
            attempts=row.attempts,
            parked_at=json_time(row.parked_at),
            events_waiting=row.waiting,
        )
        for row in rows[:limit]
    ]
    return DeadLetters(items, more=len(rows) > limit)


class NotParked(Exception):
    """The live generation has no such dead letter."""


class ReplayRunning(Exception):
    """No event can be skipped while a replay runs: the build may already include the event."""


def _not_parked(name: str, stream_id: UUID) -> NotParked:
    return NotParked(
        f"Stream {stream_id} is not parked in {name}. "
        "`./entrypoint.sh dead-letters list` shows the parked streams."
    )


async def read_all(connection: AsyncConnection) -> Sequence[Row[Any]]:
    return (await connection.execute(_LIST)).all()


async def read_one(connection: AsyncConnection, name: str, stream_id: UUID) -> Row[Any]:
    parameters = {"name": name, "stream_id": stream_id}
    row = (await connection.execute(_SHOW, parameters)).one_or_none()
    if row is None:
        raise _not_parked(name, stream_id)
    return row


async def retry(
    engine: AsyncEngine, cache: OrderCache, projection: Projection, stream_id: UUID
) -> bool:
    """True: the stream is applied up to the checkpoint and no longer parked. False: it failed again
    and stays parked, perhaps at a later event. Raises NotParked."""
    async with engine.begin() as connection:
        held = await _lock(connection, projection, stream_id)
        rows, parked = await _apply(connection, held, stream_id)
    await _refresh_cache(cache, projection, rows)
    return not parked


async def skip(
    engine: AsyncEngine, cache: OrderCache, projection: Projection, stream_id: UUID, reason: str
) -> bool:
    """The event at which the stream is parked is left out of this projection, in this and all later
    generations; then as `retry`. Raises NotParked, ReplayRunning.

    Other generations may include that event, so they are wrong now: an unfinished build and the
    previous generation are discarded.
    """
    async with engine.begin() as connection:
        free = (await connection.execute(_TRY_REPLAY_LOCK, {"lock": REPLAY_LOCK})).scalar_one()
        if not free:
            raise ReplayRunning(
                "A replay is running: wait until it has ended, then skip the event."
            )
        held = await _lock(connection, projection, stream_id)
        parked_at = (await read_one(connection, projection.name, stream_id)).version
        skipped = {
            "name": projection.name,
            "partition": held.target.partition,
            "stream_id": stream_id,
            "version": parked_at,
            "reason": reason,
        }
        await connection.execute(_SKIP, skipped)
        await connection.execute(_FORGET_PREVIOUS, {"name": projection.name})
        await discard_build(connection, projection.name)
        rows, parked = await _apply(connection, held, stream_id)
    await _refresh_cache(cache, projection, rows)
    return not parked


async def _lock(
    connection: AsyncConnection, projection: Projection, stream_id: UUID
) -> LockedCheckpoint:
    partition = partition_of(stream_id, len(await heads(connection)))
    return await lock_live(connection, projection, partition)


async def _apply(
    connection: AsyncConnection, held: LockedCheckpoint, stream_id: UUID
) -> tuple[Rows, bool]:
    """The stream is unparked and applied up to the checkpoint, or parked again. Returns its last
    row, for the cache, and whether it is parked. Raises NotParked."""
    key = held.target.identity | {"stream_id": stream_id}
    letter = (await connection.execute(_UNPARK, key)).one_or_none()
    if letter is None:
        raise _not_parked(held.target.projection.name, stream_id)
    stream = await _read(connection, held, stream_id, letter.last_version)
    rows = await step_singly(connection, held.target, stream)
    before = {"version": letter.version, "attempts": letter.attempts}
    return rows, (await connection.execute(_COUNT_IF_PARKED, key | before)).rowcount == 1


async def _read(
    connection: AsyncConnection, held: LockedCheckpoint, stream_id: UUID, last_version: int
) -> Stream:
    """The stream up to the checkpoint, without skipped events. `old`: up to `last_version`."""
    target = held.target
    events = await read_streams(connection, target.partition, [stream_id], held.position)
    skips = await read_skips(connection, target.partition)
    kept = without(skips.get((target.projection.name, stream_id), set()), events)
    old = [event for event in kept if event.version <= last_version]
    return Stream(old, kept[len(old) :])


async def _refresh_cache(cache: OrderCache, projection: Projection, rows: Rows) -> None:
    if rows and projection.refresh:
        await projection.refresh(cache, rows)


# --- the command ----------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="list every parked stream")
    actions.add_parser("retry-all", help="retry every parked stream")
    for action, what in (
        ("show", "show a parked stream and the event that it is parked at"),
        ("retry", "apply a stream again, after the code was fixed"),
        ("skip", "leave the event out of the projection for good, then retry"),
    ):
        command = actions.add_parser(action, help=what)
        command.add_argument("projection", choices=sorted(PROJECTIONS))
        command.add_argument("stream_id", type=UUID)
        if action == "skip":
            command.add_argument("--reason", required=True)
    for action in ("list", "show"):
        actions.choices[action].add_argument("--json", action="store_true", help="print JSON")


async def run(args: argparse.Namespace, settings: Settings) -> int:
    """0: done; 1: a stream is still parked, was not parked, or a replay is running."""
    engine = create_engine(settings, PROJECTOR, application_name="dead-letters", pool_size=1)
    redis = connect(settings)
    try:
        log_now = str(await incarnation(engine))
        cache = OrderCache(redis, settings.CACHE_TTL_SECONDS, log_now)
        return await _run(args, engine, cache)
    except (NotParked, ReplayRunning) as error:
        print(error)
        return 1
    finally:
        await redis.aclose()
        await engine.dispose()


async def _run(args: argparse.Namespace, engine: AsyncEngine, cache: OrderCache) -> int:
    if args.action in ("list", "show"):
        async with engine.connect() as connection:
            if args.action == "show":
                _print(await read_one(connection, args.projection, args.stream_id), args.json)
            else:
                _print_all(await read_all(connection), args.json)
        return 0
    if args.action == "retry-all":
        return await _retry_all(engine, cache)
    projection = PROJECTIONS[args.projection]
    if args.action == "retry":
        done = await retry(engine, cache, projection, args.stream_id)
    else:
        done = await skip(engine, cache, projection, args.stream_id, args.reason)
    print(
        f"Applied stream {args.stream_id} to {projection.name}."
        if done
        else f"Stream {args.stream_id} is still parked in {projection.name}. See the error with "
        f"`./entrypoint.sh dead-letters show {projection.name} {args.stream_id}`."
    )
    return 0 if done else 1


async def _retry_all(engine: AsyncEngine, cache: OrderCache) -> int:
    async with engine.connect() as connection:
        letters = await read_all(connection)
    applied = 0
    for letter in tqdm(letters, unit=" streams", disable=None):
        applied += await retry(engine, cache, PROJECTIONS[letter.name], letter.stream_id)
    print(f"Applied {applied} of {len(letters)} parked streams.")
    return 0 if applied == len(letters) else 1


def _print(letter: Row[Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(letter._asdict(), default=str))
        return
    for name, value in letter._mapping.items():
        print(f"{name}: {value}")


def _print_all(letters: Sequence[Row[Any]], as_json: bool) -> None:
    if as_json:
        print(json.dumps([letter._asdict() for letter in letters], default=str))
        return
    heads = ("projection", "stream", "version", "partition", "position", "parked at", "error")
    rows = [
        (d.name, d.stream_id, d.version, d.partition, d.position, d.parked_at, d.error)
        for d in letters
    ]
    print(f"{aligned(heads, rows)}\n{len(letters)} parked.")
