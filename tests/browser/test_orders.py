"""What the staff do with orders, from logging in to travelling in time."""

from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.browser.conftest import Staff
from tests.orders import ITEMS
from tests.stack import Stack


@pytest.fixture
def order(api: httpx.Client) -> dict[str, str]:
    placed: dict[str, str] = api.post("/orders/", json={"items": ITEMS}).raise_for_status().json()
    return placed


def card(page: Page, status: str, number: str) -> Locator:
    return page.locator(f"section[data-status={status}] .card").filter(has_text=number)


def open_board(page: Page) -> None:
    page.goto("/desk#/board")
    expect(page.locator(".live[data-state=live]")).to_be_visible()


def set_status(api: httpx.Client, order: dict[str, str], status: str) -> None:
    api.patch(f"/orders/{order['id']}/", json={"status": status}).raise_for_status()


def pay_by_the_board(page: Page, number: str) -> None:
    page.get_by_role("button", name=f"Move {number}").click()
    page.get_by_role("dialog").get_by_role("button", name="Mark as paid").click()


def test_a_wrong_password_says_so_and_the_right_one_opens_the_board(
    context: BrowserContext, stack: Stack, staff: Staff
) -> None:
    assert context.browser is not None
    with context.browser.new_context(base_url=stack.url) as stranger:
        page = stranger.new_page()
        page.goto("/desk")
        page.get_by_label("E-mail").fill(staff.email)
        page.get_by_label("Password").fill("not the password")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("alert")).not_to_be_empty()

        page.get_by_label("Password").fill(staff.password)
        page.get_by_role("button", name="Log in").click()

        expect(page.locator("main[data-screen=board]")).to_be_visible()
        kept = page.evaluate("JSON.stringify([localStorage, sessionStorage, location.href])")
        assert "eyJ" not in kept


def test_a_placed_order_appears_and_moves_by_preview_and_by_others(
    page: Page, api: httpx.Client
) -> None:
    open_board(page)
    order = api.post("/orders/", json={"items": ITEMS}).raise_for_status().json()
    expect(card(page, "PENDING", order["number"])).to_be_visible()

    pay_by_the_board(page, order["number"])
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("What would happen")).to_contain_text("Paid")
    assert api.get(f"/orders/{order['id']}/").json()["status"] == "PENDING"
    dialog.get_by_role("button", name="Mark as paid").click()

    expect(card(page, "PAID", order["number"])).to_be_visible()
    expect(card(page, "PENDING", order["number"])).to_have_count(0)
    set_status(api, order, "SHIPPED")
    expect(card(page, "SHIPPED", order["number"])).to_be_visible()


def test_who_was_too_late_sees_what_changed_and_applies_it_again(
    page: Page, api: httpx.Client, order: dict[str, str], expected: list[str]
) -> None:
    expected.append("412 (Precondition Failed)")
    open_board(page)
    pay_by_the_board(page, order["number"])
    expect(page.get_by_label("What would happen")).to_be_visible()
    note = {"sku": "PAD", "quantity": 1, "unit_price": "3.50"}
    api.post(f"/orders/{order['id']}/lines/", json=note).raise_for_status()

    page.get_by_role("dialog").get_by_role("button", name="Mark as paid").click()

    expect(page.locator("main[data-screen=conflict]")).to_contain_text("Order line added")
    page.get_by_role("button", name="Apply it to version 2").click()
    expect(page.locator("main[data-screen=conflict]")).to_have_count(0)
    assert api.get(f"/orders/{order['id']}/").json()["status"] == "PAID"


def test_an_order_is_shown_as_it_was_at_any_version(
    page: Page, api: httpx.Client, order: dict[str, str]
) -> None:
    for status in ("PAID", "SHIPPED", "DELIVERED"):
        set_status(api, order, status)
    page.goto(f"/desk#/orders/{order['number']}/timeline")
    then = page.locator("[data-version]")
    expect(then.locator("[data-status=DELIVERED]").first).to_be_visible()

    page.get_by_label("Version", exact=True).press("Home")

    expect(then).to_have_attribute("data-version", "1")
    expect(then.locator("[data-status=PENDING]").first).to_be_visible()
    assert "at=1" in page.url


def test_the_board_catches_up_after_the_network_was_away(
    page: Page, api: httpx.Client, order: dict[str, str], expected: list[str]
) -> None:
    expected.append("ERR_INTERNET_DISCONNECTED")
    open_board(page)
    expect(card(page, "PENDING", order["number"])).to_be_visible()

    page.context.set_offline(True)
    expect(page.locator(".live[data-state=offline]")).to_be_visible()
    set_status(api, order, "PAID")
    page.context.set_offline(False)

    expect(card(page, "PAID", order["number"])).to_be_visible()


@pytest.mark.parametrize(
    "screen", ["board", "orders", "orders/{number}", "orders/{number}/timeline"]
)
def test_a_screen_can_be_used_by_everybody(
    page: Page, order: dict[str, str], audit: Callable[[Page], list[str]], screen: str
) -> None:
    page.goto(f"/desk#/{screen.format(number=order['number'])}")
    page.get_by_text(order["number"]).first.wait_for()

    assert audit(page) == []
