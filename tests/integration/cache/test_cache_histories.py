"""No order of the steps of readers, writers and evictions makes the cache return older versions."""

import asyncio
from collections.abc import Iterator, Sequence
from itertools import combinations
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from order_service.cache.entries import Slots
from order_service.cache.order_cache import CachedOrder, Lease, OrderCache
from order_service.infra.redis import connect
from order_service.settings import Settings
from tests.support.read_side.cached import TTL_S, entry, fill, filled


class History:
    """One order, its log and its actors; each step of an actor is one round trip or read."""

    def __init__(self, cache: OrderCache, redis: Redis) -> None:
        self.cache, self.redis, self.order_id = cache, redis, uuid4()
        self.key = Slots("").order(self.order_id).entry
        self.committed = 1
        self.acknowledged = 0  # the highest version whose refresh has returned
        self.held: dict[str, tuple[object, int]] = {}

    async def step(self, actor: str, step: str) -> None:
        found, version = self.held.get(actor, (None, 0))
        match step:
            case "look up":
                found = await self.cache.look_up(self.order_id)
                if isinstance(found, CachedOrder):
                    assert found.version >= self.acknowledged
            case "read":
                version = self.committed
            case "fill" if isinstance(found, Lease):
                await fill(self.cache, found, version, self.order_id)
            case "commit":
                version = self.committed = self.committed + 1
            case "refresh":
                await self.cache.refresh([entry(version, self.order_id)])
                self.acknowledged = max(self.acknowledged, version)
            case "evict":
                await self.redis.delete(self.key)
        self.held[actor] = (found, version)
        await self.check()

    async def check(self) -> None:
        """Asserts the version that any other process would read now, without creating a lease."""
        value = await self.redis.get(self.key)
        if value is not None:
            assert self.acknowledged <= int(value.split(b":")[2]) <= self.committed


READER = ("look up", "read", "fill")
WRITER = ("commit", "refresh")
PROJECTION = ("read", "refresh")  # may be late, with an old version
EVICTION = ("evict",)


def merges(first: Sequence[str], *others: Sequence[str]) -> Iterator[list[tuple[int, str]]]:
    """Every order in which these sequences of steps can happen, as (actor, step)."""
    if not others:
        yield [(0, step) for step in first]
        return
    for rest in merges(*others):
        for places in combinations(range(len(first) + len(rest)), len(first)):
            mine, theirs = iter(first), iter(rest)
            merged: list[tuple[int, str]] = []
            for place in range(len(first) + len(rest)):
                if place in places:
                    merged.append((0, next(mine)))
                else:
                    actor, step = next(theirs)
                    merged.append((actor + 1, step))
            yield merged


@pytest.mark.parametrize(
    "actors",
    [
        (READER, READER, WRITER),
        (READER, WRITER, PROJECTION, EVICTION),
        (READER, WRITER, WRITER),
    ],
    ids=["two readers, a writer", "reader, writer, projection, eviction", "reader, two writers"],
)
async def test_no_order_of_steps_makes_the_cache_go_back(
    cache: OrderCache, redis: Redis, actors: tuple[Sequence[str], ...]
) -> None:
    async def play(steps: list[tuple[int, str]], filled_before: bool) -> None:
        history = History(cache, redis)
        if filled_before:
            await filled(cache, 1, history.order_id)
        for actor, step in steps:
            await history.step(str(actor), step)

    plays = [(steps, before) for steps in merges(*actors) for before in (False, True)]
    for begin in range(0, len(plays), 16):
        await asyncio.gather(*(play(*one) for one in plays[begin : begin + 16]))


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_long_random_histories_never_go_back(data: st.DataObject) -> None:
    """Three readers, two writers and a projection take many steps, with evictions."""
    programs = {
        "r1": READER,
        "r2": READER,
        "r3": READER,
        "w1": WRITER,
        "w2": WRITER,
        "p": PROJECTION,
    }
    actors = data.draw(st.lists(st.sampled_from([*programs, "evict"]), min_size=20, max_size=80))

    async def play() -> None:
        redis = connect(Settings())  # type: ignore[call-arg]
        history, done = History(OrderCache(redis, TTL_S, ""), redis), dict.fromkeys(programs, 0)
        for actor in actors:
            if actor == "evict":
                await history.step(actor, "evict")
                continue
            program = programs[actor]
            await history.step(actor, program[done[actor] % len(program)])
            done[actor] += 1
        await redis.aclose()

    asyncio.run(play())
