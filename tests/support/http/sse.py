"""Server-sent events as a browser reads them, for tests."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True)
class Sent:
    id: str
    event: str
    data: dict[str, Any]


class Reader:
    """`last_id`: the Last-Event-ID that a browser would send when it connects again."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self.last_id = ""
        self.comments = 0
        self._lines = answer.aiter_lines()

    async def take(self, count: int) -> list[Sent]:
        """The next events; fewer if the stream ends before."""
        found = []
        while len(found) < count:
            block = await self._block()
            if block is None:
                break
            self.last_id = block.get("id", self.last_id)
            if "data" in block:
                found.append(Sent(self.last_id, block["event"], json.loads(block["data"])))
        return found

    async def reach(self, event_id: str) -> None:
        """Reads until `last_id` is `event_id`."""
        while self.last_id != event_id:
            block = await self._block()
            assert block is not None, "the stream ended before that event"
            self.last_id = block.get("id", self.last_id)

    async def _block(self) -> dict[str, str] | None:
        block: dict[str, str] = {}
        async for line in self._lines:
            if line == "":
                return block
            if line.startswith(":"):
                self.comments += 1
                return block
            name, _, value = line.partition(": ")
            block[name] = value
        return None


@asynccontextmanager
async def listening(
    web: httpx.AsyncClient, path: str, headers: dict[str, str] | None = None
) -> AsyncIterator[Reader]:
    async with web.stream("GET", path, headers=headers) as answer:
        if answer.status_code != 200:
            await answer.aread()
        yield Reader(answer)
