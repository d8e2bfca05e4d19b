"""The load's own account of what it asked and what became of it.

A request is on disk before it is sent, and its outcome before it counts. So whatever is killed, the
journal knows every order that the service may hold, and every one that it must.
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

TOGETHER_MAX = 1_000  # lines written with one fsync
WAITING_MAX = 10_000


@dataclass(slots=True)
class Attempt:
    """One request, sent once. `expected`: the version that it insists on."""

    user: UUID
    kind: str
    method: str
    path: str
    order_id: UUID
    body: Mapping[str, Any] | None = None
    key: str | None = None
    expected: int | None = None
    outcome: Outcome = "unknown"
    status: int = 0  # none: no answer came
    version: int = 0  # that the answer shows
    digest: str = ""  # of the answer's body
    began_s: float = field(default_factory=time.monotonic)
    seconds: float = 0.0

    @property
    def headers(self) -> dict[str, str]:
        found = {} if self.key is None else {"Idempotency-Key": self.key}
        return found if self.expected is None else {**found, "If-Match": f'"{self.expected}"'}

    def again(self) -> "Attempt":
        """The same request, not yet sent."""
        return replace(
            self, outcome="unknown", status=0, version=0, digest="", began_s=time.monotonic()
        )


class Command:
    """All attempts under one key. It is ok if one of them was; else unknown if one of them is, even
    if a later one was refused: what was refused then may come to pass when the first arrives."""

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
    """`attempts`: in the order in which they were begun."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.attempts: list[Attempt] = []
        self._file = path.open("ab")
        self._lines = Batching[bytes, None](
            self._write,
            batch_max=TOGETHER_MAX,
            waiting_max=WAITING_MAX,
            overflow=lambda: RuntimeError("the journal's disk cannot keep up"),
        )

    async def begin(self, attempt: Attempt) -> int:
        """Its number; it may be sent now."""
        self.attempts.append(attempt)
        number = len(self.attempts) - 1
        await self._lines.get(_line({"number": number, **asdict(attempt)}))
        return number

    async def end(self, number: int) -> None:
        """Its outcome may be acted on now."""
        attempt = self.attempts[number]
        outcome = ("outcome", "status", "version", "digest", "seconds")
        said = {name: getattr(attempt, name) for name in outcome}
        await self._lines.get(_line({"number": number, **said}))

    async def close(self) -> None:
        await self._lines.close()
        self._file.close()

    def commands(self, since: int = 0) -> dict[str, Command]:
        """By key; those of which an attempt was begun since that number, with all their
        attempts."""
        wanted = {attempt.key for attempt in self.attempts[since:]}
        found: dict[str, list[Attempt]] = defaultdict(list)
        for attempt in self.attempts:
            if attempt.key is not None and attempt.key in wanted:
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
