"""What one check found. Pure; imports nothing of ours."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "wrong", "unseen"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`unseen`: this account may not look; that is no fault. `remedy`: what to do where it is not
    as `expected`."""

    check: str
    state: State
    found: str
    expected: str
    remedy: str = ""


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


def clock(
    server: str, ours_before: float, theirs: float, ours_after: float, most_s: float
) -> Finding:
    """Whether a server's clock agrees with this machine's; what the question took is not counted
    against it. All in seconds since the epoch."""
    difference = max(ours_before - theirs, theirs - ours_after, 0.0)
    return finding(
        f"{server} clock",
        difference <= most_s,
        f"{difference:.3f} s from this machine's",
        f"at most {most_s:g} s",
        "Let NTP set the clocks of both machines: expiry of tokens and tasks goes by them.",
    )
