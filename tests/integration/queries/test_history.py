"""An order's history over HTTP: timeline, differences, notes; who may see what (P7)."""

import asyncio
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.domain.events import (
    OrderCanceled,
    OrderNoteAdded,
    OrderPlaced,
    OrderUnitsCanceled,
)
from order_service.settings import Settings
from tests.conftest import run_sql
from tests.support.http.accounts import Account, new_account
from tests.support.http.orders import change, place
from tests.support.log.examples import CAPTURED, PAID, PEN
from tests.support.log.given_log import RawEvent, given_order

SUBRESOURCES = ("events/", "diff/", "notes/", "shipping-address/")


@pytest.fixture
async def owner(web: httpx.AsyncClient, web_engine: AsyncEngine) -> Account:
    return await new_account(web_engine)


@pytest.fixture
async def staff(web: httpx.AsyncClient, web_engine: AsyncEngine) -> Account:
    return await new_account(web_engine, role="staff")


async def get(web: httpx.AsyncClient, who: Account, path: str) -> httpx.Response:
    return await web.get(path, headers=who.headers)


async def test_the_timeline_tells_what_happened_page_by_page(
    web: httpx.AsyncClient, owner: Account, staff: Account
) -> None:
    order = await place(web, owner)
    await change(web, staff, order, status="PAID")
    path = f"/orders/{order.json()['id']}/events/"

    first = (await get(web, owner, f"{path}?limit=2")).json()
    rest = (await get(web, owner, f"{path}?after_version=2")).json()
    by_staff = (await get(web, staff, f"/orders/{order.json()['number']}/events/")).json()

    assert [(e["version"], e["type"]) for e in first["events"]] == [
        (1, "OrderPlaced"),
        (2, "PaymentCaptured"),
    ]
    assert first["next_after_version"] == 2
    assert [(e["version"], e["type"]) for e in rest["events"]] == [(3, "OrderPaid")]
    assert rest["next_after_version"] is None
    assert first["events"][0]["data"]["total"] == "24.98"
    assert first["events"][0]["actor"] == {"type": "user", "id": owner.user_id}
    assert rest["events"][0]["actor"] == {"type": "staff"}
    assert [e["actor"].get("id") for e in by_staff["events"]] == [
        owner.user_id,
        staff.user_id,
        staff.user_id,
    ]


async def test_an_event_that_cannot_be_read_does_not_hide_the_others(
    web: httpx.AsyncClient, web_engine: AsyncEngine, owner: Account, staff: Account
) -> None:
    placed = OrderPlaced(UUID(owner.user_id), "USD", (PEN,), 0, 0, 1998)
    unknown = RawEvent("OrderFrobnicated", "{}")
    middle = await given_order(web_engine, placed, unknown, PAID)
    first = await given_order(web_engine, unknown, CAPTURED)

    shown = (await get(web, owner, f"/orders/{middle}/events/")).json()["events"]
    unknown_currency = (await get(web, staff, f"/orders/{first}/events/")).json()["events"]

    assert [(e["type"], e["data"] is None, e.get("unreadable")) for e in shown] == [
        ("OrderPlaced", False, None),
        ("OrderFrobnicated", True, True),
        ("OrderPaid", False, None),
    ]
    assert [e["data"] for e in unknown_currency] == [None, None]
    assert (await get(web, owner, f"/orders/{first}/events/")).status_code == 503
    assert (await get(web, owner, f"/orders/{middle}/diff/")).status_code == 503


async def test_two_versions_are_compared(web: httpx.AsyncClient, owner: Account) -> None:
    order = await place(web, owner)
    await change(web, owner, order, status="CANCELED")
    path = f"/orders/{order.json()['id']}/diff/"

    last = (await get(web, owner, path)).json()
    from_nothing = (await get(web, owner, f"{path}?to=1")).json()
    nothing = (await get(web, owner, f"{path}?from=2&to=2")).json()

    assert (last["from"], last["to"]) == (1, 2)
    assert {"pointer": "/status", "from": "PENDING", "to": "CANCELED"} in last["changes"]
    assert {"pointer": "/version", "from": 1, "to": 2} in last["changes"]
    assert from_nothing["changes"] == [{"pointer": "", "from": None, "to": order.json()}]
    assert nothing["changes"] == []
    wrong = ("?to=3", "?from=2&to=1", "?from=3", "?from=-1", "?to=x")
    refused = {query: await get(web, owner, path + query) for query in wrong}
    found = {query: (a.status_code, a.json()["type"]) for query, a in refused.items()}
    assert found == dict.fromkeys(wrong, (422, "/problems/validation"))


async def test_notes_are_shown_to_whom_they_are_for(
    web: httpx.AsyncClient, settings: Settings, owner: Account, staff: Account
) -> None:
    """A note of the owner's command is public, one of a command by staff is internal; one that was
    erased still says that it was there."""
    mine, theirs = await asyncio.gather(place(web, owner), place(web, owner))
    await change(web, owner, mine, status="CANCELED", note="Too late for me.")
    await change(web, staff, theirs, status="CANCELED", note="Never again.")
    ids = [order.json()["id"] for order in (mine, theirs)]

    seen = [(await get(web, owner, f"/orders/{i}/notes/")).json() for i in ids]
    [internal] = (await get(web, staff, f"/orders/{ids[1]}/notes/")).json()

    assert [[note["text"] for note in notes] for notes in seen] == [["Too late for me."], []]
    assert (seen[0][0]["visibility"], seen[0][0]["version"]) == ("public", 2)
    assert seen[0][0]["actor"] == {"type": "user", "id": owner.user_id}
    assert (internal["text"], internal["visibility"]) == ("Never again.", "internal")
    assert internal["actor"] == {"type": "staff", "id": staff.user_id}

    await run_sql(settings, "DELETE FROM order_texts", settings.DB_NAME)
    [erased] = (await get(web, owner, f"/orders/{ids[0]}/notes/")).json()
    assert erased == seen[0][0] | {"text": None, "kind": None}


async def test_notes_come_page_by_page_and_each_once(
    web: httpx.AsyncClient, web_engine: AsyncEngine, owner: Account
) -> None:
    first, second = uuid4(), uuid4()
    order_id = await given_order(
        web_engine,
        OrderPlaced(UUID(owner.user_id), "USD", (PEN,), 0, 0, 1998),
        OrderNoteAdded(uuid4(), "internal", uuid4()),
        OrderUnitsCanceled(1, 2, "OTHER", 0, first),
        OrderCanceled("OTHER", "PENDING", first),
        OrderNoteAdded(second, "public", uuid4()),
    )
    path = f"/orders/{order_id}/notes/"

    one = await get(web, owner, f"{path}?limit=2")
    rest = await get(web, owner, one.links["next"]["url"])

    assert [note["id"] for note in one.json()] == [str(first)]
    assert [note["id"] for note in rest.json()] == [str(second)]
    assert "next" not in rest.links


async def test_the_present_shipping_address_is_served_as_it_was_given(
    web: httpx.AsyncClient, owner: Account
) -> None:
    order_id = (await place(web, owner)).json()["id"]
    path = f"/orders/{order_id}/shipping-address/"
    address = {"name": "Ada", "line1": "Bahnhofstrasse 1", "country": "CH"}

    none = await get(web, owner, path)
    for city in ("Bern", "Zürich"):
        await web.put(path, json=address | {"city": city}, headers=owner.headers)
    present = await get(web, owner, path)

    assert (none.status_code, none.json()["type"]) == (404, "/problems/not-found")
    assert {k: v for k, v in present.json().items() if v} == address | {"city": "Zürich"}
    assert present.headers["cache-control"] == "private, no-cache"


async def test_another_s_order_has_no_history(
    web: httpx.AsyncClient, web_engine: AsyncEngine, owner: Account
) -> None:
    order = await place(web, owner)
    other = await new_account(web_engine)
    order_id = order.json()["id"]

    names = (order_id, "00000000-0000-7000-8000-0000000000f1", "nonsense")
    paths = [f"/orders/{name}/{path}" for name in names for path in SUBRESOURCES]
    answers = {path: await get(web, other, path) for path in paths}
    strangers = [await web.get(f"/orders/{order_id}/{path}") for path in SUBRESOURCES]

    found = {path: (a.status_code, a.json()["type"]) for path, a in answers.items()}
    assert found == dict.fromkeys(paths, (404, "/problems/order-not-found"))
    assert [path for path, answer in answers.items() if order_id in answer.text] == []
    assert [answer.status_code for answer in strangers] == [401] * len(SUBRESOURCES)


@pytest.mark.parametrize(
    "query", ["limt=5", "limit=1&limit=2", "limit=1_0", "limit=5.0", "after_version=%201"]
)
async def test_what_is_asked_is_heeded_or_refused(
    web: httpx.AsyncClient, owner: Account, query: str
) -> None:
    order_id = (await place(web, owner)).json()["id"]

    for path in ("events", "notes"):
        refused = await get(web, owner, f"/orders/{order_id}/{path}/?{query}")
        assert (refused.status_code, refused.json()["type"]) == (422, "/problems/validation")
