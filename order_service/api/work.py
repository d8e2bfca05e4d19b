"""What is being worked on in one web process, bounded: requests and the bytes of their bodies. May
import errors, settings.

Without a bound a process that gets more than it can do answers everybody late, so late that they
have gone; with one, whoever comes too many is told at once, and all others are answered as fast as
ever. Groups have bounds of their own (`limits.group_of`), so that orders that wait for the database
keep nobody from reading what is cached. Not counted is who waits for its own client: for the rest
of a body, or to take a stream.
"""

from order_service import settings as constants
from order_service.api.problems import RETRY_AFTER_S, Problem


class Work:
    """One a process. `total`: requests of all groups; `body_bytes`: of all that arrive."""

    def __init__(self) -> None:
        self._groups: dict[str, InWork] = {}  # a handful, named by us
        self.total = 0
        self.body_bytes = 0

    def of(self, group: str) -> "InWork":
        found = self._groups.get(group)
        if found is None:
            found = self._groups[group] = InWork(self)
        return found

    def hold(self, size: int) -> None:
        """So many bytes more of a body are kept. Raises Problem 503, and they are counted all the
        same: whoever ends the request lets all of it go."""
        self.body_bytes += size
        if self.body_bytes > constants.BODIES_BYTES_MAX:
            raise overloaded("Too many large bodies are arriving: try again.", Connection="close")


class InWork:
    """Requests of one group that are being worked on."""

    __slots__ = ("_work", "count")

    def __init__(self, work: Work) -> None:
        self._work = work
        self.count = 0

    @property
    def is_full(self) -> bool:
        return self.count >= constants.REQUESTS_IN_WORK_MAX

    def check(self) -> None:
        """Raises Problem 503 where there is no room for one more."""
        if self.is_full:
            raise overloaded("Too many requests are at work here: try again.")

    def enter(self) -> None:
        self.count += 1
        self._work.total += 1

    def leave(self) -> None:
        self.count -= 1
        self._work.total -= 1


def overloaded(detail: str, **headers: str) -> Problem:
    return Problem(503, "overloaded", detail, {"Retry-After": RETRY_AFTER_S, **headers})
