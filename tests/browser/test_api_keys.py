"""The screen of API keys, which admins have."""

import time
from collections.abc import Callable
from uuid import uuid4

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Staff
from tests.support.servers.stack import Stack
from tests.support.waiting import LOOK_S, WAIT_S


@pytest.fixture(scope="module")
def staff(stack: Stack) -> Staff:
    """An admin, whom the page of this file's tests belongs to."""
    email = f"admin-{uuid4().hex[:8]}@example.com"
    made = stack.run("create-user", email, "--role", "admin")
    return Staff(email, made.stdout.split()[-1])


def test_a_key_is_created_shown_once_rotated_narrowed_and_revoked(
    page: Page, stack: Stack, audit: Callable[[Page], list[str]]
) -> None:
    name = f"shop {uuid4().hex[:8]}"
    page.goto("/desk")
    page.get_by_role("link", name="API keys").click()
    page.get_by_role("button", name="Create a key").click()
    page.get_by_label("Name").fill(name)
    page.get_by_label("orders:read").check()
    page.get_by_label("reports:read").check()
    page.get_by_label("Limit").fill("500/minute")
    assert audit(page) == []
    page.get_by_role("button", name="Create", exact=True).click()
    first = page.locator("[data-key]").inner_text()
    page.get_by_role("button", name="Done").click()

    row = page.get_by_role("row").filter(has_text=name)
    expect(row).to_contain_text("orders:read reports:read")
    expect(row).to_contain_text("500/minute")
    assert statuses(stack, first) == (200, 200)

    row.get_by_role("button", name="Rotate").click()
    page.get_by_role("dialog").get_by_role("button", name="Rotate").click()
    second = page.locator("[data-key]").inner_text()
    page.get_by_role("button", name="Done").click()
    assert first != second
    assert statuses(stack, first) == statuses(stack, second) == (200, 200)
    assert first[40:] not in page.content()
    assert audit(page) == []

    row.get_by_role("button", name="Narrow").click()
    page.get_by_label("reports:read").uncheck()
    page.get_by_role("button", name="Save").click()
    expect(row).not_to_contain_text("reports:read")
    wait_for(stack, second, (200, 403))

    row.get_by_role("button", name="Revoke").click()
    page.get_by_role("button", name="Revoke the key").click()
    expect(row).to_have_count(0)
    wait_for(stack, second, (401, 401))


def statuses(stack: Stack, key: str) -> tuple[int, int]:
    """Of reading the orders and a report."""
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=stack.url, headers=headers) as client:
        report = client.get("/reports/sales/?from=2026-01-01&to=2026-01-02")
        return client.get("/orders/").status_code, report.status_code


def wait_for(stack: Stack, key: str, wanted: tuple[int, int]) -> None:
    """Until each web process knows of the change. Playwright holds this thread's event loop."""
    until = time.monotonic() + WAIT_S
    while (found := statuses(stack, key)) != wanted:
        assert time.monotonic() < until, found
        time.sleep(LOOK_S)
