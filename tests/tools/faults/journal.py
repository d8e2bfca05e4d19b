"""The load's record of all its requests and their outcomes.

A request is on disk before it is sent, and its outcome before it is used. So whatever is killed,
the journal holds every order that the service may hold, and every order that it must hold.
"""

import asyncio
import json
import os
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

from order_service.infra.batching import Batching

Outcome = Literal["ok", "fail", "unknown"]

LINES_PER_FSYNC_MAX = 1_000
WAITING_MAX = 10_000


@dataclass(slots=True)
class Attempt:
    """One request, sent once. `expected`: its expected version, if any."""

    user: UUID
    kind: str
    method: str
    path: str
    order_id: UUID
    body: Mapping[str, Any] | None = None
    key: str | None = None
    expected: int | None = None
    outcome: Outcome = "unknown"
    status: int = 0  # 0: no answer came
    version: int = 0  # in the answer
    digest: str = ""  # of the answer's body
    began_s: float = field(default_factory=time.monotonic)
    seconds: float = 0.0

    @property
    def headers(self) -> dict[str, str]:
        found = {} if self.key is None else {"Idempotency-Key": self.key}
        return found if self.expected is None else {**found, "If-Match": f'"{self.expected}"'}

    def repeat(self) -> "Attempt":
        """The same request, not yet sent."""
        return replace(
            self, outcome="unknown", status=0, version=0, digest="", began_s=time.monotonic()
        )


class Command:
    """All attempts under one key. The outcome is ok if one attempt's is; else unknown if one
    attempt's is, even if a later one was refused: the first may still arrive and succeed.
    """

    def __init__(self, attempts: list[Attempt]) -> None:
        self.attempts = attempts
        self.first = attempts[0]
        self.granted = [attempt for attempt in attempts if attempt.outcome == "ok"]
        outcomes = {attempt.outcome for attempt in attempts}
        self.outcome: Outcome = (
            "ok" if self.granted else "unknown" if "unknown" in outcomes else "fail"
        )
        self.is_settled = attempts[-1].outcome != "unknown"


class Journal:
    """`attempts`: in the order of their beginnings."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.attempts: list[Attempt] = []
        self._file = path.open("ab")
        self._lines = Batching[bytes, None](
            self._write,
            batch_max=LINES_PER_FSYNC_MAX,
            waiting_max=WAITING_MAX,
            overflow=lambda: RuntimeError("the journal's disk cannot keep up"),
        )

    async def begin(self, attempt: Attempt) -> int:
        """Writes the attempt to disk; then it may be sent. Returns its number."""
        self.attempts.append(attempt)
        number = len(self.attempts) - 1
        await self._lines.get(_line({"number": number, **asdict(attempt)}))
        return number

    async def end(self, number: int) -> None:
        """Writes the attempt's outcome to disk; then the outcome may be used."""
        attempt = self.attempts[number]
        names = ("outcome", "status", "version", "digest", "seconds")
        outcome = {name: getattr(attempt, name) for name in names}
        await self._lines.get(_line({"number": number, **outcome}))

    async def close(self) -> None:
        await self._lines.close()
        self._file.close()

    def commands(self, since: int = 0) -> dict[str, Command]:
        """By key: the commands with an attempt from number `since` on, with all their attempts."""
        keys = {attempt.key for attempt in self.attempts[since:]}
        found: dict[str, list[Attempt]] = defaultdict(list)
        for attempt in self.attempts:
            if attempt.key is not None and attempt.key in keys:
                found[attempt.key].append(attempt)
        return {key: Command(attempts) for key, attempts in found.items()}

    async def _write(self, lines: list[bytes]) -> list[None]:
        await asyncio.to_thread(self._write_now, b"".join(lines))
        return [None] * len(lines)

    def _write_now(self, lines: bytes) -> None:
        self._file.write(lines)
        self._file.flush()
        os.fsync(self._file.fileno())


def _line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, default=str).encode() + b"\n"
