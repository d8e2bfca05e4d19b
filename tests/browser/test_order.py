"""One order: what may be done with it, what became of it, and what if somebody else was faster."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.contract.walk import ADDRESS
from tests.support.http.desk import changed, placed, status_of


def open_order(page: Page, order: dict[str, Any], below: str = "") -> None:
    page.goto(f"/desk#/orders/{order['number']}{below}")
    expect(page.get_by_role("heading", level=1)).to_contain_text(order["number"])


def test_only_what_may_be_done_is_offered_and_the_rest_says_why(
    page: Page, api: httpx.Client
) -> None:
    order = placed(api)
    open_order(page, order)
    actions = page.get_by_label("Actions and customer")
    actions.get_by_text("Not now").click()
    refused = actions.get_by_role("button", name="Ship everything")
    expect(refused).to_have_attribute("aria-disabled", "true")
    expect(actions).to_contain_text("not paid")

    actions.get_by_role("button", name="Record a payment").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Amount").fill("1.00")
    expect(dialog.get_by_label("Preview")).to_contain_text("1.00 USD captured")
    dialog.get_by_role("button", name="Record a payment").click()

    expect(page.locator("[data-axis=payment]")).to_have_text("Partially paid")


def test_what_others_do_is_shown_at_once(page: Page, api: httpx.Client) -> None:
    order = placed(api)
    open_order(page, order)
    expect(page.locator("[data-axis=status]")).to_have_text("Pending")

    changed(api, order, "PAID")

    expect(page.locator("[data-axis=status]")).to_have_text("Paid")
    ship = page.get_by_role("button", name="Ship everything")
    expect(ship).to_be_visible()
    expect(ship).not_to_have_attribute("aria-disabled", "true")


@pytest.mark.parametrize("answer", ["Apply to version 4", "Discard"])
def test_who_was_faster_is_told_and_nothing_is_typed_again(
    page: Page, api: httpx.Client, expected: list[str], answer: str
) -> None:
    expected.append("412 (Precondition Failed)")
    order = placed(api)
    changed(api, order, "PAID")  # two events: version 3
    open_order(page, order)
    page.get_by_role("button", name="Ship units").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Tracking number").fill("T-4711")
    expect(dialog.get_by_label("Preview")).to_contain_text("T-4711")
    note = {"text": "Please ring twice.", "visibility": "internal"}
    api.post(f"/orders/{order['id']}/notes/", json=note).raise_for_status()

    dialog.get_by_role("button", name="Ship units").click()

    expect(page.get_by_role("heading", level=1)).to_contain_text("changed since you opened it")
    expect(page.locator(".events")).to_contain_text("An internal note was added.")
    expect(page.locator(".events")).to_contain_text("you")
    page.get_by_role("button", name=answer).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(order["number"])
    shipped = answer.startswith("Apply")
    assert status_of(api, order) == ("SHIPPED" if shipped else "PAID")
    expect(page.get_by_text("T-4711")).to_have_count(1 if shipped else 0)


def test_one_travels_in_time(page: Page, api: httpx.Client) -> None:
    order = placed(api)
    for status in ("PAID", "SHIPPED", "DELIVERED"):
        changed(api, order, status)
    open_order(page, order, "/timeline")
    then = page.locator("section[data-version]")
    expect(then.locator("[data-axis=status]")).to_have_text("Delivered")

    page.get_by_label("Version", exact=True).fill("1")
    expect(then.locator("[data-axis=status]")).to_have_text("Pending")
    page.keyboard.press("Tab")
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(then.locator("[data-axis=status]")).to_have_text("Paid")
    assert "at=3" in page.url
    page.get_by_label("Compare with version").select_option("1")

    expect(page.locator(".changes")).to_contain_text("Captured")
    page.reload()
    expect(page.locator(".changes")).to_contain_text("Captured")
    page.get_by_text("JSON", exact=True).click()
    expect(page.locator("pre")).to_contain_text('"type": "OrderPaid"')
    event = api.get(f"/orders/{order['id']}/events/").json()["events"][2]
    expect(page.locator(".details")).to_contain_text(event["correlation_id"])


@pytest.mark.parametrize("below", ["", "/timeline?at=2", "/conflict?from=1"])
def test_an_order_can_be_read_by_everybody(
    page: Page, api: httpx.Client, audit: Callable[[Page], list[str]], below: str
) -> None:
    order = placed(api)
    changed(api, order, "PAID")

    open_order(page, order, below)
    page.locator("[data-axis=status], .changes").first.wait_for()

    assert audit(page) == []
    page.emulate_media(color_scheme="dark")
    assert audit(page) == []
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_keys_are_listed(page: Page, api: httpx.Client) -> None:
    order = placed(api)
    open_order(page, order)

    page.keyboard.press("?")

    expect(page.get_by_role("dialog", name="Keyboard")).to_contain_text("Timeline")
    page.keyboard.press("Escape")
    page.keyboard.press("t")
    expect(page.get_by_label("Version", exact=True)).to_be_visible()


def statement(page: Page) -> dict[str, str]:
    rows = page.locator(".statement tr")
    return {row.locator("th").inner_text(): row.locator("td").inner_text() for row in rows.all()}


def test_the_money_is_a_statement_that_adds_up(page: Page, api: httpx.Client) -> None:
    pen = {"sku": "PEN", "quantity": 3, "unit_price": "10.00", "discount": "3.00", "tax": "1.50"}
    order = placed(api, items=[pen], discount="2.00", shipping_fee="5.00", tax_included=False)
    paths = f"/orders/{order['id']}/"
    capture = {"kind": "capture", "source": "provider", "provider_reference": "pi_1"}
    api.post(f"{paths}payments/", json={**capture, "amount": "41.50"}).raise_for_status()
    cancel = {"quantity": 1, "reason": "OUT_OF_STOCK"}
    canceled = api.post(f"{paths}lines/1/cancel/", json=cancel).raise_for_status().json()
    refund = canceled["refunds"][0]["id"]
    api.post(f"{paths}refunds/{refund}/settle/", json={}).raise_for_status()

    open_order(page, order)

    assert statement(page) == {
        "Goods": "20.00",
        "Discounts": "\u2212 3.33",
        "Taxes": "1.00",
        "Shipping": "5.00",
        "Total": "22.67",
        "Payment 1 pi_1": "\u2212 41.50",
        "Refund 1, out of stock": "8.83",
        "Credit of the customer": "10.00",
    }


def test_an_order_is_edited_after_its_payment_with_a_preview(page: Page, api: httpx.Client) -> None:
    order = placed(api)
    changed(api, order, "PAID")
    open_order(page, order)

    page.get_by_role("button", name="Edit the order").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Units of Pen").fill("1")
    dialog.get_by_label("Remove INK").check()
    dialog.get_by_label("SKU of the further line").fill("CAP")
    dialog.get_by_label("Units of the further line").fill("1")
    dialog.get_by_label("Price of the further line").fill("3.00")
    expect(dialog.get_by_label("Preview")).to_contain_text("24.98 USD became 12.99 USD")
    expect(dialog.get_by_label("Preview")).to_contain_text("Refund of 11.99 USD requested")
    dialog.get_by_label("Keep what is overpaid").check()
    expect(dialog.get_by_label("Preview")).not_to_contain_text("Refund")
    dialog.get_by_role("button", name="Edit the order").click()

    expect(page.locator(".statement")).to_contain_text("Credit of the customer")
    assert statement(page)["Credit of the customer"] == "11.99"
    assert [item["quantity"] for item in api.get(f"/orders/{order['id']}/").json()["items"]] == [
        1,
        1,
    ]


def test_the_customer_is_shown_on_request_and_labels_are_set(page: Page, api: httpx.Client) -> None:
    contact = {"email": "ada@example.com", "name": "Ada Lovelace", "phone": "+44 20 7946 0000"}
    order = placed(
        api,
        customer=contact,
        shipping_address=ADDRESS,
        billing_address={**ADDRESS, "city": "Paris"},
        tags=["gift"],
        metadata={"channel": "web"},
    )
    open_order(page, order)
    aside = page.get_by_label("Actions and customer")
    expect(page.get_by_label("Flags")).to_contain_text("gift")
    expect(aside).to_contain_text("Guest")
    expect(aside).to_contain_text("channel")
    expect(aside).not_to_contain_text("Lovelace")

    aside.get_by_role("button", name="Show contact and addresses").click()
    expect(aside).to_contain_text("Ada Lovelace")
    expect(aside).to_contain_text("ada@example.com")
    expect(aside).to_contain_text("London")
    expect(aside).to_contain_text("Paris")
    aside.get_by_role("button", name="Set tags").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Tags").fill("express, gift")
    dialog.get_by_role("button", name="Set tags").click()
    expect(page.get_by_label("Flags")).to_contain_text("express")
    aside.get_by_role("button", name="Set metadata").click()
    dialog.get_by_label("Metadata").fill("basket = A = 1")
    dialog.get_by_role("button", name="Set metadata").click()
    expect(aside).to_contain_text("A = 1")
    aside.get_by_role("button", name="Hold the order").click()
    dialog.get_by_role("button", name="Hold the order").click()
    expect(page.get_by_label("Flags")).to_contain_text("On hold")
    page.get_by_role("button", name="Release the hold").click()
    dialog.get_by_role("button", name="Release the hold").click()

    expect(page.get_by_label("Flags")).not_to_contain_text("On hold")
    assert api.get(f"/orders/{order['id']}/").json()["metadata"] == {"basket": "A = 1"}
