"""A browser before the whole service, with somebody of the staff logged in.

Playwright keeps an event loop in its thread for as long as it runs, which pytest-asyncio's tests
would meet: so it lives as long as one file of tests, and these hold no asynchronous ones.
"""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from uuid import uuid4

import asyncpg
import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Page, expect

from order_service.stack.state import State
from tests.support.http.accounts import PASSWORD
from tests.support.servers.chromium import SIZE, WAIT_MS, complaints, log_in, running_browser
from tests.support.servers.stack import Stack, database_arguments
from tests.support.waiting import WAIT_S

AUDIT = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"], "resultTypes": ["violations"]}


@dataclass(frozen=True)
class Staff:
    email: str
    password: str


@dataclass(frozen=True)
class Customer:
    """`client`: what curl can do, as they."""

    id: str
    client: httpx.Client


@pytest.fixture(scope="session")
def staff(stack: Stack) -> Staff:
    email = f"staff-{uuid4().hex[:8]}@example.com"
    made = stack.run("create-user", email, "--role", "staff")
    return Staff(email, made.stdout.split()[-1])


@pytest.fixture(scope="session")
def api(stack: Stack, staff: Staff) -> Iterator[httpx.Client]:
    """What curl can do, as the staff."""
    with httpx.Client(base_url=stack.url, timeout=WAIT_S) as client:
        asked = {"username": staff.email, "password": staff.password}
        token = client.post("/token/", data=asked).raise_for_status().json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        yield client


@pytest.fixture
def customer(stack: Stack, api: httpx.Client) -> Iterator[Customer]:
    """Somebody new."""
    account = {"email": f"{uuid4().hex}@example.com", "password": PASSWORD}
    made = api.post("/register/", json=account).raise_for_status().json()
    login = {"username": account["email"], "password": PASSWORD}
    token = api.post("/token/", data=login).raise_for_status().json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=stack.url, headers=headers, timeout=WAIT_S) as client:
        yield Customer(made["id"], client)


@pytest.fixture(scope="module")
def context(stack: Stack, staff: Staff) -> Iterator[BrowserContext]:
    expect.set_options(timeout=WAIT_MS)
    with running_browser() as browser:
        context = browser.new_context(base_url=stack.url, viewport=SIZE)
        context.set_default_timeout(WAIT_MS)
        log_in(context, staff.email, staff.password)
        yield context


@pytest.fixture
def expected() -> list[str]:
    """Parts of complaints that a test brings about on purpose."""
    return []


@pytest.fixture
def page(context: BrowserContext, expected: list[str]) -> Iterator[Page]:
    """A page of somebody of the staff, which must not complain of anything unexpected."""
    page = context.new_page()
    found = complaints(page)
    yield page
    page.close()
    context.set_offline(False)
    assert [text for text in found if not any(part in text for part in expected)] == []


@pytest.fixture
def refusing(stack: Stack) -> Callable[[str], AbstractContextManager[None]]:
    """Inside `refusing(user_id)` nothing can be added to that customer's summary."""
    settings = State(stack.state).read()["settings"]

    def run(statement: str) -> None:
        """In a thread without a loop: Playwright's turns in this one."""

        async def work() -> None:
            connection = await asyncpg.connect(**database_arguments(settings))
            try:
                await connection.execute(f"ALTER TABLE read_models.customer_summary {statement}")
            finally:
                await connection.close()

        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, work()).result()

    @contextmanager
    def refusing(user_id: str) -> Iterator[None]:
        run(f"ADD CONSTRAINT refused CHECK (user_id <> '{user_id}') NOT VALID")
        try:
            yield
        finally:
            run("DROP CONSTRAINT refused")

    return refusing


@pytest.fixture
def audit() -> Callable[[Page], list[str]]:
    """Axe's serious and critical findings on the page as it stands."""

    def audit(page: Page) -> list[str]:
        found = Axe().run(page, options=AUDIT).response["violations"]
        return [
            f"{one['id']}: {node['html']}"
            for one in found
            if one["impact"] in {"serious", "critical"}
            for node in one["nodes"]
        ]

    return audit
