"""The types of a check and of its findings."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

State = Literal["ok", "wrong", "unseen"]
Status = Literal["ok", "degraded", "down"]  # of the service


@dataclass(frozen=True, slots=True)
class Finding:
    """`unseen`: the account may not read the value; that is no fault. `remedy`: what to do if
    `found` is not as `expected`."""

    check: str
    state: State
    found: str
    expected: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """`run` receives the subject named `subject`: an open connection, or values read once for
    several checks. The surface that runs the check opens or reads the subject, with timeouts, and
    handles errors.

    The surfaces: `start` (web does not start if a finding is wrong); `readyz` and `health`, with
    the check's name there; `doctor`.
    """

    subject: str
    run: Callable[[Any], Awaitable[list[Finding]]]
    start: bool = False
    readyz: str = ""
    readyz_error: str = "RuntimeError"  # shown if a finding is wrong
    health: str = ""
    health_unknown: Status = "degraded"  # the service's status if the subject cannot be read
    doctor: bool = False


async def run_checks(checks: Iterable[Check], subjects: Mapping[str, Any]) -> list[Finding]:
    """The findings of the checks whose subjects are given; other checks do not run."""
    return [
        one
        for check in checks
        if check.subject in subjects
        for one in await check.run(subjects[check.subject])
    ]


def finding(check: str, good: bool, found: object, expected: str, remedy: str) -> Finding:
    return Finding(check, "ok" if good else "wrong", str(found), expected, remedy)


def unseen(check: str, why: str, expected: str) -> Finding:
    return Finding(check, "unseen", why, expected)


def unreachable(check: str, where: str, error: BaseException, remedy: str) -> Finding:
    """`found`: the error's type and the first line of its text; a driver's time-out has no text."""
    text = " ".join([type(error).__name__, *str(error).splitlines()[:1]])
    return Finding(check, "wrong", text, f"answers at {where}", remedy)


def version_of(text: str) -> tuple[int, ...]:
    """The numbers at the start of a version: `17.2-alpine` is (17, 2)."""
    numbers: list[int] = []
    for part in text.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
        if digits != part:
            break
    return tuple(numbers)
