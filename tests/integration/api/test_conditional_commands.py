"""What stands before the rules of a command: order of evaluation, preconditions, keys, dry runs."""

from uuid import uuid4

import httpx
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.limits import EVENTS_SINCE_MAX
from order_service.settings import Settings
from tests.conftest import serving_with
from tests.support.http.accounts import Account, new_account
from tests.support.http.orders import ITEMS, act, change, place, problem, stored_events

REFUND = {"amount": "1", "reason": "GOODWILL"}


# --- preconditions --------------------------------------------------------------------------------


async def test_a_stale_version_is_told_what_has_happened_since(
    web: httpx.AsyncClient, owner: Account, staff: Account
) -> None:
    """Who of the staff it was, and what they noted among themselves, the owner is not told."""
    order = await place(web, owner)
    await act(web, owner, order, "notes/", {"text": "Ring"})
    await act(web, staff, order, "notes/", {"text": "VIP", "visibility": "internal"})
    await change(web, staff, order, status="PAID")
    seen = {"If-Match": '"1", "9", "x"'}

    stale = await change(web, owner, order, seen, status="CANCELED")
    by_staff = await change(web, staff, order, seen, status="CANCELED")
    unknown = await change(web, owner, order, {"If-Match": '"9"'}, status="CANCELED")
    weak = await change(web, owner, order, {"If-Match": 'W/"1"'}, status="CANCELED")
    weak_now = await change(web, owner, order, {"If-Match": 'W/"5"'}, status="CANCELED")

    assert problem(stale) == (412, "stale-version")
    assert (stale.json()["current_version"], stale.json()["current_etag"]) == (5, '"5"')
    since = stale.json()["events_since"]
    assert [(e["type"], e["actor"]) for e in since] == [
        ("OrderNoteAdded", {"type": "user", "id": owner.user_id}),
        ("PaymentCaptured", {"type": "staff"}),
        ("OrderPaid", {"type": "staff"}),
    ]
    assert since[0]["at"] < since[1]["at"]
    assert [e["type"] for e in by_staff.json()["events_since"]].count("OrderNoteAdded") == 2
    assert by_staff.json()["events_since"][-1]["actor"]["id"] == staff.user_id
    assert unknown.json()["events_since"] == []
    assert [problem(answer) for answer in (weak, weak_now)] == [(412, "stale-version")] * 2
    assert (weak.json()["events_since"], weak_now.json()["events_since"]) == (since, [])


async def test_of_many_events_since_the_newest_are_told(
    web: httpx.AsyncClient, owner: Account
) -> None:
    order = await place(web, owner)
    for number in range(EVENTS_SINCE_MAX + 1):
        await act(web, owner, order, "notes/", {"text": f"Note {number}"})

    stale = await change(web, owner, order, {"If-Match": '"1"'}, status="CANCELED")
    last = await change(web, owner, order, {"If-Match": f'"{EVENTS_SINCE_MAX + 1}"'}, status="PAID")

    assert len(stale.json()["events_since"]) == EVENTS_SINCE_MAX
    assert problem(last) == (403, "forbidden")


async def test_where_a_precondition_is_required_a_blind_change_is_refused(
    settings: Settings, web_engine: AsyncEngine
) -> None:
    async with serving_with(settings, REQUIRE_IF_MATCH="true") as web:
        owner = await new_account(web_engine)
        order = await place(web, owner)
        keyed = {"Idempotency-Key": "k", "If-Match": '"1"'}

        blind = await act(web, owner, order, "notes/", {"text": "a"})
        tagged = await act(web, owner, order, "notes/", {"text": "a"}, headers=keyed)
        del keyed["If-Match"]
        repeated = await act(web, owner, order, "notes/", {"text": "a"}, headers=keyed)
        counted = await act(web, owner, order, "notes/", {"text": "a", "expected_version": 2})
        any_version = await change(web, owner, order, {"If-Match": "*"}, status="CANCELED")

    assert problem(blind) == (428, "precondition-required")
    assert (blind.json()["current_etag"], blind.headers["cache-control"]) == ('"1"', "no-store")
    assert "If-Match" in blind.json()["detail"]
    assert [a.status_code for a in (tagged, repeated, counted, any_version)] == [200] * 4
    assert repeated.headers["idempotent-replayed"] == "true"


async def test_a_request_with_many_faults_is_told_the_first_of_them(
    web: httpx.AsyncClient, owner: Account, staff: Account, other: Account
) -> None:
    order = await place(web, owner)
    path = f"/orders/{order.json()['id']}/refunds/"
    stale = {"If-Match": '"9"', "Content-Type": "application/json"}
    broken, wrong, good = b"{", b'{"reason": "NONE"}', b'{"reason": "OTHER"}'
    anonymous: dict[str, str] = {}

    async def ask(who: dict[str, str], content: bytes, query: str = "") -> tuple[int, str]:
        return problem(await web.post(path + query, content=content, headers=stale | who))

    assert await ask(anonymous | {"Content-Type": "text/plain"}, broken) == (415, "about:blank")
    assert await ask(anonymous, broken) == (401, "authentication-required")
    assert await ask(other.headers, broken, "?dry-run=true") == (400, "malformed-request")
    assert await ask(other.headers, wrong) == (422, "validation")
    assert await ask(other.headers, good, "?dry-run=true") == (422, "validation")
    assert await ask(other.headers, good, "?dry_run=perhaps") == (422, "validation")
    assert await ask(other.headers, good) == (404, "order-not-found")
    assert await ask(owner.headers, good) == (403, "forbidden")
    assert await ask(staff.headers, good) == (412, "stale-version")
    del stale["If-Match"]
    assert await ask(staff.headers, good) == (422, "refund-exceeds-captured")


# --- keys -----------------------------------------------------------------------------------------


async def test_a_key_holds_per_target(
    web: httpx.AsyncClient, owner: Account, staff: Account, web_engine: AsyncEngine
) -> None:
    """The collection is one target and each order is another."""
    key = {"Idempotency-Key": "k"}
    order = await web.post("/orders/", json={"items": ITEMS}, headers=owner.headers | key)

    noted = await act(web, owner, order, "notes/", {"text": "a"}, headers=key)
    by_staff = await act(web, staff, order, "notes/", {"text": "b"}, headers=key)
    other_body = await act(web, owner, order, "notes/", {"text": "b"}, headers=key)
    other_command = await act(web, owner, order, "cancel/", {"reason": "FRAUD"}, headers=key)
    created = await web.post("/orders/", json={"items": ITEMS}, headers=owner.headers | key)
    again = await act(web, owner, order, "notes/", {"text": "a"}, headers=key)

    assert (noted.status_code, by_staff.status_code) == (200, 200)
    assert [problem(a) for a in (other_body, other_command)] == [
        (422, "idempotency-key-reused")
    ] * 2
    assert (created.status_code, created.content) == (201, order.content)
    assert (again.content, again.headers["etag"]) == (noted.content, '"2"')
    assert again.headers["consistency-token"] == noted.headers["consistency-token"]
    assert await stored_events(web_engine) == 3


async def test_a_repeat_may_name_the_order_by_its_number_but_no_other_part_of_it(
    web: httpx.AsyncClient, owner: Account
) -> None:
    order = await place(web, owner)
    headers = owner.headers | {"Idempotency-Key": "k"}
    by_id, by_number = (f"/orders/{order.json()[name]}/lines" for name in ("id", "number"))

    first = await web.delete(f"{by_id}/1/", headers=headers)
    again = await web.delete(f"{by_number}/1", headers=headers)
    other = await web.delete(f"{by_number}/2/", headers=headers)

    assert (first.status_code, again.content) == (200, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    assert problem(other) == (422, "idempotency-key-reused")


# --- dry runs -------------------------------------------------------------------------------------


async def test_a_dry_run_of_a_command_shows_what_would_happen_and_stores_nothing(
    web: httpx.AsyncClient, owner: Account, staff: Account, web_engine: AsyncEngine
) -> None:
    order = await place(web, owner)
    key = {"Idempotency-Key": "k"}
    pay = {"kind": "capture", "amount": "24.98"}

    would = await act(web, staff, order, "payments/", pay, headers=key, dry_run="true")
    no_op = await change(web, owner, order, status="PENDING")
    nothing = await web.patch(
        f"/orders/{order.json()['id']}/?dry_run=true",
        json={"status": "PENDING"},
        headers=owner.headers,
    )
    refused = await act(web, owner, order, "payments/", pay, dry_run="true")
    stale = await act(
        web, staff, order, "payments/", pay, headers={"If-Match": '"7"'}, dry_run="true"
    )
    paid = await act(web, staff, order, "payments/", pay, headers=key)

    assert (would.status_code, would.headers["cache-control"]) == (200, "no-store")
    assert not {"etag", "consistency-token", "idempotent-replayed"} & set(would.headers)
    assert (would.json()["order"]["status"], would.json()["order"]["version"]) == ("PAID", 3)
    assert would.json()["order"]["number"] == order.json()["number"]
    events = would.json()["events"]
    assert [(e["type"], e["version"]) for e in events] == [("PaymentCaptured", 2), ("OrderPaid", 3)]
    assert events[1]["data"] == {"total": "24.98", "captured": "24.98"}
    assert nothing.json() == {"order": no_op.json(), "events": []}
    assert (problem(refused), problem(stale)) == ((403, "forbidden"), (412, "stale-version"))
    assert stale.json()["events_since"] == []
    assert (paid.status_code, "idempotent-replayed" in paid.headers) == (200, False)
    assert await stored_events(web_engine) == 3


async def test_a_dry_run_of_a_creation_is_judged_like_one(
    web: httpx.AsyncClient, owner: Account, web_engine: AsyncEngine
) -> None:
    first = await place(web, owner, external_reference="cart-1")
    large = [{**ITEMS[0], **{f"k{n}": "x" * 255 for n in range(20)}}] * 200

    async def dry(**body: object) -> httpx.Response:
        content = {"items": ITEMS, **body}
        return await web.post("/orders/?dry_run=true", json=content, headers=owner.headers)

    would, taken = await dry(), await dry(external_reference="cart-1")
    wrong, too_large = await dry(total_price=1), await dry(items=large)

    order, (event,) = would.json()["order"], would.json()["events"]
    assert would.status_code == 200
    assert (order["id"], order["number"], order["version"]) == (None, None, 1)
    assert (order["status"], order["total_price"]) == ("PENDING", "24.98")
    assert (event["type"], event["data"]["lines"][1]["unit_price"]) == ("OrderPlaced", "5.00")
    assert problem(taken) == (409, "duplicate-reference")
    assert taken.json()["existing_order"] == first.json()["id"]
    assert (problem(wrong), problem(too_large)) == (
        (422, "total-mismatch"),
        (413, "about:blank"),
    )
    assert await stored_events(web_engine) == 1


# --- for others -----------------------------------------------------------------------------------


async def test_staff_place_orders_for_others(
    web: httpx.AsyncClient, owner: Account, staff: Account, other: Account
) -> None:
    placed = await place(
        web, staff, user_id=owner.user_id, shipping_fee="4.50", discount="0.48", total_price="29"
    )
    seen = await web.get(placed.headers["location"], headers=owner.headers)
    unknown = await place(web, staff, user_id=str(uuid4()))
    refused = await place(web, other, user_id=owner.user_id)

    assert (placed.status_code, placed.json()["user_id"]) == (201, owner.user_id)
    assert (placed.json()["shipping_fee"], placed.json()["discount"]) == ("4.50", "0.48")
    assert seen.content == placed.content
    assert problem(unknown) == (422, "validation")
    assert unknown.json()["errors"][0]["pointer"] == "#/user_id"
    assert problem(refused) == (403, "forbidden")
