"""The screens of those who run the service."""

from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.desk import place

REBUILT_MS = 30_000
SCREENS = ("events", "projections", "health", "sales")


@pytest.mark.parametrize("screen", SCREENS)
def test_a_screen_can_be_used_by_everybody(
    page: Page, api: httpx.Client, audit: Callable[[Page], list[str]], screen: str
) -> None:
    order = place(api)

    page.emulate_media(color_scheme="dark")
    page.goto(f"/desk#/{screen}?order={order['number']}")  # fewer rows to look at
    page.locator("tbody tr, .tile, .chart").first.wait_for()

    assert audit(page) == []


def test_the_log_is_followed_filtered_and_leads_to_the_order(page: Page, api: httpx.Client) -> None:
    page.goto("/desk#/events")
    expect(page.locator("[data-state=live]")).to_be_visible()
    order = place(api)
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


def test_the_log_goes_on_without_a_hole_after_the_network_was_away(
    page: Page, api: httpx.Client, expected: list[str]
) -> None:
    expected.append("ERR_INTERNET_DISCONNECTED")
    page.goto("/desk#/events")
    expect(page.locator("[data-state=live]")).to_be_visible()

    page.context.set_offline(True)
    expect(page.locator("[data-state=offline]")).to_be_visible()
    orders = [place(api) for _ in range(5)]
    page.context.set_offline(False)

    for order in orders:
        expect(page.locator("tbody tr").filter(has_text=order["id"][:13])).to_have_count(1)
    expect(page.locator("[data-state=live]")).to_be_visible()


def test_what_came_while_it_was_paused_is_shown_afterwards(page: Page, api: httpx.Client) -> None:
    page.goto("/desk#/events")
    expect(page.locator("[data-state=live]")).to_be_visible()
    page.get_by_role("button", name="Pause").click()
    order = place(api)
    row = page.locator("tbody tr").filter(has_text=order["id"][:13])
    expect(row).to_have_count(0)

    page.get_by_role("button", name="Go on").click()

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
    swapped.not_to_have_attribute("data-generation", before, timeout=REBUILT_MS)
    expect(tile.locator("[data-rebuild=done]")).to_be_visible()
    tile.get_by_role("button", name="Roll back").click()
    page.get_by_role("dialog").get_by_role("button", name="Roll back").click()
    expect(generation).to_have_attribute("data-generation", before)


def test_health_names_what_runs(page: Page) -> None:
    page.goto("/desk#/health")

    for name in ("postgresql", "redis", "rabbitmq"):
        expect(page.locator(f"[data-check={name}]")).to_contain_text("ok")
    for role in ("web", "relay", "consumer", "worker"):
        cell = page.get_by_role("cell", name=role, exact=True)
        expect(cell.first).to_be_visible()
    expect(page.get_by_role("img", name="Latency")).to_be_visible()


def test_sales_lead_to_the_orders_behind_them(page: Page, api: httpx.Client) -> None:
    place(api)
    page.goto("/desk#/sales")

    page.locator("[data-currency=USD]").get_by_role("link", name="orders").click()

    expect(page.locator("main[data-screen=list]")).to_be_visible()
    assert "currency=USD" in page.url
