"""More than the service can do, and clients that hold on to connections: what is left for others.

Both on the mix of reads and orders placed. A round is one of the most that it can do, then one of
what is to be endured; at the end one more of the first kind: it must be as it was.
"""

from dataclasses import replace

from tests.support.servers.stack import say
from tests.tools.benchmarks.cases import CASES, OURS, Prepared, Wanted
from tests.tools.benchmarks.figures import Figure, paired
from tests.tools.benchmarks.rounds import Turn, spent
from tests.tools.benchmarks.slow import holding_on, kinds
from tests.tools.benchmarks.wrk import Load

OVERLOAD = 2.0  # times the most that it can do
OVERLOAD_CONNECTIONS = 1_024
OVERLOAD_S = 10.0  # at least, of a round
SLOW_CLIENTS = 500
SLOW_S = 45.0  # at least: longer than any of them is let be
LARGE = "/openapi.json"  # made once: what a reader costs is what waits for it


async def overload(prepared: Prepared, wanted: Wanted) -> list[Figure]:
    """Right answers a second while twice as much is asked, beside the most that it can do."""
    seconds = max(wanted.seconds, OVERLOAD_S)
    peaks, rounds, memory = list[Turn](), list[Turn](), [_memory_mb(prepared)]
    for number in range(1, wanted.rounds + 1):
        peaks.append(await _mixed(prepared, seconds))
        most = peaks[-1].answers.rate
        rounds.append(await _mixed(prepared, seconds, OVERLOAD * most, OVERLOAD_CONNECTIONS))
        memory.append(_memory_mb(prepared))
        served = rounds[-1].answers
        asked = (served.right + served.refused) / served.seconds
        say(
            f"  overload {number}/{wanted.rounds}: {most:,.0f}/s at most; of {asked:,.0f}/s "
            f"{served.rate:,.0f} are served; web has had {memory[-1]:.0f} MB"
        )
    after = await _mixed(prepared, seconds)
    endured = [turn.answers for turn in rounds]
    refused = sum(a.refused for a in endured) / sum(a.right + a.refused for a in endured)
    goodput = paired([a.rate for a in endured], [turn.answers.rate for turn in peaks])
    return [
        _figure("overload: at most", peaks),
        replace(
            _figure("overload: twice that", rounds),
            note=f"{refused:.0%} were answered 503; the longest answer took "
            f"{max(a.max_ms for a in endured):,.0f} ms; most memory of a web process, MB: "
            + ", ".join(f"{mb:.0f}" for mb in memory),
        ),
        Figure("overload: twice by most", "x", (goodput,)),
        _figure("overload: afterwards", [after]),
    ]


async def slow_clients(prepared: Prepared, wanted: Wanted) -> list[Figure]:
    """Right answers a second with 500 of them, beside those without."""
    service, alone, beside = prepared.service, list[Turn](), list[Turn]()
    slow = kinds(service.staff, LARGE)
    for number in range(1, wanted.rounds + 1):
        alone.append(await _mixed(prepared, wanted.seconds))
        async with holding_on(service.url_of(OURS), SLOW_CLIENTS, slow):
            beside.append(await _mixed(prepared, max(wanted.seconds, SLOW_S)))
        say(f"  slow-clients {number}/{wanted.rounds} {beside[-1].answers.rate:,.0f}/s")
    after = await _mixed(prepared, wanted.seconds)
    lives = ", ".join(f"{k.name} {k.longest_s:.0f} s ({k.cut_off})" for k in slow)
    return [
        _figure("slow-clients: none", alone),
        replace(
            _figure(f"slow-clients: {SLOW_CLIENTS}", beside),
            note=f"the longest that one was let be, and how many were cut off: {lives}",
        ),
        Figure(
            "slow-clients: with by without",
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
