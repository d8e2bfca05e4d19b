"""Measures what remains for other clients under overload, and beside slow clients.

Both use the mix of reads and placed orders. A round measures the peak rate, then the rate under the
disturbance. One more peak is measured at the end: it must be as before.
"""

from dataclasses import replace

from tests.support.servers.stack import say
from tests.tools.benchmarks.cases import CASES, OURS, Options, Prepared
from tests.tools.benchmarks.figures import Figure, paired
from tests.tools.benchmarks.rounds import Turn, spent
from tests.tools.benchmarks.slow import kinds, slow_connections
from tests.tools.benchmarks.wrk import Load

OVERLOAD = 2.0  # times the peak rate
OVERLOAD_CONNECTIONS = 1_024
OVERLOAD_S = 10.0  # of a round, at least
SLOW_CLIENTS = 500
SLOW_S = 45.0  # at least: longer than the service keeps any of them
LARGE = "/openapi.json"  # made once, so a slow reader costs only the bytes that wait for it


async def overload(prepared: Prepared, options: Options) -> list[Figure]:
    """Right answers a second under twice the peak rate, compared with the peak."""
    seconds = max(options.seconds, OVERLOAD_S)
    peaks, rounds, memory = list[Turn](), list[Turn](), [_memory_mb(prepared)]
    for number in range(1, options.rounds + 1):
        peaks.append(await _mixed(prepared, seconds))
        most = peaks[-1].answers.rate
        rounds.append(await _mixed(prepared, seconds, OVERLOAD * most, OVERLOAD_CONNECTIONS))
        memory.append(_memory_mb(prepared))
        served = rounds[-1].answers
        requested = (served.right + served.refused) / served.seconds
        say(
            f"  overload {number}/{options.rounds}: peak {most:,.0f}/s; of {requested:,.0f}/s "
            f"{served.rate:,.0f} are served; web's peak memory {memory[-1]:.0f} MB"
        )
    after = await _mixed(prepared, seconds)
    overloaded = [turn.answers for turn in rounds]
    refused = sum(a.refused for a in overloaded) / sum(a.right + a.refused for a in overloaded)
    goodput = paired([a.rate for a in overloaded], [turn.answers.rate for turn in peaks])
    return [
        _figure("overload: peak", peaks),
        replace(
            _figure("overload: twice the peak", rounds),
            note=f"{refused:.0%} were answered 503; the longest answer took "
            f"{max(a.max_ms for a in overloaded):,.0f} ms; peak memory of a web process, MB: "
            + ", ".join(f"{mb:.0f}" for mb in memory),
        ),
        Figure("overload: twice / peak", "x", (goodput,)),
        _figure("overload: afterwards", [after]),
    ]


async def slow_clients(prepared: Prepared, options: Options) -> list[Figure]:
    """Right answers a second with SLOW_CLIENTS slow clients, compared with none."""
    service, alone, beside = prepared.service, list[Turn](), list[Turn]()
    slow = kinds(service.staff, LARGE)
    for number in range(1, options.rounds + 1):
        alone.append(await _mixed(prepared, options.seconds))
        async with slow_connections(service.url_of(OURS), SLOW_CLIENTS, slow):
            beside.append(await _mixed(prepared, max(options.seconds, SLOW_S)))
        say(f"  slow-clients {number}/{options.rounds} {beside[-1].answers.rate:,.0f}/s")
    after = await _mixed(prepared, options.seconds)
    lives = ", ".join(f"{k.name} {k.longest_s:.0f} s ({k.disconnected})" for k in slow)
    return [
        _figure("slow-clients: none", alone),
        replace(
            _figure(f"slow-clients: {SLOW_CLIENTS}", beside),
            note=f"longest connection, and number of disconnected clients: {lives}",
        ),
        Figure(
            "slow-clients: with / without",
            "x",
            (paired([b.answers.rate for b in beside], [a.answers.rate for a in alone]),),
        ),
        _figure("slow-clients: afterwards", [after]),
    ]


async def _mixed(
    prepared: Prepared, seconds: float, rate: float | None = None, connections: int | None = None
) -> Turn:
    service = prepared.service
    load: Load = await CASES["mix"].make(prepared, OURS)
    if connections is not None:
        load = replace(load, rate=rate, connections=connections)
    before = service.usage()
    answers = await service.wrk.run(service.url_of(OURS), load, seconds)
    await service.drain()
    return Turn(answers, spent(before, service.usage(), OURS))


def _memory_mb(prepared: Prepared) -> float:
    return max(prepared.service.usage().peaks_mb["web"])


def _figure(name: str, turns: list[Turn]) -> Figure:
    return Figure(
        *(name, "requests/s", tuple(turn.answers.rate for turn in turns)),
        p50_ms=tuple(turn.answers.p50_ms for turn in turns),
        p99_ms=tuple(turn.answers.p99_ms for turn in turns),
        cpu_s_per_1000=tuple(turn.cpu_s_per_1000 for turn in turns),
    )
