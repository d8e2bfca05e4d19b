"""verify: compares every read model and cached order with a fold of the log, under traffic.

The comparison is exact. A short snapshot reads rows, checkpoint, parked streams and skips of one
moment. The log up to that checkpoint never changes, so it is folded afterwards, in pages, with no
transaction open.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import sys
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass, field
from itertools import product
from typing import Any
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from tqdm import tqdm

from order_service import limits
from order_service.cache.entries import CachedOrder
from order_service.cache.order_cache import OrderCache
from order_service.documents.order import document
from order_service.errors import Unavailable, UnreadableEvent
from order_service.infra.postgres import incarnation
from order_service.infra.redis import connect
from order_service.log.codec import StoredEvent
from order_service.log.fold import fold_stored
from order_service.log.reading import BEFORE_ALL_STREAMS, heads, partition_of, read_streams
from order_service.settings import Settings
from projections.loop.rows import Skips, read_skips, without
from projections.read_models.generations import live
from projections.read_models.projection import Projection, Row, Rows, Target
from projections.read_models.registry import PROJECTIONS
from projections.replay import replay
from projections.replay.build import by_stream, create_patient_engine, next_streams
from projections.replay.comparison import Difference

_POSITION = text(
    "SELECT position FROM checkpoints WHERE name = :name AND generation = :generation "
    "AND partition = :partition"
)
_PARKED = text(
    "SELECT stream_id, last_version FROM dead_letters WHERE name = :name "
    "AND generation = :generation AND partition = :partition"
)
AFTER_ALL_STREAMS = UUID(int=2**128 - 1)
CACHE = "cache"
CachedEntry = tuple[UUID, CachedOrder]


@dataclass(slots=True)
class Findings:
    """`rows`: compared; `wrong`: how many differ; `differences`: the first of them, log / found."""

    rows: int = 0
    wrong: int = 0
    differences: list[Difference] = field(default_factory=list)
    parked: list[UUID] = field(default_factory=list)

    def add(self, difference: Difference) -> None:
        self.wrong += 1
        if len(self.differences) < limits.DIFFERENCES_SHOWN:
            self.differences.append(difference)

    @property
    def agree(self) -> bool:
        return not (self.wrong or self.parked)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A partition of a read model at one moment; the rows are those of streams up to `last`."""

    target: Target
    position: int
    parked: dict[UUID, int]  # stream to last applied version
    skips: Skips
    rows: Rows
    last: UUID


# --- read models ----------------------------------------------------------------------------------


async def verify_partition(
    engine: AsyncEngine, projection: Projection, partition: int, partitions: int
) -> Findings:
    findings = Findings()
    after = BEFORE_ALL_STREAMS
    while after != AFTER_ALL_STREAMS:
        snapshot = await _take_snapshot(engine, projection, partition, partitions, after)
        expected = await _fold(engine, snapshot, after, findings)
        _compare(projection, expected, snapshot.rows, findings)
        findings.parked += [s for s in snapshot.parked if after < s <= snapshot.last]
        after = snapshot.last
    return findings


async def _take_snapshot(
    engine: AsyncEngine, projection: Projection, partition: int, partitions: int, after: UUID
) -> Snapshot:
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="REPEATABLE READ")
        generation = (await live(connection, projection.name)).live_generation
        target = Target(projection, generation, partition, partitions)
        position = (await connection.execute(_POSITION, target.identity)).scalar_one()
        parked = (await connection.execute(_PARKED, target.identity)).all()
        skips = await read_skips(connection, partition)
        rows = await _read_rows(connection, target, after)
    full = projection.one_row_per_order and len(rows) == limits.VERIFY_RANGE_ROWS
    last = max(key[0] for key in rows) if full else AFTER_ALL_STREAMS
    return Snapshot(
        target, position, {p.stream_id: p.last_version for p in parked}, skips, rows, last
    )


async def _read_rows(connection: AsyncConnection, target: Target, after: UUID) -> Rows:
    parameters: dict[str, Any] = {"partition": target.partition}
    if target.projection.one_row_per_order:
        parameters |= {"after": after, "limit": limits.VERIFY_RANGE_ROWS}
    keys, restore = len(target.projection.key), target.projection.restore
    found = await connection.execute(_rows_statement(target), parameters)
    return {tuple(row[:keys]): restore(row[keys:]) for row in found}


def _rows_statement(target: Target) -> TextClause:
    projection = target.projection
    columns = ", ".join(projection.key + projection.values)
    sql = f"SELECT {columns} FROM {target.table} WHERE partition = :partition"  # noqa: S608
    if projection.one_row_per_order:
        sql += f" AND {projection.key[0]} > :after ORDER BY {projection.key[0]} LIMIT :limit"
    return text(sql)


async def _fold(engine: AsyncEngine, snapshot: Snapshot, after: UUID, findings: Findings) -> Rows:
    """The rows that the log up to the snapshot's position makes for the snapshot's streams."""
    target = snapshot.target
    expected: Rows = {}
    finished = False
    while not finished:
        async with engine.connect() as connection:
            streams, finished = await next_streams(
                connection, target.partition, after, snapshot.position, limits.REBUILD_RANGE_EVENTS
            )
        for stream in streams:
            after = stream[0].stream_id
            if after > snapshot.last:
                return expected
            _add_stream(snapshot, stream, expected, findings)
    return expected


def _add_stream(
    snapshot: Snapshot, stream: list[StoredEvent], expected: Rows, findings: Findings
) -> None:
    projection = snapshot.target.projection
    skipped = snapshot.skips.get((projection.name, stream[0].stream_id))
    kept = without(skipped, stream) if skipped else stream
    applied = snapshot.parked.get(stream[0].stream_id)
    if applied is not None:
        kept = [event for event in kept if event.version <= applied]
    try:
        folded = fold_stored(kept, snapshot.target.partitions, skipping=True)
    except UnreadableEvent as error:
        found = (f"{error.detail} Expected its stream to be parked.",)
        findings.add(Difference(projection.name, (stream[0].stream_id,), None, found))
        return
    if folded is not None:
        projection.merge(expected, projection.rows((None, folded)))


def _compare(projection: Projection, expected: Rows, found: Rows, findings: Findings) -> None:
    findings.rows += len(found)
    for key in expected.keys() | found.keys():
        if expected.get(key) != found.get(key):
            findings.add(Difference(projection.name, key, expected.get(key), found.get(key)))


def _verify_in_process(settings: Settings, name: str, partition: int, partitions: int) -> Findings:
    """A task of the process pool."""
    return asyncio.run(_verify(settings, name, partition, partitions))


async def _verify(settings: Settings, name: str, partition: int, partitions: int) -> Findings:
    engine = create_patient_engine(settings, "verify")
    try:
        return await verify_partition(engine, PROJECTIONS[name], partition, partitions)
    finally:
        await engine.dispose()


# --- the cache ------------------------------------------------------------------------------------


async def verify_cache(
    engine: AsyncEngine, cache: OrderCache, partitions: int, *, delete_wrong: bool = False
) -> Findings:
    """Compares every cached order with the fold of its stream at its version. Raises Unavailable.

    `delete_wrong`: entries that differ are deleted; the next read of such an order goes to
    PostgreSQL.
    """
    findings = Findings()
    async for entries in _in_batches(cache.entries()):
        wrong = await _verify_entries(engine, entries, partitions, findings)
        if delete_wrong and wrong:
            await cache.delete(wrong)
    return findings


async def _in_batches(entries: AsyncIterator[CachedEntry]) -> AsyncIterator[list[CachedEntry]]:
    batch = []
    async for entry in entries:
        batch.append(entry)
        if len(batch) == limits.VERIFY_CACHE_BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


async def _verify_entries(
    engine: AsyncEngine, entries: Sequence[CachedEntry], partitions: int, findings: Findings
) -> list[UUID]:
    """The orders whose entries differ. The log is read after the entries, so it contains every
    event that they include."""
    streams: dict[UUID, list[StoredEvent]] = {}
    async with engine.connect() as connection:
        for partition, head in (await heads(connection)).items():
            ids = [i for i, _ in entries if partition_of(i, partitions) == partition]
            events = await read_streams(connection, partition, ids, head) if ids else []
            streams |= {stream[0].stream_id: stream for stream in by_stream(events)}
    wrong = []
    for order_id, cached in entries:
        findings.rows += 1
        expected = _expected_entry(streams.get(order_id, []), cached.version, partitions)
        found = (cached.version, cached.owner, cached.document)
        if expected != found:
            findings.add(Difference(CACHE, (order_id,), expected, found))
            wrong.append(order_id)
    return wrong


def _expected_entry(stream: Sequence[StoredEvent], version: int, partitions: int) -> Row | None:
    try:
        folded = fold_stored((e for e in stream if e.version <= version), partitions)
    except UnreadableEvent as error:
        return (error.detail,)
    return (folded.version, folded.order.user_id, document(folded)) if folded else None


# --- the command ----------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--repair",
        action="store_true",
        help="rebuild read models and delete cached orders that differ, then verify again",
    )
    parser.add_argument(
        "--json", action="store_true", help="the result as JSON; other messages on standard error"
    )


async def run(args: argparse.Namespace, settings: Settings) -> int:
    """0: everything agrees; 1: something differs or is parked."""
    with redirect_stdout(sys.stderr) if args.json else nullcontext():
        findings = await _run(args.repair, settings)
    if args.json:
        print(json.dumps({name: _as_json(found) for name, found in findings.items()}))
    return 0 if all(f.agree for f in findings.values()) else 1


def _as_json(findings: Findings) -> dict[str, Any]:
    return {
        "agree": findings.agree,
        "rows": findings.rows,
        "differ": findings.wrong,
        "differences": [str(difference) for difference in findings.differences],
        "parked": [str(stream) for stream in findings.parked],
    }


async def _run(repair: bool, settings: Settings) -> dict[str, Findings]:
    async with _servers(settings) as (engine, cache, partitions):
        findings = await _verify_all(settings, engine, cache, partitions)
        if repair and any(f.wrong for f in findings.values()):
            await _rebuild([name for name in PROJECTIONS if findings[name].wrong], settings)
            await _verify_cache(engine, cache, partitions, delete_wrong=True)
            findings = await _verify_all(settings, engine, cache, partitions)
    return findings


@asynccontextmanager
async def _servers(settings: Settings) -> AsyncIterator[tuple[AsyncEngine, OrderCache, int]]:
    """An engine for the log, the cache with a long timeout, and the number of partitions."""
    engine = create_patient_engine(settings, "verify")
    redis = connect(settings, limits.DRIVER_TIMEOUT_S)
    try:
        async with engine.connect() as connection:
            partitions = len(await heads(connection))
        yield (
            engine,
            OrderCache(redis, settings.CACHE_TTL_SECONDS, str(await incarnation(engine))),
            partitions,
        )
    finally:
        await redis.aclose()
        await engine.dispose()


async def _verify_all(
    settings: Settings, engine: AsyncEngine, cache: OrderCache, partitions: int
) -> dict[str, Findings]:
    findings = await asyncio.to_thread(_verify_read_models, settings, partitions)
    findings[CACHE] = await _verify_cache(engine, cache, partitions)
    for name, found in findings.items():
        _report(name, found)
    return findings


async def _rebuild(names: list[str], settings: Settings) -> None:
    """Also where some events cannot be read: their streams are parked here as they are there."""
    if names:
        parser = argparse.ArgumentParser()
        replay.add_arguments(parser)
        await replay.run(parser.parse_args([*names, "--anyway"]), settings)


def _verify_read_models(settings: Settings, partitions: int) -> dict[str, Findings]:
    """One process a core; each verifies one partition of one read model at a time."""
    jobs = list(product(PROJECTIONS, range(partitions)))
    findings = {name: Findings() for name in PROJECTIONS}
    workers = min(os.cpu_count() or 1, len(jobs))
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, spawn) as pool:
        tasks = [pool.submit(_verify_in_process, settings, *job, partitions) for job in jobs]
        done = tqdm(zip(jobs, tasks, strict=True), total=len(jobs), unit=" parts", disable=None)
        for (name, _), task in done:
            part, whole = task.result(), findings[name]
            whole.rows += part.rows
            whole.wrong += part.wrong
            whole.differences += part.differences
            whole.parked += part.parked
    return findings


async def _verify_cache(
    engine: AsyncEngine, cache: OrderCache, partitions: int, *, delete_wrong: bool = False
) -> Findings:
    try:
        return await verify_cache(engine, cache, partitions, delete_wrong=delete_wrong)
    except Unavailable as error:
        findings = Findings()
        findings.add(Difference(CACHE, (), None, (error.detail,)))
        return findings


def _report(name: str, findings: Findings) -> None:
    for difference in findings.differences[: limits.DIFFERENCES_SHOWN]:
        print(f"differs (log / found): {difference}")
    for stream in findings.parked[: limits.DIFFERENCES_SHOWN]:
        print(f"parked: {name} {stream}")
    print(
        f"{name}: {findings.rows} rows, {findings.wrong} differ, "
        f"{len(findings.parked)} streams parked.",
        flush=True,
    )
