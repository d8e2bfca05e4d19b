"""What is being worked on in one web process, bounded: requests and the bytes of their bodies. May
import errors, settings.

Without a bound a process that gets more than it can do answers everybody late, so late that they
have gone; with one, whoever comes too many is told at once, and all others are answered as fast as
ever. Groups have bounds of their own (`limits.group_of`), so that orders that wait for the database
keep nobody from reading what is cached. Not counted is who waits for its own client: for the rest
of a body, or to take a stream.
"""

import asyncio

from order_service import limits
from order_service.web.problems.problem import RETRY_AFTER_S, Problem


class Work:
    """One a process. `body_bytes`: of all that arrive."""

    def __init__(self) -> None:
        self._groups: dict[str, InWork] = {}  # a handful, named by us
        self.body_bytes = 0
        self._arrived: dict[str, int] = {}  # in this turn of the event loop, and not at work yet

    def has_room(self, group: str) -> bool:
        """Whether a request whose head has been read may go on to be worked on. With those that
        have come in the same turn of the event loop: none of them has begun."""
        arrived = self._arrived
        if not arrived:
            asyncio.get_running_loop().call_soon(arrived.clear)
        ahead = arrived.get(group, 0)
        if self.of(group).count + ahead >= limits.REQUESTS_IN_WORK_MAX:
            return False
        arrived[group] = ahead + 1
        return True

    def of(self, group: str) -> "InWork":
        found = self._groups.get(group)
        if found is None:
            found = self._groups[group] = InWork()
        return found

    def counts(self) -> dict[tuple[object, ...], float]:
        """Requests at work, by group."""
        return {(group,): in_work.count for group, in_work in self._groups.items()}

    def hold(self, size: int) -> None:
        """So many bytes more of a body are kept. Raises Problem 503, and they are counted all the
        same: whoever ends the request lets all of it go."""
        self.body_bytes += size
        if self.body_bytes > limits.BODIES_BYTES_MAX:
            raise overloaded("Too many large bodies are arriving: try again.", Connection="close")


class InWork:
    """Requests of one group that are being worked on."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def check(self) -> None:
        """Raises Problem 503 where there is no room for one more."""
        if self.count >= limits.REQUESTS_IN_WORK_MAX:
            raise overloaded("Too many requests are at work here: try again.")

    def enter(self) -> None:
        self.count += 1

    def leave(self) -> None:
        self.count -= 1


def overloaded(detail: str, **headers: str) -> Problem:
    return Problem(503, "overloaded", detail, {"Retry-After": RETRY_AFTER_S, **headers})
