"""Measures cases in rounds: each contender has one turn a round, after the pipeline has drained."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from tests.support.servers.stack import say
from tests.tools.benchmarks.cases import CONTENDERS, OURS, Case, Prepared
from tests.tools.benchmarks.figures import Figure, paired
from tests.tools.benchmarks.processes import Usage
from tests.tools.benchmarks.wrk import Answers, WrongAnswers

WARM_UP_S = 1.0
LOG_SHOWN = 5_000  # characters of web's log, printed after a wrong answer
THIN_SERVERS = ("thin", "postgres", "redis")  # whose CPU time counts as the thin service's


@dataclass(frozen=True)
class Turn:
    """One contender in one round. `cpu_s`: by role, until the pipeline has drained."""

    answers: Answers
    cpu_s: Mapping[str, float]

    @property
    def cpu_s_per_1000(self) -> float:
        return sum(self.cpu_s.values()) / self.answers.right * 1000


async def measure(case: Case, prepared: Prepared, rounds: int) -> list[Figure]:
    """A figure for each contender; the service's figure has its ratios to the others."""
    turns: dict[str, list[Turn]] = defaultdict(list)
    for contender in CONTENDERS:
        await _turn(case, prepared, contender, WARM_UP_S)
    for number in range(1, rounds + 1):
        for contender in CONTENDERS:
            turn = await _turn(case, prepared, contender, prepared.seconds)
            turns[contender].append(turn)
            say(f"  {case.name} {number}/{rounds} {contender:<4} {turn.answers.rate:10,.0f}/s")
    return [_figure(case, contender, turns) for contender in CONTENDERS]


async def _turn(case: Case, prepared: Prepared, contender: str, seconds: float) -> Turn:
    service = prepared.service
    load = await case.make(prepared, contender)
    await service.drain()
    events, before = await service.events(), service.usage()
    try:
        answers = await service.wrk.run(service.url_of(contender), load, seconds)
    except WrongAnswers:
        say((await service.command("logs", "web"))[-LOG_SHOWN:])
        raise
    await service.drain()
    cpu_s = spent(before, service.usage(), contender)
    appended = await service.events() - events
    if case.appends and contender == OURS and appended < answers.right:
        raise WrongAnswers(
            f"{answers.right} commands were acknowledged, but only {appended} events are stored"
        )
    return Turn(answers, cpu_s)


def spent(before: Usage, after: Usage, contender: str) -> dict[str, float]:
    """CPU seconds by role: for the service of all roles and servers, for a yardstick of its process
    and the servers that it uses. A process that ends passes its time to its parent, so the sum
    stays right.
    """
    roles = {
        OURS: [role for role in {**before.cpu_s, **after.cpu_s} if role not in CONTENDERS],
        "bare": ["bare"],
        "thin": list(THIN_SERVERS),
    }[contender]
    return {role: after.cpu_s[role] - before.cpu_s[role] for role in roles}


def _figure(case: Case, contender: str, turns: Mapping[str, Sequence[Turn]]) -> Figure:
    own = turns[contender]
    rates = {c: [turn.answers.rate for turn in turns[c]] for c in turns}
    others = [c for c in CONTENDERS if c != OURS] if contender == OURS else []
    roles = dict.fromkeys(role for turn in own for role in turn.cpu_s)
    return Figure(
        *(case.name, "requests/s", tuple(rates[contender]), contender),
        p50_ms=tuple(turn.answers.p50_ms for turn in own),
        p99_ms=tuple(turn.answers.p99_ms for turn in own),
        cpu_s_per_1000=tuple(turn.cpu_s_per_1000 for turn in own),
        cpu_s_per_1000_by_role={
            role: median(turn.cpu_s.get(role, 0.0) / turn.answers.right * 1000 for turn in own)
            for role in roles
        },
        ratios={other: paired(rates[contender], rates[other]) for other in others},
        note=_note(case, own) if contender == OURS else "",
    )


def _note(case: Case, turns: Sequence[Turn]) -> str:
    right = sum(turn.answers.right for turn in turns)
    notes = []
    if case.cache is not None:
        share = sum(turn.answers.marked for turn in turns) / right
        notes.append(f"X-Cache: {case.cache} on {share:.1%} of the answers")
    if refused := sum(turn.answers.refused for turn in turns):
        notes.append(f"{refused} requests beside the {right} were answered 503")
    return "; ".join(notes)
