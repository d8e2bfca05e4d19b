"""orders and events on the command line: what they show is what the log holds."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from order_service.errors import InvalidRequest, OrderNotFound
from order_service.settings import Settings
from projections.commands import events as events_command
from projections.commands import orders
from tests.support.http.accounts import Account
from tests.support.http.orders import ITEMS, act, place
from tests.support.read_side.read_side import ReadSide
from tests.support.servers.command_line import run_word
from tests.support.waiting import eventually

Capture = pytest.CaptureFixture[str]


@pytest.fixture
async def order(web: httpx.AsyncClient, owner: Account, staff: Account) -> dict[str, Any]:
    """Placed, edited and paid: five versions; the owner's address is its search term."""
    placed = await place(web, owner, external_reference="cart-9")
    await act(web, owner, placed, "lines/1/", {"quantity": 1}, method="PATCH")
    await act(web, staff, placed, "notes/", {"text": "call", "visibility": "internal"})
    paid = await act(web, staff, placed, "payments/", {"kind": "capture"})
    found: dict[str, Any] = paid.raise_for_status().json()
    return found


async def as_json(capsys: Capture, settings: Settings, *words: str) -> Any:
    capsys.readouterr()
    assert await run_word(orders, settings, *words, "--json") == 0
    return json.loads(capsys.readouterr().out)


async def test_an_order_is_shown_as_it_is_and_as_it_was_and_what_is_not_is_said(
    web: httpx.AsyncClient,
    order: dict[str, Any],
    owner: Account,
    settings: Settings,
    capsys: Capture,
) -> None:
    number = order["number"]
    path = f"/orders/{number}/"
    then = (await web.get(f"{path}?version=1", headers=owner.headers)).json()
    diff = (await web.get(f"{path}diff/?from=1&to=2", headers=owner.headers)).json()

    assert await as_json(capsys, settings, "show", number) == order
    assert await as_json(capsys, settings, "show", order["id"]) == order
    assert await as_json(capsys, settings, "at", number, "1") == then
    assert await as_json(capsys, settings, "at", number, then["updated_at"]) == then
    assert await as_json(capsys, settings, "diff", number, "1", "2") == diff
    events = await as_json(capsys, settings, "events", number, "--after-version", "1")
    assert [(event["version"], event["type"]) for event in events] == [
        (2, "OrderLineQuantityChanged"),
        (3, "OrderNoteAdded"),  # internal: this is for the staff
        (4, "PaymentCaptured"),
        (5, "OrderPaid"),
    ]
    await run_word(orders, settings, "show", number)
    shown = capsys.readouterr().out
    assert f"number              {number}" in shown
    [pen] = [line.split() for line in shown.splitlines() if " PEN " in line]
    assert pen[:12] == [
        "1",
        "PEN",
        "Pen",
        "1",
        "-",
        "9.99",
        "0.00",
        "0.00",
        "0.00",
        "9.99",
        "0",
        "0",
    ]
    assert "tax_included        yes" in shown

    with pytest.raises(OrderNotFound):
        await run_word(orders, settings, "show", "A-4711-2")
    with pytest.raises(InvalidRequest, match="versions 1 to 5"):
        await run_word(orders, settings, "at", order["id"], "6")
    with pytest.raises(InvalidRequest, match="was placed at"):
        await run_word(orders, settings, "at", order["id"], "2020-01-01T00:00:00Z")
    with pytest.raises(InvalidRequest, match="expected a version, or a time"):
        await run_word(orders, settings, "at", order["id"], "yesterday")
    with pytest.raises(InvalidRequest, match="from 0 to 5"):
        await run_word(orders, settings, "diff", order["id"], "4", "2")


async def test_a_list_is_filtered_as_over_http_and_goes_past_a_page(
    web: httpx.AsyncClient,
    order: dict[str, Any],
    owner: Account,
    settings: Settings,
    read_side: ReadSide,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("order_service.limits.LIST_LIMIT_MAX", 2)
    body = {"orders": [{"items": ITEMS}] * 4}
    await web.post("/orders/bulk/", json=body, headers=owner.headers)
    await read_side.advance()

    everything = await as_json(capsys, settings, "list")
    paid = await as_json(capsys, settings, "list", "--status", "PAID", "--currency", "USD")
    found = await as_json(capsys, settings, "list", "--q", owner.email, "--limit", "3")
    wrong = await run_word(orders, settings, "list", "--payment-status", "RICH")

    assert len({one["id"] for one in everything}) == 5
    assert [one["number"] for one in paid] == [order["number"]]
    assert len(found) == 3
    assert wrong == 2
    assert "--payment-status: Expected any of" in capsys.readouterr().err


async def test_the_tail_shows_what_comes_and_resumes_after_an_id(
    web: httpx.AsyncClient,
    order: dict[str, Any],
    owner: Account,
    settings: Settings,
    capsys: Capture,
) -> None:
    async def lines(*words: str) -> list[dict[str, Any]]:
        capsys.readouterr()
        assert await run_word(events_command, settings, "tail", "--json", *words) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    seen = await lines("--no-follow", "--order", order["number"])
    rest = await lines("--no-follow", "--since", seen[2]["id"])
    by_staff = await lines("--no-follow", "--actor", "staff")
    placed_so_far = await lines("--no-follow", "--type", "OrderPlaced")
    follow = asyncio.create_task(
        run_word(events_command, settings, "tail", "--json", "--since", seen[-1]["id"])
    )
    capsys.readouterr()
    placed = await place(web, owner)
    said = ""

    def followed() -> bool:
        nonlocal said
        said += capsys.readouterr().out
        return said.endswith("\n")

    await eventually(followed)
    follow.cancel()
    await asyncio.wait({follow})

    assert [event["version"] for event in seen] == [1, 2, 3, 4, 5]
    assert rest == seen[3:]
    assert by_staff == seen[2:]
    assert placed_so_far == seen[:1]
    came = json.loads(said)
    assert (came["order_id"], came["type"]) == (placed.json()["id"], "OrderPlaced")
    assert f"--since {came['id']}" in capsys.readouterr().err
