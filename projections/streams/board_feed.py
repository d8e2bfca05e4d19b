"""The board as many look at it: read once for all, and what its stream sends next."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractContextManager

from fastapi.sse import format_sse_event
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service import limits
from order_service.infra.postgres import query
from order_service.infra.single_flight import SingleFlight
from order_service.web.responses import json_bytes
from projections.queries import board
from projections.read_models import order_view
from projections.streams.watch import ViewWatch

Positions = tuple[int, ...]
Message = tuple[Positions, bytes | None]  # up to where, and the cards that changed


class Boards:
    """One a process: however many look at the board or listen to it, one read at a time serves
    all."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.watch = ViewWatch(engine, order_view.NAME, limits.BOARD_WATCH_S)
        self._engine = engine
        self._whole: SingleFlight[None, bytes] = SingleFlight()
        self._changes: SingleFlight[Positions, Message] = SingleFlight()
        self._slots = asyncio.Semaphore(limits.STREAM_READS_MAX)

    async def close(self) -> None:
        await self.watch.close()

    async def whole(self) -> bytes:
        """The board, as JSON."""

        async def load() -> bytes:
            return await board.board_json(await query(self._engine, board.read))

        return await self._whole.load(None, load)

    async def changes(self, after: Positions) -> Message:
        """What has changed after these positions; of much of it the beginning."""
        up_to = _next(after, self.watch.positions)

        async def load() -> Message:
            async with self._slots:
                rows = await query(self._engine, lambda c: board.read_changed(c, after, up_to))
            cards = json_bytes({"cards": list(map(board.card, rows))}) if rows else None
            return up_to, cards

        return await self._changes.load(after, load)


def _next(after: Sequence[int], shown: Sequence[int]) -> Positions:
    """At most BOARD_CARDS_TOGETHER events on, an equal share of each partition."""
    share = max(1, limits.BOARD_CARDS_TOGETHER // len(after))
    return tuple(max(a, min(a + share, s)) for a, s in zip(after, shown, strict=True))


class BoardFeed:
    """The cards of orders that have changed after a position in each partition, as far as the read
    model shows them."""

    def __init__(self, boards: Boards, after: Positions) -> None:
        self._boards = boards
        self._positions = after

    def listening(self) -> AbstractContextManager[asyncio.Event]:
        return self._boards.watch.listening(None)

    @property
    def last_id(self) -> str:
        return board.token(self._positions)

    async def read(self) -> tuple[list[bytes], bool]:
        """One message. What nobody can be shown still moves the client's Last-Event-ID on."""
        shown = self._boards.watch.positions  # none before the first look
        if all(s <= p for s, p in zip(shown, self._positions, strict=False)):
            return [], False
        self._positions, cards = await self._boards.changes(self._positions)
        if cards is None:
            return [format_sse_event(id=self.last_id)], True
        message = format_sse_event(data_str=cards.decode(), event="cards", id=self.last_id)
        return [message], True
