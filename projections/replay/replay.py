"""replay: rebuilds read models beside the live ones, compares both, and swaps under traffic.

The command can be killed at any step and run again: the marks record the progress of the build, the
catalog and `read_models` record the other steps.
"""

import argparse
import json
import logging
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext, redirect_stdout, suppress
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service import limits
from order_service.infra import failpoints
from order_service.infra.postgres import FAILURES, PROJECTOR, check_role
from order_service.log.census import unreadable
from order_service.log.reading import heads
from order_service.settings import Settings
from projections.operators import requests as operator_requests
from projections.read_models import generations
from projections.read_models.generations import REPLAY_LOCK, Build
from projections.read_models.projection import Projection
from projections.read_models.registry import PROJECTIONS
from projections.replay import state
from projections.replay.build import create_patient_engine
from projections.replay.comparison import compare
from projections.replay.progress import ProcessFailed, build_all
from projections.replay.swap import Refused, roll_back, swap_in

logger = logging.getLogger(__name__)

_TRY_LOCK = text("SELECT pg_try_advisory_lock(:lock), pg_backend_pid()")
_PARKED = text("SELECT count(*) FROM dead_letters WHERE name = :name AND generation = :generation")


class AnotherReplayRuns(Refused):
    """Only one replay runs at a time."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(PROJECTIONS)}")
    parser.add_argument("--all", action="store_true", help="every read model")
    parser.add_argument(
        "--workers",
        type=_positive,
        help="number of processes; default: one a core, at most one a partition",
    )
    parser.add_argument(
        "--check", action="store_true", help="compare only, no swap; exit code 1 if any row differs"
    )
    parser.add_argument(
        "--anyway",
        action="store_true",
        help="also if this code cannot read some events: their streams are parked",
    )
    parser.add_argument("--rollback", metavar="NAME", help="swap the previous generation back in")
    parser.add_argument(
        "--json",
        action="store_true",
        help="the live generations as JSON; other messages on standard error",
    )
    # The operators' requests that this replay fulfils; workers pass them (`operators.work`).
    parser.add_argument("--request", action="append", type=UUID, default=[], help=argparse.SUPPRESS)


def _positive(value: str) -> int:
    number = int(value)
    if number < 1:
        raise argparse.ArgumentTypeError("expected 1 or more")
    return number


async def run(args: argparse.Namespace, settings: Settings) -> int:
    """0: done; 1: `--check` found differences, or a process failed; 2: refused."""
    engine = create_patient_engine(settings, "replay", limits.POOL_SIZE)
    try:
        await check_role(engine, PROJECTOR)
        async with _recording_outcome(engine, args.request), _replay_lock(engine) as session:
            with redirect_stdout(sys.stderr) if args.json else nullcontext():
                code = await _run(args, engine, settings, session)
            if args.json:
                print(json.dumps(await generations.all_live(engine, PROJECTIONS)))
            return code
    except Refused as error:
        if not args.request:  # with requests the text is their outcome, and the output is discarded
            print(error, file=sys.stderr)
        return 2
    except ProcessFailed:
        print("A replay process failed (see above). Run the same command again: it resumes.")
        return 1
    finally:
        await engine.dispose()


async def _run(
    args: argparse.Namespace, engine: AsyncEngine, settings: Settings, session: int
) -> int:
    if args.rollback:
        return await roll_back(engine, _projection(args.rollback))
    projections = _chosen(args)
    refused = None if args.anyway else await unreadable(settings, PROJECTOR, "replay")
    if refused:
        raise Refused(refused)
    return await _replay(engine, settings, projections, args.workers, args.check, session)


def _chosen(args: argparse.Namespace) -> list[Projection]:
    if args.all == bool(args.names):
        raise Refused(f"Expected either --all or names, any of {', '.join(PROJECTIONS)}.")
    names = PROJECTIONS if args.all else dict.fromkeys(args.names)
    return [_projection(name) for name in names]


def _projection(name: str) -> Projection:
    if name not in PROJECTIONS:
        raise Refused(f"Unknown read model {name}: expected any of {', '.join(PROJECTIONS)}.")
    return PROJECTIONS[name]


@asynccontextmanager
async def _recording_outcome(engine: AsyncEngine, requests: Sequence[UUID]) -> AsyncIterator[None]:
    """The outcome of the block is recorded as the outcome of these requests."""
    outcome: operator_requests.Outcome = "failed"
    detail = None
    try:
        yield
        outcome = "done"
    except Refused as error:
        outcome = "replay-running" if isinstance(error, AnotherReplayRuns) else "refused"
        detail = str(error)
        raise
    except BaseException as error:
        detail = _failure_text(error)
        raise
    finally:
        if requests:
            with suppress(*FAILURES):  # the requests then time out without an outcome
                await operator_requests.finish(engine, requests, outcome, detail)


def _failure_text(error: BaseException) -> str:
    if isinstance(error, ProcessFailed):
        return (
            "A replay process failed: see the worker's log. Request the rebuild again: it resumes."
        )
    return f"{type(error).__name__}: {error}"[: limits.REPLAY_MESSAGE_LENGTH_MAX]


@asynccontextmanager
async def _replay_lock(engine: AsyncEngine) -> AsyncIterator[int]:
    """Yields the process id of the session that holds the lock of replays. The lock ends with its
    session; correctness does not depend on it. Raises AnotherReplayRuns."""
    async with engine.connect() as pooled:
        connection = await pooled.execution_options(isolation_level="AUTOCOMMIT")
        locked, session = (await connection.execute(_TRY_LOCK, {"lock": REPLAY_LOCK})).one()
        if not locked:
            raise AnotherReplayRuns("Another replay is running: wait until it has ended.")
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
        with suppress(*FAILURES):  # the end of the session then marks the replay as failed
            await state.move(engine, names, "failed", _failure_text(error))
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
        action = "resuming" if build.resumed else "building"
        print(f"{build.projection.name}: {action} generation {build.generation}.", flush=True)
    await build_all(engine, settings, builds, partitions, workers)
    equal = True
    for build in builds:
        equal &= await _finish(engine, build, partitions, check)
    return 1 if check and not equal else 0


async def _finish(engine: AsyncEngine, build: Build, partitions: int, check: bool) -> bool:
    """The build is indexed, compared, and swapped in or (`check`) dropped. True if no row
    differs."""
    name = build.projection.name
    await generations.index(engine, build)
    await state.move(engine, [name], "comparing")
    equal, summary = await _compare(engine, build, partitions)
    if check:
        async with engine.begin() as connection:
            await generations.discard_build(connection, name)
    else:
        await generations.attach(engine, build)
        await failpoints.reach("replay-built")
        await swap_in(engine, build.projection, build.generation, partitions)
        summary = f"Generation {build.generation} is live. {summary}"
        print(f"{name}: generation {build.generation} is live.", flush=True)
    await generations.drop_unused(engine, name)
    await state.move(engine, [name], "done", summary)
    return equal


async def _compare(engine: AsyncEngine, build: Build, partitions: int) -> tuple[bool, str]:
    """Whether all rows are equal, and a summary."""
    name = build.projection.name
    comparison = await compare(engine, build, partitions)
    for reason in comparison.uncompared:
        print(f"not compared: {reason}")
    for difference in comparison.sample:
        print(f"differs (live / rebuilt): {difference}")
    async with engine.connect() as connection:
        key = {"name": name, "generation": build.generation}
        parked = (await connection.execute(_PARKED, key)).scalar_one()
    summary = f"{comparison.rows} rows differ, {parked} streams parked."
    print(f"{name}: {summary}", flush=True)
    return comparison.equal, summary
