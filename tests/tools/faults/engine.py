"""One run of a row: load, fault, heal, recovery, and then every promise."""

import asyncio
import random
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from order_service.cache.entries import Slots
from order_service.cache.order_cache import OrderCache
from order_service.infra.postgres import PROJECTOR, create_engine, incarnation, read_incarnation
from order_service.infra.redis import connect
from order_service.log.codec import StoredEvent
from order_service.settings import Settings
from projections.read_models.registry import PROJECTIONS
from projections.replay.verify import Findings, verify_cache, verify_partition
from tests.tools.faults import check
from tests.tools.faults.bench import Bench
from tests.tools.faults.journal import Attempt
from tests.tools.faults.loads import LOADS
from tests.tools.faults.quiet import NotQuiet, until_quiet
from tests.tools.faults.rows import Row, inject
from tests.tools.faults.shopper import REQUEST_TIMEOUT_S, StaleRead

WARM_COMMANDS = 20  # acknowledged before the fault
RECOVERED_COMMANDS = 20  # acknowledged after it, by the same processes and clients
PROGRESS_LIMIT_S = 90.0
LOOK_S = 0.05
VERIFY_LIMIT_S = 300.0
LISTED_MAX = 5  # findings of one kind; the rest is counted
_EVENTS = """
SELECT partition, position, stream_id, version, event_id, type, schema_version, data::text,
       metadata::text, recorded_at FROM events ORDER BY partition, position
"""
_WRITERS = """
SELECT role FROM unnest(ARRAY['order_web', 'order_projector']) AS role
WHERE has_table_privilege(role, 'events', 'UPDATE, DELETE, TRUNCATE')
"""


@dataclass
class Result:
    """The result of all runs of one row. `recovery_s`: the longest time from heal to quiet."""

    row: str
    title: str
    runs: int = 0
    acknowledged: int = 0
    unknown: int = 0
    lost: int = 0
    doubled: int = 0
    stale: int = 0
    recovery_s: float = 0.0
    broken: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Engine:
    """Runs rows on one bench, one after another. `steady_s`: how long the bench must stay quiet."""

    def __init__(self, bench: Bench, seed: int, steady_s: float) -> None:
        self.bench = bench
        self._seed = seed
        self._steady_s = steady_s
        self._before: check.Digests = {}

    async def run(self, row: Row, result: Result) -> None:
        """Adds one run of the row to `result`."""
        bench, journal = self.bench, self.bench.journal
        bench.rng = random.Random(f"{self._seed} {row.name} {result.runs}")
        began, stale, wrong = len(journal.attempts), len(bench.shop.stale), len(bench.shop.wrong)
        result.runs += 1
        healed_s = await self._inject_under_load(row, result)
        try:
            await until_quiet(bench, self._steady_s)
            result.recovery_s = max(result.recovery_s, time.monotonic() - healed_s - self._steady_s)
            await bench.shop.settle()
            await until_quiet(bench, self._steady_s)
        except NotQuiet as error:
            result.broken.append(str(error))
            return
        attempts = journal.attempts[began:]
        result.acknowledged += _acknowledged(attempts)
        result.unknown += sum(a.outcome == "unknown" for a in attempts)
        result.stale += len(bench.shop.stale) - stale
        result.broken += _first(bench.shop.wrong[wrong:])
        result.broken += self._client_findings(row, attempts, bench.shop.stale[stale:])
        await self._check(row, result)

    async def _inject_under_load(self, row: Row, result: Result) -> float:
        """Injects the row's fault and heals it; then waits until commands are acknowledged again.
        Returns the time of the heal, in monotonic seconds.
        """
        shop = self.bench.shop
        load = shop.load = LOADS[row.load]
        shop.open()
        healed_s = time.monotonic()
        try:
            await self._acknowledged(WARM_COMMANDS)
            await self.bench.add_events(load.backlog)
            if load.pauses:
                await shop.close()
            await inject(self.bench, row)
            healed_s = time.monotonic()
            if load.pauses:
                shop.open()
            await self._acknowledged(RECOVERED_COMMANDS)
        # All exceptions on purpose: each error of a row is a finding.
        except Exception as error:
            result.broken.append("".join(traceback.format_exception(error)))
        finally:
            await self.bench.shop.close()
        return healed_s

    async def _acknowledged(self, commands: int) -> None:
        """Waits for `commands` acknowledged commands that begin from now on. Raises NotQuiet."""
        journal = self.bench.journal
        began = len(journal.attempts)
        try:
            async with asyncio.timeout(PROGRESS_LIMIT_S):
                while _acknowledged(journal.attempts[began:]) < commands:
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            found = _acknowledged(journal.attempts[began:])
            raise NotQuiet(
                f"O3: {found} commands acknowledged in {PROGRESS_LIMIT_S:.0f} s"
            ) from None

    def _client_findings(
        self, row: Row, attempts: Sequence[Attempt], stale: Sequence[StaleRead]
    ) -> list[str]:
        """C6 and O1, from the answers that customers got."""
        old = [
            f"C6: order {read.order_id}: version {read.shown} after {read.seen} was seen"
            for read in stale
            if not any(a <= read.began_s <= b for a, b in self.bench.stale_times)
        ]
        found = _first(old)
        silent = sum(a.seconds >= REQUEST_TIMEOUT_S and not a.status for a in attempts)
        if silent and not row.silence:
            found.append(f"O1: {silent} requests had no answer within {REQUEST_TIMEOUT_S:.0f} s")
        return found

    async def _check(self, row: Row, result: Result) -> None:
        bench = self.bench
        events = [StoredEvent(*record) for record in await bench.sql(_EVENTS)]
        partitions = len(await bench.sql("SELECT FROM partitions"))
        found = check.findings(
            check.Evidence(
                bench.journal.commands(), events, partitions, bench.strangers, self._before,
                bench.tap, bench.tail, await self._ttls(), await self._differences(partitions),
                [record["role"] for record in await bench.sql(_WRITERS)], row.publishes_fail,
            )
        )  # fmt: skip
        self._before = check.digests(events)
        bench.tap.disorder.clear()
        bench.tail.wrong.clear()
        bench.tap.blind = False
        result.lost += len(found.get("W1", ()))
        result.doubled += len(found.get("W2, W4", ()))
        for name, lines in found.items():
            result.broken += [f"{name}: {line}" for line in _first(lines)]

    async def _ttls(self) -> dict[str, float]:
        redis = self.bench.redis_client
        async with self.bench.session() as session:
            slots = Slots(str(await read_incarnation(session)))
        keys = [key async for key in redis.scan_iter(match=slots.of_orders + b"*", count=1_000)]
        # A key that has expired meanwhile (-2) is no finding.
        ttls = [await redis.pttl(key) for key in keys]
        return {key.decode(): ttl / 1000 for key, ttl in zip(keys, ttls, strict=True) if ttl != -2}

    async def _differences(self, partitions: int) -> list[str]:
        """The differences that `verify` finds. It runs in this process, since starting another
        takes longer than the comparison.
        """
        settings = Settings.model_validate(self.bench.settings)
        engine, redis = (
            create_engine(settings, PROJECTOR, application_name="faults"),
            connect(settings),
        )
        try:
            async with asyncio.timeout(VERIFY_LIMIT_S):
                found = {
                    f"{name}, partition {n}": await verify_partition(
                        engine, projection, n, partitions
                    )
                    for name, projection in PROJECTIONS.items()
                    for n in range(partitions)
                }
                log_now = str(await incarnation(engine))
                cache = OrderCache(redis, settings.CACHE_TTL_SECONDS, log_now)
                found["cache"] = await verify_cache(engine, cache, partitions)
        finally:
            await redis.aclose()
            await engine.dispose()
        return [line for name, f in found.items() if not f.agree for line in _lines(name, f)]


def _first(lines: Sequence[str]) -> list[str]:
    """The first LISTED_MAX lines, and the number of the others."""
    rest = len(lines) - LISTED_MAX
    return [*lines[:LISTED_MAX], *([f"and {rest} more"] if rest > 0 else [])]


def _acknowledged(attempts: Sequence[Attempt]) -> int:
    return sum(a.outcome == "ok" and a.key is not None for a in attempts)


def _lines(name: str, findings: Findings) -> list[str]:
    return [
        f"{name}: {findings.wrong} rows differ, {len(findings.parked)} streams are parked",
        *map(str, findings.differences),
    ]
