"""Stale keys: changed keys that this process could not update in Redis and retries later."""

import asyncio
from collections.abc import Sequence
from itertools import islice

from order_service import limits
from order_service.cache.entries import Slot


class StaleKeys:
    """Slots that may hold an older version than this process has acknowledged.

    At most STALE_KEYS_MAX are kept. One more is an overflow: the set is cleared, and every slot
    counts as stale until a flush that began after the last overflow has completed.
    """

    def __init__(self) -> None:
        # The minimum version that Redis must have; None: any entry is stale.
        self._versions: dict[Slot, int | None] = {}
        self._overflows = 0
        self._flushed = 0  # how many of the overflows were followed by a flush
        self.found = asyncio.Event()  # set while there are stale slots

    def __contains__(self, slot: Slot) -> bool:
        return self._overflows > self._flushed or slot in self._versions

    def __len__(self) -> int:
        return len(self._versions)

    @property
    def overflows_to_flush(self) -> int:
        """The argument for `flushed` after a flush that begins now; 0 if no flush is needed."""
        return self._overflows if self._overflows > self._flushed else 0

    def add(self, slot: Slot, version: int | None) -> None:
        if slot in self._versions:
            required = self._versions[slot]
            if version is None or (required is not None and required < version):
                self._versions[slot] = version
        elif len(self._versions) < limits.STALE_KEYS_MAX:
            self._versions[slot] = version
        else:
            self._versions.clear()
            self._overflows += 1
        self.found.set()

    def discard(self, slot: Slot, version: int | None) -> None:
        """Removes the slot, which is absent in Redis or has at least `version`, unless a later
        version is required."""
        if slot in self._versions:
            required = self._versions[slot]
            if version is None or (required is not None and required <= version):
                del self._versions[slot]
                self._settle()

    def flushed(self, overflows: int) -> None:
        self._flushed = overflows
        self._settle()

    def next_batch(self) -> Sequence[tuple[Slot, int | None]]:
        return list(islice(self._versions.items(), limits.STALE_RETRY_BATCH))

    def _settle(self) -> None:
        if not self._versions and self._overflows == self._flushed:
            self.found.clear()
