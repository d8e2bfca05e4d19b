"""Many orders in one request: each judged alone, each repeatable alone."""

from typing import Any

import httpx
import orjson
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service import limits
from order_service.documents.consistency_token import parse
from tests.support.http.accounts import Account
from tests.support.http.orders import ITEMS, place, problem, stored_events

GOOD = {"items": ITEMS}


async def bulk(web: httpx.AsyncClient, who: Account, orders: Any, **headers: str) -> httpx.Response:
    return await web.post(
        "/orders/bulk/", json={"orders": orders}, headers={**who.headers, **headers}
    )


async def test_wrong_orders_hold_up_no_others(
    web: httpx.AsyncClient, owner: Account, web_engine: AsyncEngine
) -> None:
    taken = await place(web, owner, external_reference="cart-1")
    wrong = [{**GOOD, "total_price": 1}, 7, {"items": []}, {**GOOD, "external_reference": "cart-1"}]

    answer = await bulk(web, owner, [GOOD, *wrong, GOOD])

    results = answer.json()["results"]
    assert answer.status_code == 200
    assert [r["index"] for r in results] == [0, 1, 2, 3, 4, 5]
    assert [r["status"] for r in results] == [201, 422, 422, 422, 409, 201]
    placed = (await web.get(f"/orders/{results[5]['id']}/", headers=owner.headers)).json()
    assert (placed["number"], placed["version"]) == (results[5]["number"], results[5]["version"])
    assert results[1]["problem"]["type"] == "/problems/total-mismatch"
    assert results[1]["problem"]["expected"] == "24.98"
    assert results[3]["problem"]["errors"][0]["pointer"] == "#/items"
    assert results[4]["problem"]["existing_order"] == taken.json()["id"]
    assert await stored_events(web_engine) == 3
    versions = [t.version for t in parse(answer.headers["consistency-token"], 4)]
    assert versions in ([1], [1, 1])


async def test_each_order_has_a_key_of_its_own_from_that_of_the_request(
    web: httpx.AsyncClient, owner: Account, web_engine: AsyncEngine
) -> None:
    first = await bulk(web, owner, [GOOD] * 3, **{"Idempotency-Key": "load"})

    again = await bulk(web, owner, [GOOD] * 3, **{"Idempotency-Key": "load"})
    alone = await web.post(
        "/orders/", json=GOOD, headers={**owner.headers, "Idempotency-Key": "load/1"}
    )
    other = await bulk(web, owner, [GOOD, {"items": ITEMS[:1]}], **{"Idempotency-Key": "load"})
    too_long = await bulk(web, owner, [GOOD], **{"Idempotency-Key": "k" * 254})

    assert len({r["id"] for r in first.json()["results"]}) == 3
    assert again.json() == first.json()
    assert alone.json()["id"] == first.json()["results"][1]["id"]
    assert alone.headers["idempotent-replayed"] == "true"
    assert other.json()["results"][1]["problem"]["type"] == "/problems/idempotency-key-reused"
    assert problem(too_long) == (400, "idempotency-key-invalid")
    assert await stored_events(web_engine) == 3


async def test_a_dry_run_in_bulk_stores_nothing(
    web: httpx.AsyncClient, owner: Account, web_engine: AsyncEngine
) -> None:
    answer = await web.post(
        "/orders/bulk/?dry_run=true", json={"orders": [GOOD, 7]}, headers=owner.headers
    )

    would, wrong = answer.json()["results"]
    assert (would["status"], would["order"]["total_price"]) == (200, "24.98")
    assert would["events"][0]["type"] == "OrderPlaced"
    assert wrong["status"] == 422
    assert await stored_events(web_engine) == 0


async def test_bulk_takes_two_hundred_orders_and_eight_megabytes(
    web: httpx.AsyncClient, owner: Account, web_engine: AsyncEngine
) -> None:
    padded = {"items": [{**ITEMS[0], **{f"k{n}": "x" * 255 for n in range(20)}}]}
    over = orjson.dumps({"orders": ["x" * 8 * 1024 * 1024]})
    headers = {**owner.headers, "Content-Type": "application/json"}

    full = await bulk(web, owner, [padded] * 200)
    too_many = await bulk(web, owner, [7] * 201)
    none = await bulk(web, owner, [])
    too_large = await web.post("/orders/bulk", content=over, headers=headers)
    elsewhere = await web.post("/orders/", content=over[: 3 * 1024 * 1024], headers=headers)

    assert {r["status"] for r in full.json()["results"]} == {201}
    assert await stored_events(web_engine) == 200
    assert [problem(a) for a in (too_many, none)] == [(422, "validation")] * 2
    assert (too_large.status_code, too_large.json()["max_bytes"]) == (413, 8 * 1024 * 1024)
    most = limits.ORDER_BODY_BYTES_MAX
    assert (elsewhere.status_code, elsewhere.json()["max_bytes"]) == (413, most)
