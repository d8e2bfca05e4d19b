"""Concurrency of one web process: bounds on connections, active requests and body bytes.

Without bounds an overloaded process answers every client late, after most have given up. With
bounds it refuses the excess at once and answers the rest as fast as ever. Each group
(`rate_limits.group_of`) has its own bound, so that orders that wait for the database do not keep
clients from reading cached ones. Requests that wait for their client are not counted: those that
wait for the rest of a body, and open streams.
"""

import asyncio
import resource

from order_service import limits
from order_service.web.problems.problem import RETRY_AFTER_S, Problem


class Concurrency:
    """One per process. `body_bytes`: of all bodies that are arriving."""

    def __init__(self) -> None:
        self._groups: dict[str, ActiveRequests] = {}  # a handful of constant names
        self.body_bytes = 0
        self.connections = ConnectionShares()
        self._arrived: dict[str, int] = {}  # in this turn of the event loop, not active yet

    def has_room(self, group: str) -> bool:
        """Whether there is room for one more request, whose head has been read.

        Counts it together with the requests that arrived in the same turn of the event loop: none
        of them is active yet."""
        arrived = self._arrived
        if not arrived:
            asyncio.get_running_loop().call_soon(arrived.clear)
        ahead = arrived.get(group, 0)
        if self.of(group).count + ahead >= limits.REQUESTS_IN_WORK_MAX:
            return False
        arrived[group] = ahead + 1
        return True

    def of(self, group: str) -> "ActiveRequests":
        found = self._groups.get(group)
        if found is None:
            found = self._groups[group] = ActiveRequests()
        return found

    def counts(self) -> dict[tuple[object, ...], float]:
        """Active requests by group."""
        return {(group,): active.count for group, active in self._groups.items()}

    def add_body_bytes(self, size: int) -> None:
        """Counts `size` more bytes of a body. Raises Problem 503 above the bound; the bytes are
        counted all the same, and the end of the request subtracts them."""
        self.body_bytes += size
        if self.body_bytes > limits.BODIES_BYTES_MAX:
            raise overloaded("Too many large bodies are arriving: try again.", Connection="close")


class ActiveRequests:
    """The active requests of one group."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def check(self) -> None:
        """Raises Problem 503 unless there is room for one more."""
        if self.count >= limits.REQUESTS_IN_WORK_MAX:
            raise overloaded(TOO_MANY_REQUESTS)

    def enter(self) -> None:
        self.count += 1

    def leave(self) -> None:
        self.count -= 1


class ConnectionShares:
    """How many connections each address has open."""

    def __init__(self) -> None:
        self._open: dict[str, int] = {}

    def enter(self, address: str) -> bool:
        """Counts one more; False if the address then has more than its share."""
        count = self._open[address] = self._open.get(address, 0) + 1
        return count <= connections_max() * limits.CONNECTIONS_SHARE_MAX

    def leave(self, address: str) -> None:
        self._open[address] -= 1
        if not self._open[address]:
            del self._open[address]


def connections_max() -> int:
    """Of clients, in one process; its other descriptors are for servers and files."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    ours = max(descriptors // 2, descriptors - limits.DESCRIPTORS_KEPT)
    return min(limits.CONNECTIONS_MAX, ours)


TOO_MANY_REQUESTS = "Too many requests are in progress here: try again."


def overloaded(detail: str, **headers: str) -> Problem:
    return Problem(503, "overloaded", detail, {"Retry-After": RETRY_AFTER_S, **headers})
