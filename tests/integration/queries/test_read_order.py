"""One order over HTTP: as it is (P5), as it was, and for whom (P7)."""

import asyncio
from uuid import UUID, uuid4

import httpx
import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service import limits
from order_service.cache.order_cache import OrderCache
from order_service.infra.postgres import WEB, create_engine
from order_service.main import create_app
from order_service.settings import Settings
from projections.operators import dead_letters
from projections.queries.order_reader import OrderReader
from projections.read_models.registry import PROJECTIONS
from tests.conftest import serving
from tests.support.http.accounts import Account, new_account
from tests.support.http.queries import get, new_order, set_status
from tests.support.log.given_log import POISON, given_order
from tests.support.read_side.read_side import PARTITIONS, advance_all, run
from tests.support.servers.proxy import proxy_to


async def test_an_order_is_read_before_any_read_model_has_it_then_from_the_cache(
    web: httpx.AsyncClient, owner: Account
) -> None:
    placed = await new_order(web, owner)

    first = await get(web, owner, f"/orders/{placed['id']}/")
    second = await get(web, owner, f"/orders/{placed['id']}")

    assert first.status_code == second.status_code == 200
    assert first.json() == second.json() == placed
    assert (first.headers["x-cache"], second.headers["x-cache"]) == ("miss", "hit")
    assert first.headers["etag"] == '"1"'
    assert first.headers["cache-control"] == "private, no-cache"
    assert "Authorization" in first.headers["vary"]


async def test_no_read_is_older_than_the_last_answer(
    web: httpx.AsyncClient,
    staff: Account,
    projector_engine: AsyncEngine,
    cache: OrderCache,
    redis: Redis,
) -> None:
    """With the cache filled, emptied and filled again; before and after the projection."""
    order_id = (await new_order(web, staff))["id"]

    for status, version in (("PAID", '"3"'), ("SHIPPED", '"5"'), ("DELIVERED", '"7"')):
        await get(web, staff, f"/orders/{order_id}/")
        await set_status(web, staff, order_id, status)
        assert (await get(web, staff, f"/orders/{order_id}/")).headers["etag"] == version
        await redis.flushdb()
        assert (await get(web, staff, f"/orders/{order_id}/")).headers["etag"] == version
        await advance_all(projector_engine, cache)
        assert (await get(web, staff, f"/orders/{order_id}/")).headers["etag"] == version


async def test_the_read_model_serves_the_bytes_of_the_command_s_answer(
    web: httpx.AsyncClient,
    owner: Account,
    projector_engine: AsyncEngine,
    cache: OrderCache,
    redis: Redis,
) -> None:
    placed = await new_order(web, owner)
    folded = await get(web, owner, f"/orders/{placed['id']}/")
    await advance_all(projector_engine, cache)
    await redis.flushdb()

    projected = await get(web, owner, f"/orders/{placed['id']}/")

    assert projected.headers["x-cache"] == "miss"
    assert projected.content == folded.content


async def test_without_redis_orders_are_read_all_the_same(
    settings: Settings, web_engine: AsyncEngine
) -> None:
    nowhere = settings.model_copy(update={"REDIS_PORT": 9, "RATE_LIMIT": "1000000/minute"})
    async with serving(create_app(nowhere)) as web:
        owner = await new_account(web_engine)
        placed = await new_order(web, owner)

        answer = await get(web, owner, f"/orders/{placed['id']}/")

    assert (answer.status_code, answer.headers["x-cache"]) == (200, "bypass")
    assert answer.json() == placed


async def test_a_known_version_is_not_sent_again(web: httpx.AsyncClient, owner: Account) -> None:
    placed = await new_order(web, owner)
    expected = {
        '"1"': 304,
        'W/"1"': 304,
        '"7", W/"1"': 304,
        "*": 304,
        '"2"': 200,
        "1": 200,
        '"11"': 200,
    }

    answers = {
        sent: await get(web, owner, f"/orders/{placed['id']}/", {"If-None-Match": sent})
        for sent in expected
    }

    assert {sent: answer.status_code for sent, answer in answers.items()} == expected
    assert {answer.headers["etag"] for answer in answers.values()} == {'"1"'}
    assert {a.content for a in answers.values() if a.status_code == 304} == {b""}


async def test_what_is_not_yours_and_what_does_not_exist_look_alike(
    web: httpx.AsyncClient, owner: Account, other: Account
) -> None:
    foreign = (await new_order(web, other))["id"]
    await get(web, other, f"/orders/{foreign}/")  # it is in the cache now

    paths = (
        foreign,
        str(uuid4()),
        str(UUID(int=0)),
        "nonsense",
        f"{{{foreign}}}",
        f"urn:{foreign}",
    )
    answers = [await get(web, owner, f"/orders/{path}/") for path in paths]

    assert {answer.status_code for answer in answers} == {404}
    assert {answer.json()["type"] for answer in answers} == {"/problems/order-not-found"}
    assert len({answer.json()["detail"] for answer in answers}) == 1


async def test_staff_see_every_order_and_ids_in_capitals_are_the_same_order(
    web: httpx.AsyncClient, owner: Account, staff: Account
) -> None:
    placed = await new_order(web, owner)

    answer = await get(web, staff, f"/orders/{placed['id'].upper()}/")

    assert answer.json() == placed


async def test_an_order_s_number_is_as_good_as_its_id(
    web: httpx.AsyncClient, owner: Account, other: Account
) -> None:
    placed = await new_order(web, owner)
    number: str = placed["number"]
    _, digits, check = number.split("-")

    capitals = await get(web, owner, f"/orders/{number}/")
    small = await get(web, owner, f"/orders/{number.lower()}/")
    assert [capitals.json(), small.json()] == [placed, placed]
    nobodys = f"A-{digits}-{(int(check) + 1) % 10}", f"A-{int(digits) + 4}-{check}", "A-100042-1"
    foreign = await get(web, other, f"/orders/{number}/")
    answers = [foreign, *[await get(web, owner, f"/orders/{text}/") for text in nobodys]]

    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.json()["detail"] for answer in answers}) == 1


async def test_orders_that_are_read_together_are_each_reader_s_own(
    web: httpx.AsyncClient,
    owner: Account,
    projector_engine: AsyncEngine,
    cache: OrderCache,
    redis: Redis,
) -> None:
    """They share statements and calls of Redis: with what is in no read model yet, too, and what
    does not exist."""
    placed = [await new_order(web, owner) for _ in range(20)]
    await advance_all(projector_engine, cache)
    placed += [await new_order(web, owner) for _ in range(4)]
    await redis.flushdb()
    paths = [f"/orders/{order['id']}/" for order in placed]

    *found, missing = await asyncio.gather(
        *(get(web, owner, path) for path in [*paths, f"/orders/{uuid4()}/"])
    )
    again = await asyncio.gather(*(get(web, owner, path) for path in paths))

    assert [answer.json() for answer in found] == placed
    assert [answer.json() for answer in again] == placed
    assert {answer.headers["x-cache"] for answer in again} == {"hit"}
    assert missing.status_code == 404


async def test_a_burst_of_readers_costs_few_loads(
    web: httpx.AsyncClient, owner: Account, web_engine: AsyncEngine
) -> None:
    placed = await new_order(web, owner)

    answers = await asyncio.gather(
        *(get(web, owner, f"/orders/{placed['id']}/") for _ in range(50))
    )

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1


async def test_an_unreadable_order_is_given_in_its_last_readable_version(
    web: httpx.AsyncClient,
    owner: Account,
    web_engine: AsyncEngine,
    projector_engine: AsyncEngine,
    cache: OrderCache,
    redis: Redis,
) -> None:
    placed = await new_order(web, owner)
    await given_order(web_engine, POISON, stream_id=UUID(placed["id"]), expected=1)
    await redis.flushdb()

    answers = [await get(web, owner, f"/orders/{placed['id']}/")]
    await advance_all(projector_engine, cache)
    answers.append(await get(web, owner, f"/orders/{placed['id']}/", {"If-None-Match": "*"}))

    for answer in answers:
        assert answer.status_code == 200
        assert answer.json() == placed
        assert answer.headers["order-stale"] == "true"
        assert "etag" not in answer.headers
        assert answer.headers["x-cache"] == "miss"


async def test_an_order_with_a_skipped_event_is_served_by_its_stream(
    web: httpx.AsyncClient,
    staff: Account,
    projector_engine: AsyncEngine,
    cache: OrderCache,
    redis: Redis,
) -> None:
    await run(
        projector_engine,
        "ALTER TABLE read_models.order_view_1 ADD CONSTRAINT odd CHECK (status <> 'PAID')",
    )
    order_id = (await new_order(web, staff))["id"]
    await set_status(web, staff, order_id, "PAID")
    await advance_all(projector_engine, cache)
    await run(projector_engine, "ALTER TABLE read_models.order_view_1 DROP CONSTRAINT odd")
    skipped = await dead_letters.skip(
        projector_engine, cache, PROJECTIONS["order_view"], UUID(order_id), "a test"
    )
    await redis.flushdb()

    answer = await get(web, staff, f"/orders/{order_id}/")

    assert skipped is True
    assert (answer.json()["status"], answer.headers["etag"]) == ("PAID", '"3"')


async def test_reads_of_a_hung_database_end_together(
    settings: Settings, cache: OrderCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second waits for the first, since that may have read too early for it: both of them no
    longer than one may."""
    monkeypatch.setattr(limits, "LOAD_WAIT_S", 0.2)
    order_id = uuid4()
    async with proxy_to(settings.DB_HOST, settings.DB_PORT) as proxy:
        through = settings.model_copy(update={"DB_HOST": "127.0.0.1", "DB_PORT": proxy.port})
        engine = create_engine(through, WEB, application_name="test-web")
        reader = OrderReader(engine, cache, PARTITIONS)
        proxy.replies = False
        reads = [asyncio.create_task(reader.read(order_id)) for _ in range(2)]
        ended, waiting = await asyncio.wait(reads, timeout=limits.DRIVER_TIMEOUT_S)
        proxy.heal()
        proxy.cut()
        await engine.dispose()

    assert not waiting
    assert {type(read.exception()) for read in ended} == {TimeoutError}
