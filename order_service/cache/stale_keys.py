"""What a process could not tell Redis, to be told again."""

import asyncio
from collections.abc import Sequence
from itertools import islice

from order_service import limits
from order_service.cache.entries import Place


class StaleKeys:
    """Places that may hold something older than what this process has acknowledged.

    At most STALE_KEYS_MAX are remembered one by one. One more, and all are forgotten and everything
    counts as stale, until a flush that began after the last overflow is done.
    """

    def __init__(self) -> None:
        self._versions: dict[
            Place, int | None
        ] = {}  # at least this version, or absent; None: absent
        self._overflows = 0
        self._flushed = 0  # the overflows that a flush has made good
        self.found = asyncio.Event()  # set while there is something to tell

    def __contains__(self, place: Place) -> bool:
        return self._overflows > self._flushed or place in self._versions

    def __len__(self) -> int:
        return len(self._versions)

    @property
    def overflows_to_flush(self) -> int:
        """0, or what to hand to `flushed` when a flush that begins now is done."""
        return self._overflows if self._overflows > self._flushed else 0

    def add(self, place: Place, version: int | None) -> None:
        if place in self._versions:
            known = self._versions[place]
            if version is None or (known is not None and known < version):
                self._versions[place] = version
        elif len(self._versions) < limits.STALE_KEYS_MAX:
            self._versions[place] = version
        else:
            self._versions.clear()
            self._overflows += 1
        self.found.set()

    def discard(self, place: Place, version: int | None) -> None:
        """Redis knows that `place` is at `version` or absent: forgets what asks for no more."""
        if place in self._versions:
            known = self._versions[place]
            if version is None or (known is not None and known <= version):
                del self._versions[place]
                self._settle()

    def flushed(self, overflows: int) -> None:
        self._flushed = overflows
        self._settle()

    def next_batch(self) -> Sequence[tuple[Place, int | None]]:
        return list(islice(self._versions.items(), limits.STALE_RETRY_BATCH))

    def _settle(self) -> None:
        if not self._versions and self._overflows == self._flushed:
            self.found.clear()
