"""replay: read models rebuilt beside the live ones, compared, and swapped in under traffic.

Every step can be killed and the command run again: marks say how far the build is, the catalog and
`read_models` the rest.
"""

import argparse
import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext, redirect_stdout, suppress
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from tqdm import tqdm

from order_service import limits
from order_service.infra import failpoints
from order_service.infra.postgres import FAILURES, PROJECTOR, check_role, create_engine
from order_service.log.reading import heads
from order_service.settings import Settings
from projections.loop.advance import catch_up, lock_live, move
from projections.loop.step import step
from projections.operators import requests as operator_requests
from projections.read_models import generations
from projections.read_models.generations import REPLAY_LOCK, Build
from projections.read_models.projection import Projection, Target
from projections.read_models.registry import PROJECTIONS
from projections.replay import state
from projections.replay.build import work
from projections.replay.comparison import compare
from projections.replay.processes import PROCESSES

logger = logging.getLogger(__name__)

_TRY_LOCK = text("SELECT pg_try_advisory_lock(:lock), pg_backend_pid()")
_PROGRESS = text(
    "SELECT coalesce(sum(events), 0)::bigint AS done, coalesce(sum(up_to), 0)::bigint AS total, "
    "coalesce(bool_and(finished), true) AS finished FROM rebuild_marks WHERE name = ANY (:names)"
)
_POSITION = text(
    "SELECT position FROM checkpoints WHERE name = :name AND generation = :generation "
    "AND partition = :partition FOR UPDATE"
)
_PARKED = text("SELECT count(*) FROM dead_letters WHERE name = :name AND generation = :generation")


class Refused(Exception):
    """The command cannot be carried out as asked; its text says why and what to do."""


class AnotherRuns(Refused):
    """Replays go one at a time."""


class ProcessFailed(Exception):
    """One of the processes that build has ended too early."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(PROJECTIONS)}")
    parser.add_argument("--all", action="store_true", help="every read model")
    parser.add_argument(
        "--workers", type=_positive, help="processes; default: one a core, at most one a partition"
    )
    parser.add_argument(
        "--check", action="store_true", help="compare only: no swap; exit code 1 on any difference"
    )
    parser.add_argument(
        "--rollback", metavar="NAME", help="back to the generation before the last replay"
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="what is live then, for programs; the rest on standard error",
    )
    # Whose requests this carries out; workers say so (`tasks.serve_operators`).
    parser.add_argument("--request", action="append", type=UUID, default=[], help=argparse.SUPPRESS)


def _positive(value: str) -> int:
    number = int(value)
    if number < 1:
        raise argparse.ArgumentTypeError("expected 1 or more")
    return number


async def run(args: argparse.Namespace, settings: Settings) -> int:
    """0 done; 1 `--check` found differences or a process failed; 2 refused."""
    engine = create_engine(
        settings,
        PROJECTOR,
        application_name="replay",
        statement_timeout_ms=limits.REPLAY_STATEMENT_TIMEOUT_MS,
    )
    try:
        await check_role(engine, PROJECTOR)
        async with _answering(engine, args.request), _alone(engine) as session:
            with redirect_stdout(sys.stderr) if args.json else nullcontext():
                code = await _run(args, engine, settings, session)
            if args.json:
                print(json.dumps(await generations.all_live(engine, PROJECTIONS)))
            return code
    except Refused as error:
        if not args.request:  # else who asked for it is told, and nobody reads what is printed
            print(error, file=sys.stderr)
        return 2
    except ProcessFailed:
        print("A process failed (see above). Run the same command again: it goes on.")
        return 1
    finally:
        await engine.dispose()


async def _run(
    args: argparse.Namespace, engine: AsyncEngine, settings: Settings, session: int
) -> int:
    if args.rollback:
        return await _roll_back(engine, _projection(args.rollback))
    return await _replay(engine, settings, _chosen(args), args.workers, args.check, session)


def _chosen(args: argparse.Namespace) -> list[Projection]:
    if args.all == bool(args.names):
        raise Refused(f"Say which read models: --all, or any of {', '.join(PROJECTIONS)}.")
    names = PROJECTIONS if args.all else dict.fromkeys(args.names)
    return [_projection(name) for name in names]


def _projection(name: str) -> Projection:
    if name not in PROJECTIONS:
        raise Refused(f"No read model {name}: expected any of {', '.join(PROJECTIONS)}.")
    return PROJECTIONS[name]


@asynccontextmanager
async def _answering(engine: AsyncEngine, requests: Sequence[UUID]) -> AsyncIterator[None]:
    """Those who asked for what is done inside the block are told what became of it."""
    outcome: operator_requests.Outcome = "failed"
    detail = None
    try:
        yield
        outcome = "done"
    except Refused as error:
        outcome = "replay-running" if isinstance(error, AnotherRuns) else "refused"
        detail = str(error)
        raise
    except BaseException as error:
        detail = _said(error)
        raise
    finally:
        if requests:
            with suppress(*FAILURES):  # then they wait in vain, and say so
                await operator_requests.finish(engine, requests, outcome, detail)


def _said(error: BaseException) -> str:
    if isinstance(error, ProcessFailed):
        return "A process of the replay failed: its log says why. Ask again: it goes on."
    return f"{type(error).__name__}: {error}"[: limits.REPLAY_MESSAGE_LENGTH_MAX]


@asynccontextmanager
async def _alone(engine: AsyncEngine) -> AsyncIterator[int]:
    """One replay at a time; gives the process id of the session that sees to that. The lock lives
    and dies with its session; what must not be done twice does not rest on it."""
    async with engine.connect() as pooled:
        connection = await pooled.execution_options(isolation_level="AUTOCOMMIT")
        locked, session = (await connection.execute(_TRY_LOCK, {"lock": REPLAY_LOCK})).one()
        if not locked:
            raise AnotherRuns("Another replay is running: wait until it has ended.")
        try:
            yield session
        finally:
            await pooled.invalidate()  # ends the session, and with it the lock


# --- rebuild --------------------------------------------------------------------------------------


async def _replay(
    engine: AsyncEngine,
    settings: Settings,
    projections: Sequence[Projection],
    workers: int | None,
    check: bool,
    session: int,
) -> int:
    names = [projection.name for projection in projections]
    async with engine.begin() as connection:
        partitions = len(await heads(connection))
        builds = await generations.begin(connection, projections)
        await state.begin(connection, names, session)
    try:
        return await _build_and_finish(engine, settings, builds, partitions, workers, check)
    except BaseException as error:
        with suppress(*FAILURES):  # then it is known by the session's end
            await state.move(engine, names, "failed", _said(error))
        raise


async def _build_and_finish(
    engine: AsyncEngine,
    settings: Settings,
    builds: Sequence[Build],
    partitions: int,
    workers: int | None,
    check: bool,
) -> int:
    for build in builds:
        await generations.drop_unused(engine, build.projection.name)
        how = "goes on" if build.resumed else "begins"
        print(f"{build.projection.name}: generation {build.generation} {how}.", flush=True)
    await _build(engine, settings, builds, partitions, workers)
    equal = True
    for build in builds:
        equal &= await _finish(engine, build, partitions, check)
    return 1 if check and not equal else 0


async def _finish(engine: AsyncEngine, build: Build, partitions: int, check: bool) -> bool:
    """Indexed, compared, and swapped in or (`check`) dropped; True if nothing differs."""
    name = build.projection.name
    await generations.index(engine, build)
    await state.move(engine, [name], "comparing")
    equal, said = await _compare(engine, build, partitions)
    if check:
        async with engine.begin() as connection:
            await generations.give_up(connection, name)
    else:
        await generations.attach(engine, build)
        await failpoints.reach("replay-built")
        await _swap_in(engine, build.projection, build.generation, partitions)
        said = f"Generation {build.generation} is live. {said}"
        print(f"{name}: generation {build.generation} is live.", flush=True)
    await generations.drop_unused(engine, name)
    await state.move(engine, [name], "done", said)
    return equal


async def _compare(engine: AsyncEngine, build: Build, partitions: int) -> tuple[bool, str]:
    """Whether nothing differs, and what there is to say of it."""
    name = build.projection.name
    comparison = await compare(engine, build, partitions)
    for reason in comparison.uncompared:
        print(f"not compared: {reason}")
    for difference in comparison.sample:
        print(f"differs (live / rebuilt): {difference}")
    async with engine.connect() as connection:
        key = {"name": name, "generation": build.generation}
        parked = (await connection.execute(_PARKED, key)).scalar_one()
    said = f"{comparison.rows} rows differ, {parked} streams parked."
    print(f"{name}: {said}", flush=True)
    return comparison.equal, said


# --- the processes --------------------------------------------------------------------------------


async def _build(
    engine: AsyncEngine,
    settings: Settings,
    builds: Sequence[Build],
    partitions: int,
    workers: int | None,
) -> None:
    """Every partition is folded into every build up to its fixed position. Raises ProcessFailed."""
    names = [build.projection.name for build in builds]
    count = min(workers or os.cpu_count() or 1, partitions)
    shares = [range(i, partitions, count) for i in range(count)]
    processes = [
        PROCESSES.Process(target=work, args=(settings, names, share), daemon=True)
        for share in shares
    ]
    for process in processes:
        process.start()
    try:
        await _show_progress(engine, names, processes)
    finally:
        for process in processes:
            process.terminate()  # of no effect on those that are done
            process.join()
    async with engine.connect() as connection:
        finished = (await connection.execute(_PROGRESS, {"names": names})).one().finished
    if not finished:
        raise ProcessFailed


async def _show_progress(
    engine: AsyncEngine, names: Sequence[str], processes: Sequence[BaseProcess]
) -> None:
    """Until all processes have ended, one of them badly or all of them well."""
    bar = None
    while True:
        failed = any(process.exitcode not in (None, 0) for process in processes)
        ended = failed or all(process.exitcode == 0 for process in processes)
        async with engine.connect() as connection:
            row = (await connection.execute(_PROGRESS, {"names": list(names)})).one()
        done, total = row.done // len(names), row.total // len(names)
        if bar is None:
            bar = Progress(total, done)
        bar.show(done, last=ended)
        if ended:
            return
        # Woken by the end of a process: a whole interval is a twentieth of a short replay.
        going = [process.sentinel for process in processes if process.exitcode is None]
        await asyncio.to_thread(wait, going, limits.PROGRESS_INTERVAL_S)


class Progress:
    """Events, rate and time left: a bar on a terminal, else a plain line every few seconds."""

    def __init__(self, total: int, done: int) -> None:
        self._began, self._began_at = time.monotonic(), done
        self._total = total
        self._shown = float("-inf")
        self._bar = None
        if sys.stderr.isatty():
            self._bar = tqdm(total=total, initial=done, unit=" events", unit_scale=True)

    def show(self, done: int, last: bool) -> None:
        if self._bar is not None:
            self._bar.update(done - self._bar.n)
            if last:
                self._bar.close()
            return
        now = time.monotonic()
        if last or now - self._shown >= limits.PROGRESS_LINE_S:
            self._shown = now
            rate = (done - self._began_at) / max(now - self._began, 0.001)
            left = f", {(self._total - done) / rate:.0f} s left" if rate and not last else ""
            print(f"{done:,} of {self._total:,} events, {rate:,.0f} events/s{left}", flush=True)


# --- swap -----------------------------------------------------------------------------------------


async def _swap_in(
    engine: AsyncEngine, projection: Projection, generation: int, partitions: int
) -> None:
    """`generation` is live. It never shows less than the live one has shown: the last delta is
    applied while the live checkpoints stand still."""
    targets = [Target(projection, generation, n, partitions) for n in range(partitions)]
    for attempt in range(1, limits.SWAP_ATTEMPTS_MAX + 1):
        async with engine.connect() as connection:
            goals = await heads(connection)
        for target in targets:
            await catch_up(engine, target, goals[target.partition])
        try:
            async with engine.begin() as connection:
                if await _swap(connection, targets):
                    return
                await connection.rollback()
        except DBAPIError as error:  # a lock that came too late, or data that catch_up will park
            if attempt == limits.SWAP_ATTEMPTS_MAX or error.connection_invalidated:
                raise
            logger.warning("The swap of %s has to be tried again: %s", projection.name, error.orig)
    raise Refused(f"{projection.name} changes faster than it can be swapped: try again later.")


async def _swap(connection: AsyncConnection, targets: Sequence[Target]) -> bool:
    """False: too much to apply while the live generation waits; catch up first."""
    held = [await lock_live(connection, t.projection, t.partition) for t in targets]
    for live, target in zip(held, targets, strict=True):
        position = (await connection.execute(_POSITION, target.identity)).scalar_one()
        if live.position - position > limits.SWAP_DELTA_EVENTS_MAX:
            return False
        if live.position > position:
            await step(connection, target, position, live.position)
            await move(connection, target, live.position)
    projection, generation = targets[0].projection, targets[0].generation
    old = held[0].target.generation
    if not await generations.swap(connection, projection, old, generation):
        raise Refused(f"Another replay has swapped {projection.name} meanwhile.")
    return True


async def _roll_back(engine: AsyncEngine, projection: Projection) -> int:
    name = projection.name
    async with engine.connect() as connection:
        live = await generations.live(connection, name)
        partitions = len(await heads(connection))
    if live.previous_generation is None:
        raise Refused(f"{name} has no generation to go back to.")
    if live.previous_version != projection.version:
        raise Refused(
            f"Generation {live.previous_generation} of {name} was built by version "
            f"{live.previous_version} of its code, this is version {projection.version}: "
            "start the code of that version, then roll back."
        )
    await _swap_in(engine, projection, live.previous_generation, partitions)
    print(f"{name}: back to generation {live.previous_generation}.")
    return 0
