"""A real browser: the machine's Chromium, else Debian's, unpacked in the virtual environment."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from order_service.stack.programs import CHROMIUM, find

# For measurements: precise heap sizes, and garbage collection on demand.
ARGUMENTS = ["--enable-precise-memory-info", "--js-flags=--expose-gc"]
WAIT_MS = 60_000  # however busy the machine is
SIZE = {"width": 1280, "height": 800}


@contextmanager
def running_browser() -> Iterator[Browser]:
    """A headless browser, in a sandbox unless root runs it: Chromium has no sandbox for root."""
    programs = find(CHROMIUM, lambda text: print(text, file=sys.stderr))
    names = (names[0] for names in CHROMIUM.needs)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=programs.path(*names),
            env={**os.environ, **programs.env},
            chromium_sandbox=os.geteuid() != 0,
            args=ARGUMENTS,
        )
        try:
            yield browser
        finally:
            browser.close()


def log_in(context: BrowserContext, email: str, password: str) -> None:
    """Logs in every page of the context, until the refresh token expires."""
    page = context.new_page()
    page.goto("/desk")
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()
    page.locator("main[data-screen]").wait_for()
    page.close()


def complaints(page: Page) -> list[str]:
    """The list that receives the page's problems from now on: script errors, console warnings and
    errors, violations of the content security policy.
    """
    found: list[str] = []

    def note(text: str) -> None:
        found.append(text)

    def console(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            note(f"{message.text} {message.location.get('url', '')}")

    page.on("console", console)
    page.on("pageerror", lambda error: note(f"{error.name}: {error.message}"))
    page.expose_function("policyViolated", note)
    page.add_init_script(
        "addEventListener('securitypolicyviolation', "
        "(e) => policyViolated(`${e.violatedDirective} ${e.blockedURI}`))"
    )
    return found
