"""The board for many readers: one read serves all, and a feed of the cards that change."""

import asyncio
from contextlib import AbstractContextManager

from fastapi.sse import format_sse_event
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service import limits
from order_service.documents.board import ChangedCards
from order_service.documents.shape import to_json
from order_service.infra.postgres import query
from order_service.infra.single_flight import SingleFlight
from projections.queries import board
from projections.queries.positions import Positions
from projections.read_models import order_view
from projections.streams.watch import ViewWatch

Changes = tuple[Positions, bytes | None]  # up to which positions, and the changed cards as JSON


class Boards:
    """One per process: concurrent reads of the board, and of its changes, share one read."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.watch = ViewWatch(engine, order_view.NAME, limits.BOARD_WATCH_S)
        self._engine = engine
        self._whole: SingleFlight[None, bytes] = SingleFlight()
        self._changes: SingleFlight[Positions, Changes] = SingleFlight()
        self._slots = asyncio.Semaphore(limits.STREAM_READS_MAX)

    async def close(self) -> None:
        await self.watch.close()

    async def whole(self) -> bytes:
        """The board, as JSON."""

        async def load() -> bytes:
            return await board.board_json(await query(self._engine, board.read))

        return await self._whole.load(None, load)

    async def changes(self, after: Positions) -> Changes:
        """What has changed after these positions; if that is much, the first part of it."""
        up_to = _next(after, self.watch.positions)

        async def load() -> Changes:
            async with self._slots:
                rows = await query(self._engine, lambda c: board.read_changed(c, after, up_to))
            cards = to_json(ChangedCards([*map(board.card, rows)])) if rows else None
            return up_to, cards

        return await self._changes.load(after, load)


def _next(after: Positions, shown: Positions) -> Positions:
    """At most BOARD_BATCH_CARDS events on, an equal share of each partition."""
    share = max(1, limits.BOARD_BATCH_CARDS // len(after))
    return tuple(max(a, min(a + share, s)) for a, s in zip(after, shown, strict=True))


class BoardFeed:
    """The cards of the orders that have changed after the given positions, up to where the read
    model shows the log."""

    def __init__(self, boards: Boards, after: Positions) -> None:
        self._boards = boards
        self._positions = after

    def listening(self) -> AbstractContextManager[asyncio.Event]:
        return self._boards.watch.listening(None)

    @property
    def last_id(self) -> str:
        return board.token(self._positions)

    async def read(self) -> tuple[list[bytes], bool]:
        """One message. Without cards it still advances the client's Last-Event-ID."""
        shown = self._boards.watch.positions  # empty before the first poll
        if all(s <= p for s, p in zip(shown, self._positions, strict=False)):
            return [], False
        self._positions, cards = await self._boards.changes(self._positions)
        data = None if cards is None else cards.decode()
        event = None if cards is None else "cards"
        return [format_sse_event(data_str=data, event=event, id=self.last_id)], True
