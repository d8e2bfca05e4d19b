"""The cache: Redis behind a version gate and leases.

The promise: once `refresh` of a version has returned, no look-up in any process returns an older
version, even after concurrent reads, fills and refreshes, or a flush, eviction or restart of Redis.
The exception: while Redis does not answer, and up to a second longer, other processes may serve the
older version; this process bypasses the cache for these keys until Redis is up to date.

A miss, a damaged value and a full, hung or dead Redis are never errors. `entries` and `delete`,
which only `verify` uses, do raise: a comparison must not pass because it found nothing.
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

from order_service import limits
from order_service.cache import scripts
from order_service.cache.entries import (
    CachedList,
    CachedOrder,
    Slot,
    Slots,
    decode_list,
    decode_order,
    encode_list,
    encode_order,
)
from order_service.cache.stale_keys import StaleKeys
from order_service.domain.immutable import immutable
from order_service.errors import Unavailable
from order_service.infra.batching import Batching
from order_service.infra.redis import (
    InvalidResponse,
    Redis,
    RedisError,
    RedisGate,
    RedisUnavailable,
)

__all__ = ["CachedList", "CachedOrder", "Entry", "Lease", "OrderCache"]

logger = logging.getLogger(__name__)
K = TypeVar("K")
T = TypeVar("T")
# A slot, its required minimum version (None: newer than any), and its new value, if known.
Change = tuple[Slot, int | None, bytes | None]
_LookUp = tuple[Slot, Callable[[Slot, bytes], Any]]  # a slot and the decoder of its value


@immutable
class Lease:
    """A miss, and the right to fill the slot with a value read from PostgreSQL after this call."""

    token: bytes


@immutable
class Entry:
    order_id: UUID
    version: int
    owner: UUID | None
    document: bytes


class OrderCache:
    """One per process. `start` runs the background retries; `close` it before its Redis client."""

    def __init__(self, redis: Redis, ttl_s: int, incarnation: str) -> None:
        """`incarnation`: the log's, as read from PostgreSQL."""
        self._redis = redis
        self._slots = Slots(incarnation)
        self._gate = RedisGate(redis)
        # A call of redis-py takes 120 us of CPU, one more key in an MGET 2 us; a miss takes three
        # calls. With 64 concurrent requests a batched look-up costs less than the route.
        self._reads: Batching[str, bytes | None] = _batching(self._read)
        self._leases: Batching[_LookUp, Any] = _batching(self._lease)
        self._fills: Batching[scripts.Call, Any] = _batching(self._fill)
        self._ttl_s = ttl_s
        self._stale = StaleKeys()
        self._retrying: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._retrying = asyncio.create_task(self._retry_for_ever())

    async def close(self) -> None:
        """Stops the background retries and makes a last attempt."""
        if self._retrying is not None:
            self._retrying.cancel()
            await asyncio.wait((self._retrying,))
        for batching in (self._reads, self._leases, self._fills):
            await batching.close()
        with suppress(RedisUnavailable, TimeoutError):
            async with asyncio.timeout(limits.CACHE_CLOSE_TIMEOUT_S):
                await self.retry_stale()
        if self._stale.found.is_set():
            logger.warning(
                "Stopping with %d changed keys that are not updated in Redis.", len(self._stale)
            )

    def stale_count(self) -> int:
        """How many changed keys are not yet updated in Redis."""
        return len(self._stale)

    # --- orders ---

    async def look_up(self, order_id: UUID) -> CachedOrder | Lease | None:
        """A hit, or a miss with its lease, or None: bypass the cache."""
        return await self._look_up(self._slots.order(order_id), decode_order)

    async def fill(
        self, order_id: UUID, lease: Lease, version: int, owner: UUID | None, document: bytes
    ) -> None:
        """Caches a document that was read after `lease` began, unless the order has changed."""
        slot = self._slots.order(order_id)
        value = encode_order(slot, CachedOrder(owner, version, document))
        await self._keep(slot, lease, version, self._ttl_s, value)

    async def refresh(self, entries: Sequence[Entry]) -> None:
        """Replaces older entries, so that no look-up returns them. Never fills, never raises.

        Await it after the commit and before the response that shows the version. If Redis does not
        answer within REDIS_TIMEOUT_S, a background task retries without the documents.
        """
        changes: list[Change] = []
        for entry in entries:
            slot = self._slots.order(entry.order_id)
            cached = CachedOrder(entry.owner, entry.version, entry.document)
            changes.append((slot, entry.version, encode_order(slot, cached)))
        with suppress(RedisUnavailable):
            await self._supersede(changes)

    # --- the first page of a user's list ---

    async def look_up_list(self, user_id: UUID) -> CachedList | Lease | None:
        """Like `look_up`."""
        return await self._look_up(self._slots.list_of(user_id), decode_list)

    async def fill_list(self, user_id: UUID, lease: Lease, cached: CachedList) -> None:
        """Like `fill`; for LIST_CACHE_TTL_S."""
        slot = self._slots.list_of(user_id)
        await self._keep(slot, lease, 0, limits.LIST_CACHE_TTL_S, encode_list(slot, cached))

    async def drop_lists(self, user_ids: Iterable[UUID]) -> None:
        """Deletes the pages, so that no look-up returns one read before now. Like `refresh`."""
        with suppress(RedisUnavailable):
            await self._supersede(
                [(self._slots.list_of(user_id), None, None) for user_id in user_ids]
            )

    # --- for verify ---

    async def entries(self) -> AsyncIterator[tuple[UUID, CachedOrder]]:
        """Every order that is cached during the whole scan, some twice. Raises Unavailable."""
        async for keys in self._pages(_or_unavailable, self._slots.of_orders):
            order_ids = [
                order_id for key in keys if (order_id := self._slots.order_id_of(key)) is not None
            ]
            slots = [self._slots.order(order_id) for order_id in order_ids]
            values: Sequence[Any] = ()
            if slots:
                names = [slot.entry for slot in slots]
                values = await _or_unavailable(partial(self._redis.mget, names))
            for order_id, slot, value in zip(order_ids, slots, values, strict=True):
                with suppress(ValueError):  # garbage counts as a miss
                    if value is not None:
                        yield order_id, decode_order(slot, value)

    async def delete(self, order_ids: Iterable[UUID]) -> None:
        """Deletes the orders' entries and leases, so that no earlier read can fill them. Raises
        Unavailable."""
        slots = (self._slots.order(order_id) for order_id in order_ids)
        while batch := list(islice(slots, limits.STALE_RETRY_BATCH)):
            names = [name for slot in batch for name in (slot.entry, slot.lease)]
            await _or_unavailable(partial(self._redis.unlink, *names))

    # --- retries of failed updates ---

    async def retry_stale(self) -> None:
        """Brings Redis up to date. Raises RedisUnavailable."""
        while overflows := self._stale.overflows_to_flush:
            await self._flush()
            self._stale.flushed(overflows)
        while batch := self._stale.next_batch():
            # Without values, so that an outage keeps no documents in memory. This deletes entries;
            # the next reader fills them.
            await self._supersede([(slot, version, None) for slot, version in batch], insist=True)

    async def _retry_for_ever(self) -> None:
        while True:
            await self._stale.found.wait()
            try:
                await self.retry_stale()
            except RedisUnavailable:
                await asyncio.sleep(limits.STALE_RETRY_S)
            except Exception:
                # If this task ended, old contents would be served until their TTL expires.
                logger.exception("Retrying failed cache updates raised an error; retrying.")
                await asyncio.sleep(limits.STALE_RETRY_S)

    async def _flush(self) -> None:
        """Deletes all entries and leases, by SCAN: other programs may share the Redis database.

        Twice: the first round deletes every lease older than itself, but a lease may fill an entry
        that the scan has already passed. The second round finds and deletes that entry.
        """
        insist = partial(self._gate.run, insist=True)
        for _ in range(2):
            for key_prefix in self._slots.key_prefixes:
                async for keys in self._pages(insist, key_prefix):
                    await self._gate.run(partial(self._redis.unlink, *keys), insist=True)

    async def _pages(
        self, run: Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]], key_prefix: bytes
    ) -> AsyncIterator[list[bytes]]:
        """The keys with this prefix, in pages that are never empty; `run` runs each command."""
        cursor = 0
        while True:
            scan = partial(
                self._redis.scan, cursor, match=key_prefix + b"*", count=limits.CACHE_SCAN_PAGE
            )
            cursor, keys = await run(scan)
            if keys:
                yield keys
            if cursor == 0:
                return

    # --- one round trip each ---

    async def _look_up(self, slot: Slot, decode: Callable[[Slot, bytes], T]) -> T | Lease | None:
        if slot in self._stale:
            return None

        try:
            value = await self._batched(self._reads, self._read, slot.entry)
            if value is not None:
                with suppress(ValueError):  # garbage: LOOK_UP deletes it
                    return decode(slot, value)
            found: T | Lease | None = await self._batched(self._leases, self._lease, (slot, decode))
            return found
        except RedisUnavailable:
            return None

    async def _keep(self, slot: Slot, lease: Lease, version: int, ttl_s: int, value: bytes) -> None:
        call = (slot, (slot.prefix, lease.token, version, ttl_s, value))
        with suppress(RedisUnavailable):
            await self._batched(self._fills, self._fill, call)

    async def _batched(
        self, batching: Batching[K, T], fetch: Callable[[list[K]], Awaitable[list[T]]], key: K
    ) -> T:
        """The result for `key`, in a batch while Redis answers. During an outage one call at a time
        tries Redis, and the others raise RedisUnavailable."""
        if self._gate.is_open:
            return await batching.get(key)
        (result,) = await fetch([key])
        return result

    # In a burst, look-ups wait for Redis (`queue_s`) instead of going to PostgreSQL. If Redis does
    # not answer, all waiting look-ups fail within one time-out.

    async def _read(self, keys: list[str]) -> list[bytes | None]:
        return await self._gate.run(partial(self._strings, keys), queue_s=limits.REDIS_QUEUE_S)

    async def _lease(self, look_ups: list[_LookUp]) -> list[Any]:
        return await self._gate.run(partial(self._leased, look_ups), queue_s=limits.REDIS_QUEUE_S)

    async def _fill(self, calls: list[scripts.Call]) -> list[Any]:
        return await self._gate.run(partial(self._replies, scripts.FILL, calls))

    async def _strings(self, keys: list[str]) -> list[bytes | None]:
        values: Any = await self._redis.mget(keys)
        if not isinstance(values, list) or len(values) != len(keys):
            raise InvalidResponse("the reply to another command")  # closes the connection
        return values

    async def _leased(self, look_ups: list[_LookUp]) -> list[Any]:
        """Looks up each slot again, atomically, and returns a lease on a miss."""
        calls: list[scripts.Call] = [
            (slot, (slot.prefix, os.urandom(8), limits.CACHE_LEASE_MS)) for slot, _ in look_ups
        ]
        replies = await self._replies(scripts.LOOK_UP, calls)
        found, wrong = [], None
        for (slot, decode), reply in zip(look_ups, replies, strict=True):
            try:
                found.append(self._decoded(slot, reply, decode))
            except InvalidResponse as error:
                wrong = error
        if wrong is not None:
            raise wrong
        return found

    async def _replies(self, script: scripts.Script, calls: Sequence[scripts.Call]) -> list[Any]:
        """One reply per call. Raises the first error: Redis refuses a script for all keys alike."""
        replies = await scripts.run_many(self._redis, script, calls)
        for reply in replies:
            if isinstance(reply, RedisError):
                raise reply
        return replies

    def _decoded(
        self, slot: Slot, reply: Any, decode: Callable[[Slot, bytes], T]
    ) -> T | Lease | None:
        if reply is None:
            return None
        if isinstance(reply, list):
            token, discarded = reply
            if discarded:
                logger.warning("Deleted the value of %s: it was not a cache entry.", slot.entry)
            return Lease(token)
        try:
            return decode(slot, reply)
        except ValueError as error:
            # The value is damaged or the reply to another command: neither the entry nor the
            # connection can be trusted.
            logger.error("Cannot use the cached value of %s: %s.", slot.entry, error)
            self._stale.add(slot, None)
            raise InvalidResponse(str(error)) from error

    async def _supersede(self, changes: Sequence[Change], *, insist: bool = False) -> None:
        """Updates the slots. Raises RedisUnavailable if some fail, which are then kept as stale."""
        if not changes:
            return
        calls = [
            (slot, self._superseding(slot, version, value)) for slot, version, value in changes
        ]
        updated = [False] * len(changes)
        try:
            replies = await self._gate.run(
                lambda: scripts.run_many(self._redis, scripts.SUPERSEDE, calls), insist=insist
            )
            updated = [not isinstance(reply, RedisError) for reply in replies]
        finally:  # also on cancellation: Redis may or may not have received the calls
            for (slot, version, _), done in zip(changes, updated, strict=True):
                (self._stale.discard if done else self._stale.add)(slot, version)
        if not all(updated):
            raise RedisUnavailable("Redis refused an update")

    def _superseding(self, slot: Slot, version: int | None, value: bytes | None) -> Sequence[Any]:
        arguments = (slot.prefix, "" if version is None else version)
        return arguments if value is None else (*arguments, self._ttl_s, value)


def _batching(fetch: Callable[[list[K]], Awaitable[list[T]]]) -> Batching[K, T]:
    return Batching(
        fetch,
        batch_max=limits.REDIS_BATCH_MAX,
        waiting_max=limits.REDIS_WAITING_MAX,
        overflow=lambda: RedisUnavailable("too many calls at once"),
    )


async def _or_unavailable(command: Callable[[], Awaitable[T]]) -> T:
    try:
        return await command()
    except (RedisError, OSError) as error:
        raise Unavailable("dependency-unavailable", "Redis does not answer.") from error
