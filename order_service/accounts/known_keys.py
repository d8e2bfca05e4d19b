"""The API keys that one web process has verified, and the loop that keeps them true.

A key is verified in the database at its first use and then served from memory, as fast as an access
token. Twice a second one statement reads all keys in use again, so a revoked or narrowed key ends
within API_KEY_TRUSTED_S in every process, with or without Redis. What the statement has not
confirmed for so long is trusted no more: the next request asks the database itself, and while that
does not answer, keys are refused with 503. A notification would save the statement, but poolers
such as PgBouncer do not pass LISTEN on.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from order_service import limits
from order_service.accounts.api_keys import Grant, Scope, check, digest_of, grant_of, id_of
from order_service.accounts.key_store import CREDENTIALS, RECORD_USE
from order_service.accounts.tokens import TokenInvalid
from order_service.infra.postgres import FAILURES, query
from order_service.infra.single_flight import SingleFlight
from order_service.telemetry.logging import reason

logger = logging.getLogger(__name__)


class _Known:
    """A verified key. `trusted_until`: by `time.monotonic`. `used`: since the last refresh;
    `idle`: refreshes without use."""

    __slots__ = ("digest", "grant", "idle", "trusted_until", "used")

    def __init__(self, digest: bytes, grant: Grant, trusted_until: float) -> None:
        self.digest = digest
        self.grant = grant
        self.trusted_until = trusted_until
        self.used = True
        self.idle = 0


class _Hold:
    """Something long, such as a stream, that ends with its key's scope."""

    __slots__ = ("end", "grant", "scope")

    def __init__(self, grant: Grant, scope: Scope, end: Callable[[], object]) -> None:
        self.grant = grant
        self.scope = scope
        self.end = end


class KnownKeys:
    """One per process; `engine` is set before the first request."""

    engine: AsyncEngine

    def __init__(self) -> None:
        # By the whole key. The look-up compares hashes first, under a random seed, so its time says
        # nothing about a part of a key.
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._loads: SingleFlight[str, Grant] = SingleFlight()
        self._holds: set[_Hold] = set()
        self._failing = False

    def get(self, key: str) -> Grant | None:
        """The grant of a key that this process has verified a moment ago; None for any other."""
        known = self._known.get(key)
        if known is None or time.monotonic() >= known.trusted_until:
            return None
        known.used = True
        return known.grant

    async def verify(self, key: str) -> Grant:
        """The grant of a key, read from the database. Raises TokenInvalid, TokenExpired, and
        errors of the database."""
        key_id = id_of(key)
        if key_id is None:
            raise TokenInvalid
        return await self._loads.load(key, lambda: self._load(key, key_id))

    def forget(self, key_id: UUID) -> None:
        """The next request with a key of this id is verified again: its caller has changed it."""
        for key, known in list(self._known.items()):
            if known.grant.key_id == key_id:
                del self._known[key]

    @contextmanager
    def held(self, grant: Grant, scope: Scope, end: Callable[[], object]) -> Iterator[None]:
        """Inside the block `end` is called as soon as the key is revoked, over or without the
        scope."""
        hold = _Hold(grant, scope, end)
        self._holds.add(hold)
        try:
            yield
        finally:
            self._holds.remove(hold)

    async def refresh_for_ever(self) -> None:
        """The background task; runs until it is cancelled."""
        while True:
            await asyncio.sleep(limits.API_KEY_REFRESH_S)
            try:
                await self.refresh()
                self._failing = False
            except FAILURES as error:
                if not self._failing:
                    logger.warning("API keys cannot be confirmed: %s", reason(error))
                self._failing = True
            except Exception:  # a bug here must not leave revoked keys valid for ever
                logger.exception("confirming the API keys failed")

    async def refresh(self) -> None:
        """Confirms, narrows or ends all keys in use, and records their use once a minute."""
        self._drop_idle()
        # The keys of now: the rows may be too old for one that is verified meanwhile.
        known, holds = list(self._known.items()), list(self._holds)
        ids = {one.grant.key_id for _, one in known} | {hold.grant.key_id for hold in holds}
        if not ids:
            return
        began = time.monotonic()
        rows = {row.id: row for row in await query(self.engine, lambda c: _credentials(c, ids))}
        for key, one in known:
            self._confirm(key, one, rows.get(one.grant.key_id), began)
        for hold in holds:
            if not _still_has(rows.get(hold.grant.key_id), hold.scope):
                hold.end()
        await self._record_use(rows, {one.grant.key_id for _, one in known if one.idle == 0})

    async def _load(self, key: str, key_id: UUID) -> Grant:
        digest, began = digest_of(key), time.monotonic()
        rows = await query(self.engine, lambda c: _credentials(c, (key_id,)))
        grant, seconds_left = check(rows[0] if rows else None, digest)
        self._known[key] = _Known(digest, grant, _trusted_until(began, seconds_left))
        if len(self._known) > limits.API_KEYS_REMEMBERED_MAX:
            self._known.popitem(last=False)
        return grant

    def _drop_idle(self) -> None:
        for key, known in list(self._known.items()):
            known.idle = 0 if known.used else known.idle + 1
            known.used = False
            if known.idle * limits.API_KEY_REFRESH_S > limits.API_KEY_IDLE_S:
                del self._known[key]

    def _confirm(self, key: str, known: _Known, row: Row[Any] | None, began: float) -> None:
        try:
            known.grant, seconds_left = check(row, known.digest)
        except TokenInvalid:
            known.trusted_until = 0.0
            if self._known.get(key) is known:
                del self._known[key]
            return
        known.trusted_until = _trusted_until(began, seconds_left)

    async def _record_use(self, rows: Mapping[UUID, Row[Any]], used: Iterable[UUID]) -> None:
        ids = [key_id for key_id in used if key_id in rows and rows[key_id].unrecorded]
        if ids:
            async with self.engine.begin() as connection:
                await connection.execute(RECORD_USE, {"ids": ids})


def _trusted_until(began: float, seconds_left: float) -> float:
    return began + min(seconds_left, limits.API_KEY_TRUSTED_S)


def _still_has(row: Row[Any] | None, scope: Scope) -> bool:
    if row is None or row.revoked or (row.expires_in_s is not None and row.expires_in_s <= 0):
        return False
    return scope in grant_of(row).scopes


async def _credentials(connection: AsyncConnection, ids: Iterable[UUID]) -> list[Row[Any]]:
    return list(await connection.execute(CREDENTIALS, {"ids": list(ids)}))
