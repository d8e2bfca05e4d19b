"""The cache: Redis behind one version gate and its leases.

The promise: once `refresh` of a version has returned, no look-up anywhere gives an older one,
whatever was read, filled, refreshed, flushed, evicted or restarted in between. Only where Redis
could not be told may others see old contents, until a second after it answers again; this process
itself goes round the cache for these keys meanwhile.

A miss, a wrong value, a full, hung or dead Redis is never an error. `entries` and `delete`, which
serve `verify` alone, do raise: a comparison must not pass because there was nothing to compare.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any, TypeVar
from uuid import UUID

from redis.asyncio import Redis
from redis.exceptions import InvalidResponse, RedisError

from order_service import limits
from order_service.cache import scripts
from order_service.cache.entries import (
    CachedList,
    CachedOrder,
    Place,
    Places,
    decode_list,
    decode_order,
    encode_list,
    encode_order,
)
from order_service.cache.stale_keys import StaleKeys
from order_service.domain.immutable import immutable
from order_service.errors import Unavailable
from order_service.infra.batching import Gathering
from order_service.infra.redis import RedisAway, RedisGate

__all__ = ["CachedList", "CachedOrder", "Entry", "Lease", "OrderCache"]

logger = logging.getLogger(__name__)
K = TypeVar("K")
T = TypeVar("T")
# A place, the version that it must not fall short of (None: newer than any), and the value for it,
# if at hand.
News = tuple[Place, int | None, bytes | None]
_Asked = tuple[Place, Callable[[Place, bytes], Any]]  # what is looked up, and how it is decoded


@immutable
class Lease:
    """A miss, and the right to fill it with what is read from PostgreSQL from now on."""

    token: bytes


@immutable
class Entry:
    order_id: UUID
    version: int
    owner: UUID
    document: bytes


class OrderCache:
    """One a process. `start` it for the background retries, `close` it before its Redis client."""

    def __init__(self, redis: Redis, ttl_s: int, incarnation: str) -> None:
        """`incarnation`: of the log, as db.incarnation tells it."""
        self._redis = redis
        self._places = Places(incarnation)
        self._gate = RedisGate(redis)
        # A call of redis-py costs 120 us of CPU, one key more in an MGET 2 us: with 64 requests at
        # once that is what makes a cached order cheaper than the route that serves it. And a miss
        # takes three calls.
        self._reads: Gathering[str, bytes | None] = _together(self._read)
        self._leases: Gathering[_Asked, Any] = _together(self._lease)
        self._fills: Gathering[scripts.Call, Any] = _together(self._fill)
        self._ttl_s = ttl_s
        self._stale = StaleKeys()
        self._retrying: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._retrying = asyncio.create_task(self._retry_for_ever())

    async def close(self) -> None:
        """Ends the retries, after a last one."""
        if self._retrying is not None:
            self._retrying.cancel()
            await asyncio.wait((self._retrying,))
        for gathering in (self._reads, self._leases, self._fills):
            await gathering.close()
        with suppress(RedisAway, TimeoutError):
            async with asyncio.timeout(limits.CACHE_CLOSE_TIMEOUT_S):
                await self.retry_stale()
        if self._stale.found.is_set():
            logger.warning("Ended before Redis was told of %d changed keys.", len(self._stale))

    def stale_count(self) -> int:
        """Keys that Redis has yet to be told of."""
        return len(self._stale)

    # --- orders ---

    async def look_up(self, order_id: UUID) -> CachedOrder | Lease | None:
        """A hit; or a miss, and the lease for it; None: go on without the cache (bypass)."""
        return await self._look_up(self._places.order(order_id), decode_order)

    async def fill(
        self, order_id: UUID, lease: Lease, version: int, owner: UUID, document: bytes
    ) -> None:
        """Keeps what was read after `lease` was given, if nothing has changed since."""
        place = self._places.order(order_id)
        value = encode_order(place, CachedOrder(owner, version, document))
        await self._keep(place, lease, version, self._ttl_s, value)

    async def refresh(self, entries: Sequence[Entry]) -> None:
        """No look-up gives an older version any more. Replaces, never fills, never raises.

        To be awaited after the commit and before the answer that shows the version. If Redis cannot
        be told within REDIS_TIMEOUT_S, that is done in the background; no document is kept in
        memory for it.
        """
        news: list[News] = []
        for entry in entries:
            place = self._places.order(entry.order_id)
            cached = CachedOrder(entry.owner, entry.version, entry.document)
            news.append((place, entry.version, encode_order(place, cached)))
        with suppress(RedisAway):
            await self._tell(news)

    # --- the first page of a user's list ---

    async def look_up_list(self, user_id: UUID) -> CachedList | Lease | None:
        """As `look_up`."""
        return await self._look_up(self._places.list_of(user_id), decode_list)

    async def fill_list(self, user_id: UUID, lease: Lease, cached: CachedList) -> None:
        """As `fill`; for LIST_CACHE_TTL_S."""
        place = self._places.list_of(user_id)
        await self._keep(place, lease, 0, limits.LIST_CACHE_TTL_S, encode_list(place, cached))

    async def drop_lists(self, user_ids: Iterable[UUID]) -> None:
        """No look-up gives a page read before now any more. As `refresh`."""
        with suppress(RedisAway):
            await self._tell([(self._places.list_of(user_id), None, None) for user_id in user_ids])

    # --- for verify ---

    async def entries(self) -> AsyncIterator[tuple[UUID, CachedOrder]]:
        """Every order that is cached all the while, some perhaps twice. Raises Unavailable."""
        async for keys in self._pages(_or_unavailable, self._places.of_orders):
            order_ids = [
                order_id for key in keys if (order_id := self._places.order_id_of(key)) is not None
            ]
            places = [self._places.order(order_id) for order_id in order_ids]
            values: Sequence[Any] = ()
            if places:
                names = [place.entry for place in places]
                values = await _or_unavailable(partial(self._redis.mget, names))
            for order_id, place, value in zip(order_ids, places, values, strict=True):
                with suppress(ValueError):  # garbage is a miss here, too
                    if value is not None:
                        yield order_id, decode_order(place, value)

    async def delete(self, order_ids: Iterable[UUID]) -> None:
        """These are not cached, and what was read before now will not be. Raises Unavailable."""
        places = (self._places.order(order_id) for order_id in order_ids)
        while batch := list(islice(places, limits.STALE_RETRY_BATCH)):
            names = [name for place in batch for name in (place.entry, place.lease)]
            await _or_unavailable(partial(self._redis.unlink, *names))

    # --- what Redis could not be told ---

    async def retry_stale(self) -> None:
        """Nothing is left that Redis must be told. Raises RedisAway."""
        while overflows := self._stale.overflows_to_flush:
            await self._flush()
            self._stale.flushed(overflows)
        while batch := self._stale.next_batch():
            # No values: an outage must not keep documents in memory. The next reader fills what is
            # dropped.
            await self._tell([(place, version, None) for place, version in batch], insist=True)

    async def _retry_for_ever(self) -> None:
        while True:
            await self._stale.found.wait()
            try:
                await self.retry_stale()
            except RedisAway:
                await asyncio.sleep(limits.STALE_RETRY_S)
            except Exception:
                # Without this task old contents would stay, unseen, until their TTL ends.
                logger.exception("Could not retry what Redis has to be told.")
                await asyncio.sleep(limits.STALE_RETRY_S)

    async def _flush(self) -> None:
        """Deletes all entries and leases, page by page, as others may use this Redis database, too.

        Twice: the first round ends every lease that was given before it began; but one of them may
        have been used behind the scan's back. What that filled is there from the beginning of the
        second round, which finds it.
        """
        insist = partial(self._gate.run, insist=True)
        for _ in range(2):
            for beginning in self._places.beginnings:
                async for keys in self._pages(insist, beginning):
                    await self._gate.run(partial(self._redis.unlink, *keys), insist=True)

    async def _pages(
        self, run: Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]], beginning: bytes
    ) -> AsyncIterator[list[bytes]]:
        """The keys with this beginning, by SCAN: never empty pages, each command by `run`."""
        cursor = 0
        while True:
            scan = partial(
                self._redis.scan, cursor, match=beginning + b"*", count=limits.CACHE_SCAN_PAGE
            )
            cursor, keys = await run(scan)
            if keys:
                yield keys
            if cursor == 0:
                return

    # --- one round trip each ---

    async def _look_up(self, place: Place, decode: Callable[[Place, bytes], T]) -> T | Lease | None:
        if place in self._stale:
            return None

        try:
            value = await self._gathered(self._reads, self._read, place.entry)
            if value is not None:
                with suppress(ValueError):  # garbage: the script has it deleted
                    return decode(place, value)
            found: T | Lease | None = await self._gathered(
                self._leases, self._lease, (place, decode)
            )
            return found
        except RedisAway:
            return None

    async def _keep(
        self, place: Place, lease: Lease, version: int, ttl_s: int, value: bytes
    ) -> None:
        call = (place, (place.prefix, lease.token, version, ttl_s, value))
        with suppress(RedisAway):
            await self._gathered(self._fills, self._fill, call)

    async def _gathered(
        self, gathering: Gathering[K, T], fetch: Callable[[list[K]], Awaitable[list[T]]], key: K
    ) -> T:
        """While Redis does not answer one call at a time tries it: the others go on without."""
        if self._gate.is_open:
            return await gathering.get(key)
        (answer,) = await fetch([key])
        return answer

    # A burst had better wait for a Redis that answers than go to PostgreSQL. If it does not answer,
    # all who wait for these are let go within one time-out.

    async def _read(self, keys: list[str]) -> list[bytes | None]:
        return await self._gate.run(partial(self._strings, keys), queue_s=limits.REDIS_QUEUE_S)

    async def _lease(self, asked: list[_Asked]) -> list[Any]:
        return await self._gate.run(partial(self._leased, asked), queue_s=limits.REDIS_QUEUE_S)

    async def _fill(self, calls: list[scripts.Call]) -> list[Any]:
        return await self._gate.run(partial(self._replies, scripts.FILL, calls))

    async def _strings(self, keys: list[str]) -> list[bytes | None]:
        values: Any = await self._redis.mget(keys)
        if not isinstance(values, list) or len(values) != len(keys):
            raise InvalidResponse("the reply to another command")  # this connection is done with
        return values

    async def _leased(self, asked: list[_Asked]) -> list[Any]:
        """Misses, most likely; each atomically."""
        calls: list[scripts.Call] = [
            (place, (place.prefix, os.urandom(8), limits.CACHE_LEASE_MS)) for place, _ in asked
        ]
        replies = await self._replies(scripts.LOOK_UP, calls)
        found, wrong = [], None
        for (place, decode), reply in zip(asked, replies, strict=True):
            try:
                found.append(self._understood(place, reply, decode))
            except InvalidResponse as error:
                wrong = error
        if wrong is not None:
            raise wrong
        return found

    async def _replies(self, script: scripts.Script, calls: Sequence[scripts.Call]) -> list[Any]:
        """Of a script that does the same for each of the calls: what Redis refuses one, it refuses
        all."""
        replies = await scripts.run_many(self._redis, script, calls)
        for reply in replies:
            if isinstance(reply, RedisError):
                raise reply
        return replies

    def _understood(
        self, place: Place, reply: Any, decode: Callable[[Place, bytes], T]
    ) -> T | Lease | None:
        if reply is None:
            return None
        if isinstance(reply, list):
            token, discarded = reply
            if discarded:
                logger.warning("Discarded what stood under %s: not an entry.", place.entry)
            return Lease(token)
        try:
            return decode(place, reply)
        except ValueError as error:
            # Damaged, or the reply to another command: neither this entry nor this connection is to
            # be trusted.
            logger.error("Wrong value for %s: %s.", place.entry, error)
            self._stale.add(place, None)
            raise InvalidResponse(str(error)) from error

    async def _tell(self, news: Sequence[News], *, insist: bool = False) -> None:
        """Raises RedisAway if some of it could not be told; that is then remembered as stale."""
        if not news:
            return
        calls = [
            (place, self._superseding(place, version, value)) for place, version, value in news
        ]
        heard = [False] * len(news)
        try:
            replies = await self._gate.run(
                lambda: scripts.run_many(self._redis, scripts.SUPERSEDE, calls), insist=insist
            )
            heard = [not isinstance(reply, RedisError) for reply in replies]
        finally:  # also when the caller is cancelled: nobody knows whether Redis got it
            for (place, version, _), known in zip(news, heard, strict=True):
                (self._stale.discard if known else self._stale.add)(place, version)
        if not all(heard):
            raise RedisAway("refused")

    def _superseding(self, place: Place, version: int | None, value: bytes | None) -> Sequence[Any]:
        arguments = (place.prefix, "" if version is None else version)
        return arguments if value is None else (*arguments, self._ttl_s, value)


def _together(fetch: Callable[[list[K]], Awaitable[list[T]]]) -> Gathering[K, T]:
    return Gathering(
        fetch,
        together_max=limits.REDIS_TOGETHER_MAX,
        waiting_max=limits.REDIS_WAITING_MAX,
        overflow=lambda: RedisAway("too many calls at once"),
    )


async def _or_unavailable(command: Callable[[], Awaitable[T]]) -> T:
    try:
        return await command()
    except (RedisError, OSError) as error:
        raise Unavailable("dependency-unavailable", "Redis does not answer.") from error
