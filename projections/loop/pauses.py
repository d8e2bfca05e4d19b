"""Back-off of partitions that failed for a reason that no stream causes."""

import time

from order_service import limits


class Pauses:
    """The pauses of one process, by projection and partition."""

    def __init__(self) -> None:
        self._pauses: dict[tuple[str, int], tuple[int, float]] = {}  # failures, until (monotonic)

    def is_paused(self, name: str, partition: int) -> bool:
        return time.monotonic() < self._pauses.get((name, partition), (0, 0.0))[1]

    def begin(self, name: str, partition: int) -> None:
        failures = self._pauses.get((name, partition), (0, 0.0))[0]
        pause_s = limits.ADVANCE_BACKOFF_S[min(failures, len(limits.ADVANCE_BACKOFF_S) - 1)]
        self._pauses[name, partition] = (failures + 1, time.monotonic() + pause_s)

    def end(self, name: str, partition: int) -> None:
        self._pauses.pop((name, partition), None)

    def clear(self) -> None:
        self._pauses.clear()


pauses = Pauses()  # of this worker process
