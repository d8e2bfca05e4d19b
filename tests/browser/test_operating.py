"""The screens of those who run the service."""

import shlex
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import httpx
import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.browser.conftest import Customer
from tests.support.http.desk import placed
from tests.support.servers.stack import Stack

Refusing = Callable[[str], AbstractContextManager[None]]
SCREENS = ("events", "projections", "health", "sales")


@pytest.mark.parametrize("screen", SCREENS)
def test_a_screen_can_be_used_by_everybody(
    page: Page, api: httpx.Client, audit: Callable[[Page], list[str]], screen: str
) -> None:
    order = placed(api)

    page.emulate_media(color_scheme="dark")
    page.goto(f"/desk#/{screen}?order={order['number']}")  # fewer rows to look at
    page.locator("tbody tr, .tile, .chart").first.wait_for()

    assert audit(page) == []


def test_the_log_is_followed_filtered_and_leads_to_the_order(page: Page, api: httpx.Client) -> None:
    page.goto("/desk#/events")
    expect(page.locator("[data-state=live]")).to_be_visible()
    order = placed(api)
    rows = page.locator("tbody tr").filter(has_text=order["id"][:13])
    expect(rows).to_have_count(1)
    page.get_by_label("Order", exact=True).fill(order["number"])
    page.keyboard.press("Enter")
    api.patch(f"/orders/{order['id']}/", json={"status": "CANCELED"}).raise_for_status()

    expect(page.locator("tbody tr")).to_have_count(2)
    page.get_by_label("Type").select_option("OrderCanceled")

    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_role("button", name="Order canceled").click()
    expect(page.locator("dialog pre")).to_contain_text(order["id"])
    page.get_by_role("link", name="Open the order").click()
    expect(page.locator("main[data-screen=order]")).to_be_visible()


def test_what_the_page_reads_curl_can_read(
    page: Page, context: BrowserContext, api: httpx.Client
) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    order = placed(api)
    page.goto("/desk#/events")
    page.get_by_role("row").filter(has_text=order["id"][:13]).get_by_role("button").click()

    page.get_by_role("dialog").get_by_role("button", name="Copy as curl").click()
    expect(page.get_by_text("Copied. ")).to_be_visible()

    copied = page.evaluate("navigator.clipboard.readText()")
    token = api.headers["Authorization"].removeprefix("Bearer ")
    assert token not in copied
    curl, _, header, url = shlex.split(copied.replace("$TOKEN", token))
    name, value = header.split(": ")
    [event] = httpx.get(url, headers={name: value}).raise_for_status().json()["events"]
    assert (curl, event["type"], event["version"]) == ("curl", "OrderPlaced", 1)
    assert order["id"] in url


def test_the_log_goes_on_without_a_hole_after_the_network_was_away(
    page: Page, api: httpx.Client, expected: list[str]
) -> None:
    expected.append("ERR_INTERNET_DISCONNECTED")
    page.goto("/desk#/events")
    expect(page.locator("[data-state=live]")).to_be_visible()

    page.context.set_offline(True)
    expect(page.locator("[data-state=offline]")).to_be_visible()
    orders = [placed(api) for _ in range(5)]
    page.context.set_offline(False)

    for order in orders:
        expect(page.locator("tbody tr").filter(has_text=order["id"][:13])).to_have_count(1)
    expect(page.locator("[data-state=live]")).to_be_visible()


def test_what_came_while_it_was_paused_is_shown_afterwards(page: Page, api: httpx.Client) -> None:
    page.goto("/desk#/events")
    expect(page.locator("[data-state=live]")).to_be_visible()
    page.get_by_role("button", name="Pause").click()
    order = placed(api)
    row = page.locator("tbody tr").filter(has_text=order["id"][:13])
    expect(row).to_have_count(0)

    page.get_by_role("button", name="Resume").click()

    expect(row).to_have_count(1)


def test_a_read_model_is_rebuilt_while_one_looks_on_and_rolled_back(
    page: Page, api: httpx.Client
) -> None:
    page.goto("/desk#/projections")
    tile = page.locator("[data-projection=sales_by_day]")
    generation = tile.locator("[data-generation]")
    before = generation.get_attribute("data-generation") or ""

    tile.get_by_role("button", name="Rebuild").click()
    page.get_by_role("dialog").get_by_role("button", name="Rebuild").click()

    swapped = expect(generation, f"generation {before} gives way")
    swapped.not_to_have_attribute("data-generation", before)
    expect(tile.locator("[data-rebuild=done]")).to_be_visible()
    tile.get_by_role("button", name="Roll back").click()
    page.get_by_role("dialog").get_by_role("button", name="Roll back").click()
    expect(generation).to_have_attribute("data-generation", before)


def test_a_dead_letter_is_tried_again_until_it_can_be_applied(
    page: Page, customer: Customer, refusing: Refusing
) -> None:
    with refusing(customer.id):
        letter = open_dead_letter(page, placed(customer.client))
        letter.get_by_role("button", name="Retry").click()
        expect(page.get_by_text("Not applied: ")).to_be_visible()
        expect(letter).to_have_count(1)

    letter.get_by_role("button", name="Retry").click()

    expect(page.get_by_text("Applied", exact=True)).to_be_visible()
    expect(letter).to_have_count(0)


def test_a_dead_letter_is_skipped_with_a_reason(
    page: Page, customer: Customer, refusing: Refusing, stack: Stack
) -> None:
    with refusing(customer.id):
        letter = open_dead_letter(page, placed(customer.client))
        letter.get_by_role("button", name="Skip").click()
        expect(page.get_by_role("button", name="Skip the event")).to_be_disabled()
        page.get_by_label("Reason").fill("The summary is made anew tonight")
        page.get_by_role("button", name="Skip the event").click()

        expect(page.get_by_text("Skipped", exact=True)).to_be_visible()
        expect(letter).to_have_count(0)
    assert stack.run("replay", "customer_summary").returncode == 0


def open_dead_letter(page: Page, order: dict[str, Any]) -> Locator:
    """The row of the order's dead letter, which comes soon."""
    page.goto("/desk#/projections?projection=customer_summary")
    letter = page.locator("tbody tr").filter(has_text=order["number"])
    expect(letter).to_have_count(1)  # the page looks every ten seconds
    return letter


def test_health_names_what_runs(page: Page) -> None:
    page.goto("/desk#/health")

    for name in ("postgresql", "redis", "rabbitmq"):
        expect(page.locator(f"[data-check={name}]")).to_contain_text("ok")
    for role in ("web", "relay", "consumer", "worker"):
        cell = page.get_by_role("cell", name=role, exact=True)
        expect(cell.first).to_be_visible()
    expect(page.get_by_role("img", name="Latency")).to_be_visible()


def test_sales_lead_to_the_orders_behind_them(page: Page, api: httpx.Client) -> None:
    placed(api, listed=True)
    page.goto("/desk#/sales")

    page.locator("[data-currency=USD]").get_by_role("link", name="orders").click()

    expect(page.locator("main[data-screen=list]")).to_be_visible()
    assert "currency=USD" in page.url
