"""Whether a server answers, and whether its clock agrees with this machine's."""

from collections.abc import Sequence
from dataclasses import dataclass

from order_service import limits
from projections.monitoring.checks.check import Finding, finding

_EXPECTED = f"at most {limits.CLOCK_DIFFERENCE_MAX_S:g} s"
_NTP = "Set the clocks of both machines by NTP: the expiry of tokens and tasks depends on them."


@dataclass(frozen=True, slots=True)
class Answer:
    """`error`: the error's type if the server did not answer, else empty."""

    server: str
    error: str
    latency_ms: float


@dataclass(frozen=True, slots=True)
class Clock:
    """A server's time, and this machine's time before and after reading it. All in seconds since
    the epoch."""

    server: str
    ours_before: float
    theirs: float
    ours_after: float

    @property
    def agrees(self) -> bool:
        return self.difference_s <= limits.CLOCK_DIFFERENCE_MAX_S

    @property
    def difference_s(self) -> float:
        """The least possible difference: the duration of the reading is not counted."""
        return max(self.ours_before - self.theirs, self.theirs - self.ours_after, 0.0)

    @property
    def ahead_s(self) -> float:
        return self.theirs - (self.ours_before + self.ours_after) / 2


def agreement(clock: Clock) -> Finding:
    found = f"{clock.difference_s:.3f} s from this machine's"
    return finding(f"{clock.server} clock", clock.agrees, found, _EXPECTED, _NTP)


async def clocks(clocks: Sequence[Clock]) -> list[Finding]:
    """One finding for all clocks that could be read."""
    offsets = ", ".join(f"{clock.server} {clock.ahead_s:+.3f} s" for clock in clocks)
    found = f"Ahead of this process: {offsets or 'unknown'}."
    return [finding("clocks", all(clock.agrees for clock in clocks), found, _EXPECTED, _NTP)]


async def answers(answer: Answer) -> list[Finding]:
    found = f"Does not answer: {answer.error}." if answer.error else "Answers."
    remedy = f"Start {answer.server}, and check its address in the settings."
    return [finding(answer.server, not answer.error, found, "Answers.", remedy)]
