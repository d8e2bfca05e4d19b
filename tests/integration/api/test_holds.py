"""While a hold stands, nothing of the order ships."""

import httpx

from tests.support.http.accounts import Account
from tests.support.http.orders import act, change, place, problem


async def test_nothing_ships_until_every_hold_is_released(
    web: httpx.AsyncClient, owner: Account, staff: Account
) -> None:
    order = await place(web, owner)
    await change(web, staff, order, status="PAID")

    for reason in ("FRAUD_REVIEW", "AWAITING_STOCK"):
        held = await act(web, staff, order, "holds/", {"reason": reason})
    holds = [hold["id"] for hold in held.json()["holds"]]
    by_command = await act(web, staff, order, "shipments/", {})
    by_status = await change(web, staff, order, status="SHIPPED")
    one = await act(web, staff, order, f"holds/{holds[0]}/release/", {"note": "Checked."})
    again = await act(web, staff, order, f"holds/{holds[0]}/release/")
    still = await act(web, staff, order, "shipments/", {})
    await act(web, staff, order, f"holds/{holds[1]}/release/")
    shipped = await act(web, staff, order, "shipments/", {})

    assert held.json()["allowed_transitions"] == ["CANCELED"]
    assert problem(by_command) == problem(by_status) == (409, "order-on-hold")
    assert [hold["released"] for hold in one.json()["holds"]] == [True, False]
    assert again.headers["etag"] == one.headers["etag"]
    assert problem(still) == (409, "order-on-hold")
    assert shipped.json()["status"] == "SHIPPED"


async def test_a_canceled_order_cannot_be_held(
    web: httpx.AsyncClient, owner: Account, staff: Account
) -> None:
    order = await place(web, owner)
    await change(web, staff, order, status="CANCELED")

    assert problem(await act(web, staff, order, "holds/", {"reason": "OTHER"})) == (
        *(409, "invalid-transition"),
    )
    assert problem(await act(web, staff, order, f"holds/{order.json()['id']}/release/")) == (
        *(404, "not-found"),
    )
