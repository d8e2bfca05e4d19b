"""A user's list over HTTP: pages, filters, the cached first page, and for whom (P7)."""

from uuid import uuid4

import httpx
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.cache.order_cache import OrderCache
from tests.support.http.accounts import Account
from tests.support.http.queries import get, new_order, set_status, walk
from tests.support.read_side.read_side import advance_all


async def test_a_list_is_newest_first_page_by_page(
    web: httpx.AsyncClient, owner: Account, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    ids = [(await new_order(web, owner))["id"] for _ in range(5)]
    await advance_all(projector_engine, cache)

    pages = await walk(web, owner, f"/orders/user/{owner.user_id}/?limit=2")

    newest_first = ids[::-1]
    assert pages == [newest_first[:2], newest_first[2:4], newest_first[4:]]


async def test_a_list_can_be_filtered_by_status(
    web: httpx.AsyncClient, staff: Account, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    ids = [(await new_order(web, staff))["id"] for _ in range(4)]
    await set_status(web, staff, ids[1], "PAID")
    await set_status(web, staff, ids[2], "CANCELED")
    await advance_all(projector_engine, cache)

    path = f"/orders/user/{staff.user_id}/?limit=1&status="
    assert await walk(web, staff, f"{path}PAID,CANCELED") == [[ids[2]], [ids[1]]]
    assert await walk(web, staff, f"{path}SHIPPED") == [[]]


async def test_the_first_page_is_cached_until_the_projection_changes_it(
    web: httpx.AsyncClient, owner: Account, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    path = f"/orders/user/{owner.user_id}/"
    empty = await get(web, owner, path)
    again = await get(web, owner, path)

    placed = await new_order(web, owner)
    await advance_all(projector_engine, cache)
    fresh = await get(web, owner, path)

    assert (empty.headers["x-cache"], again.headers["x-cache"]) == ("miss", "hit")
    assert empty.content == again.content == b"[]"
    assert (fresh.headers["x-cache"], fresh.json()) == ("miss", [placed])


async def test_a_cached_first_page_leads_on_to_the_second(
    web: httpx.AsyncClient, owner: Account, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    ids = [(await new_order(web, owner))["id"] for _ in range(51)]
    await advance_all(projector_engine, cache)
    path = f"/orders/user/{owner.user_id}/"
    await get(web, owner, path)

    pages = await walk(web, owner, path)

    assert pages == [ids[:0:-1], ids[:1]]


async def test_a_cursor_is_of_use_for_its_own_list_only(
    web: httpx.AsyncClient,
    owner: Account,
    staff: Account,
    projector_engine: AsyncEngine,
    cache: OrderCache,
) -> None:
    for _ in range(2):
        await new_order(web, owner)
    await advance_all(projector_engine, cache)
    path = f"/orders/user/{owner.user_id}/"
    link = (await get(web, owner, f"{path}?limit=1")).links["next"]["url"]
    cursor = httpx.URL(link).params["cursor"]

    changed = cursor[:-1] + ("A" if cursor[-1] != "A" else "B")
    refused = [
        await get(web, owner, f"{path}?cursor={changed}"),
        await get(web, owner, f"{path}?cursor=nonsense"),
        await get(web, owner, f"{path}?cursor=%C3%A9%00"),
        await get(web, owner, f"{path}?cursor={cursor}&status=PENDING"),
        await get(web, staff, f"/orders/user/{staff.user_id}/?cursor={cursor}"),
    ]

    assert {answer.status_code for answer in refused} == {400}
    assert {answer.json()["type"] for answer in refused} == {"/problems/invalid-cursor"}


async def test_lists_belong_to_their_user_and_to_staff(
    web: httpx.AsyncClient, owner: Account, other: Account, staff: Account
) -> None:
    path = f"/orders/user/{owner.user_id}/"

    foreign = await get(web, other, path)
    assert (foreign.status_code, foreign.json()["type"]) == (403, "/problems/forbidden")
    assert (await get(web, staff, path)).json() == []
    assert (await get(web, staff, f"/orders/user/{uuid4()}/")).status_code == 404
    assert (await web.get(path)).status_code == 401


async def test_a_list_refuses_what_it_cannot_answer(web: httpx.AsyncClient, owner: Account) -> None:
    too_long = "A" * 200
    queries = ("limit=0", "limit=201", "limit=x", "status=LOST", "status=", f"cursor={too_long}")

    answers = [await get(web, owner, f"/orders/user/{owner.user_id}/?{q}") for q in queries]

    assert {a.status_code for a in answers} == {422}
    assert {a.json()["type"] for a in answers} == {"/problems/validation"}
    refused = [a.json()["errors"][0]["parameter"] for a in answers]
    assert refused == ["limit", "limit", "limit", "status", "status", "cursor"]
