"""What is being worked on in one web process, bounded: requests and the bytes of their bodies. May
import errors, settings.

Without a bound a process that gets more than it can do answers everybody late, so late that they
have gone; with one, whoever comes too many is told at once, and all others are answered as fast as
ever. Groups have bounds of their own (`limits.group_of`), so that orders that wait for the database
keep nobody from reading what is cached. Not counted is who waits for its own client: for the rest
of a body, or to take a stream.
"""

from collections import defaultdict

from order_service import settings as constants
from order_service.api.problems import RETRY_AFTER_S, Problem
from order_service.errors import Unavailable


class InWork:
    """Requests of one group that are being worked on."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def check(self) -> None:
        """Raises Unavailable where there is no room for one more."""
        if self.count >= constants.REQUESTS_IN_WORK_MAX:
            raise Unavailable("overloaded", "Too many requests are at work here: try again.")


class Work:
    """One a process."""

    def __init__(self) -> None:
        self._groups: defaultdict[str, InWork] = defaultdict(InWork)  # a handful, named by us
        self.body_bytes = 0

    def of(self, group: str) -> InWork:
        return self._groups[group]

    def hold(self, size: int) -> None:
        """So many bytes more of a body are kept. Raises Problem 503, and they are counted all the
        same: whoever ends the request lets all of it go."""
        self.body_bytes += size
        if self.body_bytes > constants.BODIES_BYTES_MAX:
            headers = {"Retry-After": RETRY_AFTER_S, "Connection": "close"}
            detail = "Too many large bodies are arriving: try again."
            raise Problem(503, "overloaded", detail, headers)
