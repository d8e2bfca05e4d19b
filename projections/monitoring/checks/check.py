"""What a check is, and what it finds."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

State = Literal["ok", "wrong", "unseen"]
Status = Literal["ok", "degraded", "down"]  # of the service


@dataclass(frozen=True, slots=True)
class Finding:
    """`unseen`: this account may not look; that is no fault. `remedy`: what to do where it is not
    as `expected`."""

    check: str
    state: State
    found: str
    expected: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """`run` is given its `subject`: an open connection, or what was read once for several checks.
    Bounds and failures are the surface's, which opens and reads it.

    The surfaces: `start` (web does not start where a finding is wrong); `readyz` and `health`, by
    the name that the check has there; `doctor`.
    """

    subject: str
    run: Callable[[Any], Awaitable[list[Finding]]]
    start: bool = False
    readyz: str = ""
    readyz_says: str = "RuntimeError"  # where a finding is wrong
    health: str = ""
    health_unknown: Status = "degraded"  # what the service is where the subject cannot be read
    doctor: bool = False


async def found_by(checks: Iterable[Check], subjects: Mapping[str, Any]) -> list[Finding]:
    """What those of the checks find whose subjects there are."""
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
    """The error's kind, and the first line of its text: a driver's time-out has none."""
    text = " ".join([type(error).__name__, *str(error).splitlines()[:1]])
    return Finding(check, "wrong", text, f"answers at {where}", remedy)


def version_of(text: str) -> tuple[int, ...]:
    """The numbers that a version begins with: of `17.2-alpine` 17 and 2."""
    numbers: list[int] = []
    for part in text.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
        if digits != part:
            break
    return tuple(numbers)
