"""Whether a server answers, and whether its clock agrees with this machine's."""

from collections.abc import Sequence
from dataclasses import dataclass

from order_service import limits
from projections.monitoring.checks.check import Finding, finding

_EXPECTED = f"at most {limits.CLOCK_DIFFERENCE_MAX_S:g} s"
_NTP = "Let NTP set the clocks of both machines: expiry of tokens and tasks goes by them."


@dataclass(frozen=True, slots=True)
class Answer:
    """`error`: its kind, where the server did not answer; else empty."""

    server: str
    error: str
    latency_ms: float


@dataclass(frozen=True, slots=True)
class Clock:
    """What a server says the time is, and this machine's time before and after. All in seconds
    since the epoch."""

    server: str
    ours_before: float
    theirs: float
    ours_after: float

    @property
    def agrees(self) -> bool:
        return self.difference_s <= limits.CLOCK_DIFFERENCE_MAX_S

    @property
    def difference_s(self) -> float:
        """At least: the time that the reading took is not counted against it."""
        return max(self.ours_before - self.theirs, self.theirs - self.ours_after, 0.0)

    @property
    def ahead_s(self) -> float:
        return self.theirs - (self.ours_before + self.ours_after) / 2


def agreement(clock: Clock) -> Finding:
    found = f"{clock.difference_s:.3f} s from this machine's"
    return finding(f"{clock.server} clock", clock.agrees, found, _EXPECTED, _NTP)


async def clocks(clocks: Sequence[Clock]) -> list[Finding]:
    """Of those that were read, in one finding."""
    said = ", ".join(f"{clock.server} {clock.ahead_s:+.3f} s" for clock in clocks)
    found = f"Of this process: {said or 'unknown'}."
    return [finding("clocks", all(clock.agrees for clock in clocks), found, _EXPECTED, _NTP)]


async def answers(answer: Answer) -> list[Finding]:
    found = f"Does not answer: {answer.error}." if answer.error else "Answers."
    remedy = f"Start {answer.server}, and look at its address in the settings."
    return [finding(answer.server, not answer.error, found, "Answers.", remedy)]
