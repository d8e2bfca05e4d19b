"""Login, board and list: what operators see of many orders, and do with them."""

from collections.abc import Callable, Iterator
from uuid import uuid4

import httpx
import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.browser.conftest import Staff
from tests.support.http.desk import changed, place_many, placed, status_of
from tests.support.servers.stack import Stack

# More cards than a board may keep, fed to it as the stream does. Answers what it kept, and how
# often it asked to be drawn.
FLOOD = """async () => {
  const { Board } = await import("/desk/board_store.js");
  let drawn = 0;
  const board = new Board(() => { drawn += 1; });
  const card = (n) => ({
    id: String(n), number: `A-${n}`, status: n % 2 ? "PENDING" : "DELIVERED", flags: [], version: 1,
    currency: "USD", total_price: "0.10", created_at: "2026-01-01T00:00:00.000000Z",
    updated_at: new Date(n * 1000).toISOString(),
  });
  const message = (n) => Array.from({ length: 500 }, (_, i) => card(n + i));
  for (let n = 0; n < 30000; n += 500) board.receive(message(n));
  for (let n = 0; n < 500; n += 1) board.receive([{ ...card(29999), version: n + 2 }]);
  await new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)));
  board.stop();
  const { columns } = board.sorted;
  const times = columns.PENDING.map((card) => card.updated_at);
  return { kept: board.cards.size, drawn, newest: board.cards.get("29999").version,
    pending: columns.PENDING.length, inOrder: `${times}` === `${[...times].sort().reverse()}`,
    total: board.columns.get("PENDING").totals.get("USD") };
}"""


def column(page: Page, status: str) -> Locator:
    return page.locator(f".column[data-status={status}]")


def open_board(page: Page, order: dict[str, str] | None = None) -> None:
    """`order`: the only one in sight."""
    page.goto(f"/desk#/board?text={order['number']}" if order else "/desk#/board")
    expect(page.locator(".live[data-state=live]")).to_be_visible()


@pytest.fixture
def stranger(context: BrowserContext, stack: Stack) -> Iterator[Page]:
    """A page of a browser that nobody has logged in with."""
    assert context.browser is not None
    fresh = context.browser.new_context(base_url=stack.url)
    yield fresh.new_page()
    fresh.close()


# --- login ----------------------------------------------------------------------------------------


def test_a_login_survives_a_reload_and_ends_with_log_out(stranger: Page, staff: Staff) -> None:
    stranger.goto("/desk#/orders?view=to-ship")
    stranger.get_by_label("E-mail").fill(staff.email)
    stranger.get_by_label("Password").fill("not this one")
    stranger.get_by_role("button", name="Log in").click()
    expect(stranger.get_by_role("alert")).to_contain_text("do not match")
    stranger.get_by_label("Password").fill(staff.password)
    stranger.get_by_role("button", name="Log in").click()

    expect(stranger.get_by_role("button", name="To ship")).to_have_attribute("aria-pressed", "true")
    stranger.reload()
    expect(stranger.get_by_role("button", name="To ship")).to_be_visible()
    kept = stranger.evaluate("JSON.stringify({...localStorage, ...sessionStorage})")
    assert "eyJ" not in kept
    assert stranger.evaluate("document.cookie") == ""

    stranger.get_by_role("button", name="Log out").click()
    expect(stranger.get_by_role("button", name="Log in")).to_be_visible()
    stranger.reload()
    expect(stranger.get_by_role("button", name="Log in")).to_be_visible()


def test_the_desk_is_not_for_customers(stranger: Page, api: httpx.Client) -> None:
    email = f"{uuid4().hex}@example.com"
    account = {"email": email, "password": "correct horse battery"}
    api.post("/register/", json=account).raise_for_status()

    stranger.goto("/desk")
    stranger.get_by_label("E-mail").fill(email)
    stranger.get_by_label("Password").fill(account["password"])
    stranger.get_by_role("button", name="Log in").click()

    expect(stranger.get_by_role("heading", name="The desk is for staff")).to_be_visible()


# --- board ----------------------------------------------------------------------------------------


def test_an_order_appears_and_moves_as_it_happens(page: Page, api: httpx.Client) -> None:
    open_board(page)
    order = placed(api)
    expect(column(page, "PENDING")).to_contain_text(order["number"])

    changed(api, order, "PAID")

    expect(column(page, "PAID")).to_contain_text(order["number"])
    expect(column(page, "PENDING")).not_to_contain_text(order["number"])


def test_what_happened_without_a_connection_is_shown_afterwards(
    page: Page, api: httpx.Client, expected: list[str]
) -> None:
    expected.append("ERR_INTERNET_DISCONNECTED")
    order = placed(api)
    open_board(page, order)
    expect(column(page, "PENDING")).to_contain_text(order["number"])

    page.context.set_offline(True)
    expect(page.locator(".live[data-state=offline]")).to_be_visible()
    changed(api, order, "PAID")
    page.context.set_offline(False)

    expect(column(page, "PAID")).to_contain_text(order["number"])


def test_a_dragged_card_is_moved_after_a_preview(page: Page, api: httpx.Client) -> None:
    order = placed(api)
    open_board(page, order)

    column(page, "PENDING").locator(".card").drag_to(column(page, "PAID"))
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Preview")).to_contain_text("captured")
    assert status_of(api, order) == "PENDING"
    dialog.get_by_role("button", name="Mark as paid").click()

    expect(column(page, "PAID")).to_contain_text(order["number"])
    assert status_of(api, order) == "PAID"


def test_the_keyboard_moves_a_card_and_is_told_why_not(
    page: Page, api: httpx.Client, expected: list[str]
) -> None:
    expected.append("409 (Conflict)")
    order = placed(api)
    open_board(page, order)
    expect(column(page, "PENDING")).to_contain_text(order["number"])

    page.keyboard.press("j")
    page.keyboard.press("m")
    page.get_by_role("dialog").get_by_role("button", name="Mark as delivered").press("Enter")

    dialog = page.get_by_role("dialog", name="Mark as delivered")
    expect(dialog.get_by_role("alert")).to_contain_text("Cannot go from PENDING to DELIVERED")
    expect(dialog.get_by_role("button", name="Mark as delivered")).to_be_disabled()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


def test_a_flood_of_cards_is_bounded_and_drawn_once_a_frame(page: Page) -> None:
    open_board(page)

    found = page.evaluate(FLOOD)

    assert found["kept"] <= 10_500
    assert found["pending"] > 9_000, "orders with work left stay before those without"
    assert found["newest"] == 501
    assert found["inOrder"]
    assert found["drawn"] <= 3
    assert found["total"] == "1500.00"  # 15,000 times 0.10, also of those that are not kept


def test_only_cards_in_sight_are_in_the_page(page: Page, api: httpx.Client) -> None:
    place_many(api, 200, uuid4().hex)
    open_board(page)
    cards = column(page, "PENDING").locator(".card")
    expect(cards.first).to_be_visible()

    assert cards.count() < 40
    height = column(page, "PENDING").locator("ul").evaluate("(list) => list.clientHeight")
    assert height >= 200 * 78


# --- list -----------------------------------------------------------------------------------------


def test_orders_are_found_and_paid_together_with_an_outcome_each(
    page: Page, api: httpx.Client, expected: list[str]
) -> None:
    expected += ["409 (Conflict)", "412 (Precondition Failed)"]
    sku = uuid4().hex
    items = [{"sku": sku, "quantity": 1, "unit_price": "5.00"}]
    orders = [placed(api, listed=True, items=items) for _ in range(3)]
    changed(api, orders[0], "CANCELED")
    page.goto("/desk#/orders")
    page.locator("tbody").wait_for()
    page.keyboard.press("/")
    page.keyboard.type(sku)
    page.keyboard.press("Enter")
    expect(page.locator("tbody tr")).to_have_count(3)
    page.get_by_label("Select all on this page").check()
    api.post(f"/orders/{orders[1]['id']}/notes/", json={"text": "Wait."}).raise_for_status()

    page.get_by_role("button", name="Pay", exact=True).click()
    dialog = page.get_by_role("dialog", name="Pay 3 orders")
    dialog.get_by_role("button", name="Mark as paid").click()

    outcomes = dialog.locator("tbody tr")
    expect(outcomes.filter(has_text=orders[0]["number"])).to_contain_text("Cannot")
    expect(outcomes.filter(has_text=orders[1]["number"])).to_contain_text("OrderNoteAdded by staff")
    expect(outcomes.filter(has_text=orders[2]["number"])).to_contain_text("done")
    dialog.get_by_role("button", name="Done").click()
    row = page.locator("tbody tr").filter(has_text=orders[2]["number"])
    expect(row.locator("[data-axis=status]")).to_have_text("Paid")


def test_a_saved_view_is_paged_and_exported(page: Page, api: httpx.Client) -> None:
    sku = uuid4().hex
    place_many(api, 60, sku)
    page.goto(f"/desk#/orders?q={sku}")
    expect(page.locator("tbody tr")).to_have_count(50)
    expect(page.get_by_role("status").first).to_have_text("60")

    page.get_by_role("button", name="Next").click()
    expect(page.locator("tbody tr")).to_have_count(10)
    page.reload()
    expect(page.locator("tbody tr")).to_have_count(10)
    with page.expect_download() as saving:
        page.get_by_role("button", name="Export CSV").click()
    assert saving.value.path().read_text().count(sku) == 60
    page.get_by_role("button", name="To refund").click()
    expect(page.get_by_role("button", name="To refund")).to_have_attribute("aria-pressed", "true")
    assert "view=to-refund" in page.url


# --- everybody ------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["board?text=", "orders?q="])
def test_many_orders_can_be_read_by_everybody(
    page: Page, api: httpx.Client, audit: Callable[[Page], list[str]], address: str
) -> None:
    order = placed(api, listed=True)

    page.goto(f"/desk#/{address}{order['number']}")
    page.locator(".card, tbody tr").first.wait_for()

    assert audit(page) == []
    page.emulate_media(color_scheme="dark")
    assert audit(page) == []
