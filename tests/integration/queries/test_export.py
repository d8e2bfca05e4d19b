"""The export: the whole file, in bounded pages, and never half a file that passes for a whole."""

import asyncio
import csv
import io
import logging

import httpx
import orjson
import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service import limits
from order_service.cache.order_cache import OrderCache
from order_service.main import create_app
from order_service.settings import Settings
from tests.conftest import serving
from tests.support.http.accounts import Account, new_account
from tests.support.http.queries import get
from tests.support.log.examples import CAPTURED, INK, PAID, PEN, PLACED
from tests.support.log.given_log import given_orders
from tests.support.read_side.read_side import advance_all, rows, run
from tests.support.values import replace
from tests.support.waiting import eventually

ORDERS = 2 * limits.EXPORT_PAGE_ORDERS + 50


async def test_the_file_has_every_order_as_it_was_placed(
    web: httpx.AsyncClient,
    staff: Account,
    owner: Account,
    web_engine: AsyncEngine,
    projector_engine: AsyncEngine,
    cache: OrderCache,
) -> None:
    """Baskets as clients sent them, with texts that a spreadsheet or a CSV reader trips over."""
    odd = ["=1+1", "+49", "-5", "@home", 'a "b", c', "ü,\u2028", "'", "x"]
    baskets = [
        replace(
            PLACED,
            lines=(replace(PEN, sku=f"{odd[n % 8]}-{n}", attributes={"shelf": str(n)}), INK),
        )
        for n in range(ORDERS)
    ]
    ids = await given_orders(web_engine, *[(basket,) for basket in baskets])
    placed = dict(zip(map(str, ids), baskets, strict=True))
    await advance_all(projector_engine, cache)

    ndjson = await get(web, staff, "/orders/export/")
    by_line = await get(web, staff, "/orders/export/?format=csv")

    documents = [orjson.loads(line) for line in ndjson.content.splitlines()]
    assert [d["created_at"] for d in documents] == sorted(d["created_at"] for d in documents)
    assert {d["id"]: d["items"][0]["sku"] for d in documents} == {
        order_id: basket.lines[0].sku for order_id, basket in placed.items()
    }
    whole = await get(web, staff, f"/orders/{documents[7]['id']}/")
    assert ndjson.content.split(b"\n")[7] == whole.content
    assert ndjson.content.endswith(b"}\n")

    table = list(csv.DictReader(io.StringIO(by_line.content.decode(), newline="")))
    assert len(table) == 2 * ORDERS
    for line in table[::2]:
        basket = placed[line["id"]]
        sku = basket.lines[0].sku
        assert line["sku"] == (f"'{sku}" if sku[0] in "=+-@" else sku)
        assert orjson.loads(line["attributes"]) == basket.lines[0].attributes
        assert (line["quantity"], line["unit_price"], line["total_price"]) == ("2", "9.99", "24.98")
        assert line["user_id"] == str(basket.user_id)
    assert by_line.content.startswith(b"id,number,user_id,external_reference,status,")
    assert by_line.content.count(b"\r\n") == 2 * ORDERS + 1

    assert ndjson.headers["content-type"] == "application/x-ndjson"
    assert by_line.headers["content-type"].startswith("text/csv; charset=utf-8")
    assert by_line.headers["content-disposition"].startswith('attachment; filename="orders-2')
    assert by_line.headers["content-disposition"].endswith('.csv"')
    assert (await get(web, owner, "/orders/export/")).status_code == 403


@pytest.mark.parametrize(
    "wrong",
    [
        "format=xml",
        "sort=created_at",
        "limit=5",
        "status=LOST",
        "excel=true",
        "separator=tab&format=csv",
        "decimal=comma&format=csv",
        "separator=colon&format=csv&excel=true",
    ],
)
async def test_an_export_refuses_what_it_does_not_know(
    web: httpx.AsyncClient, staff: Account, wrong: str
) -> None:
    refused = await get(web, staff, f"/orders/export/?{wrong}")

    assert (refused.status_code, refused.json()["type"]) == (422, "/problems/validation")
    [error] = refused.json()["errors"]
    assert error["parameter"] == wrong.partition("=")[0]


async def test_excel_gets_the_separator_and_the_decimal_sign_that_are_asked_for(
    web: httpx.AsyncClient,
    staff: Account,
    web_engine: AsyncEngine,
    projector_engine: AsyncEngine,
    cache: OrderCache,
) -> None:
    pen = replace(PEN, name="café", sku="x;=1+1")
    await given_orders(web_engine, (replace(PLACED, lines=(pen, INK)),))
    await advance_all(projector_engine, cache)
    path = "/orders/export/?format=csv"

    asked = await get(web, staff, f"{path}&excel=true&separator=semicolon&decimal=comma")
    plain, unasked = await get(web, staff, path), await get(web, staff, f"{path}&excel=true")

    assert asked.content.startswith(b"\xef\xbb\xbfid;number;")
    text = asked.content.decode("utf-8-sig")
    line = next(csv.DictReader(io.StringIO(text, newline=""), delimiter=";"))
    assert (line["name"], line["unit_price"], line["value"]) == ("café", "9,99", "19,98")
    assert line["sku"] == "x;=1+1"  # in quotes
    assert b",x;'=1+1," in plain.content
    assert unasked.content == b"\xef\xbb\xbf" + plain.content


async def test_an_export_takes_the_list_s_filters(
    web: httpx.AsyncClient,
    staff: Account,
    web_engine: AsyncEngine,
    projector_engine: AsyncEngine,
    cache: OrderCache,
) -> None:
    _, paid, _ = await given_orders(web_engine, (PLACED,), (PLACED, CAPTURED, PAID), (PLACED,))
    await advance_all(projector_engine, cache)

    some = await get(web, staff, "/orders/export/?status=PAID&q=pen")
    none = await get(web, staff, "/orders/export/?status=SHIPPED")
    head = await get(web, staff, "/orders/export/?status=SHIPPED&format=csv")

    assert orjson.loads(some.content)["id"] == str(paid)
    assert (none.status_code, none.content) == (200, b"")
    assert head.content.count(b"\n") == 1


async def given_wide_orders(
    web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    """A thousand: more than what lies between the server and a client that does not read."""
    wide = replace(PEN, attributes={f"k{n}": "v" * 255 for n in range(20)})
    order = replace(PLACED, lines=(wide,), total_minor=1998)
    await given_orders(web_engine, *[(order,)] * 1000)
    await advance_all(projector_engine, cache)


async def test_pages_are_bounded_and_no_transaction_waits_for_the_client(
    settings: Settings, web_engine: AsyncEngine, projector_engine: AsyncEngine, cache: OrderCache
) -> None:
    """A client that reads the beginning and pauses: the server reads no further than it may buffer,
    and holds no connection in a transaction. Then the client goes, and the export ends."""
    await given_wide_orders(web_engine, projector_engine, cache)
    app = create_app(settings.model_copy(update={"RATE_LIMIT": "1000000/minute"}))
    pages: list[object] = []
    async with serving(app) as web:
        staff = await new_account(web_engine, role="staff")

        @event.listens_for(app.state.engine.sync_engine, "before_cursor_execute")
        def note(connection, cursor, statement, parameters, context, many) -> None:  # type: ignore[no-untyped-def]
            if "document FROM" in statement:
                pages.append(parameters)

        async with web.stream("GET", "/orders/export/", headers=staff.headers) as answer:
            received = [await anext(answer.aiter_raw())]
            paused = await _settled(pages)
            open_transactions = await rows(
                web_engine,
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                "AND application_name = 'order-service-web' AND state LIKE 'idle in transaction%'",
            )
        gone = await _settled(pages)

    assert received
    assert open_transactions == [(0,)]
    assert 1 <= paused < 10 == 1000 / limits.EXPORT_PAGE_ORDERS
    assert gone <= paused + 1
    assert all(limits.EXPORT_PAGE_ORDERS + 1 in parameters for parameters in pages)


async def _settled(pages: list[object]) -> int:
    """How many pages were read, once no more are."""
    before = -1
    while before != len(pages):
        before = len(pages)
        await asyncio.sleep(0.5)
    return before


async def test_a_client_that_takes_nothing_is_cut_off(
    web: httpx.AsyncClient,
    staff: Account,
    web_engine: AsyncEngine,
    projector_engine: AsyncEngine,
    cache: OrderCache,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await given_wide_orders(web_engine, projector_engine, cache)
    monkeypatch.setattr(limits, "EXPORT_SEND_TIMEOUT_S", 0.3)

    async with web.stream("GET", "/orders/export/", headers=staff.headers) as answer:
        with caplog.at_level(logging.INFO, "order_service"):
            await eventually(lambda: "client went away" in caplog.text)
        with pytest.raises(httpx.RemoteProtocolError):
            await answer.aread()


async def test_what_fails_midway_cuts_the_connection(
    web: httpx.AsyncClient,
    staff: Account,
    web_engine: AsyncEngine,
    projector_engine: AsyncEngine,
    cache: OrderCache,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await given_orders(web_engine, *[(PLACED,)] * 3)
    await advance_all(projector_engine, cache)
    monkeypatch.setattr(limits, "EXPORT_PAGE_ORDERS", 1)
    await run(
        projector_engine,
        "UPDATE read_models.order_view SET document = 'no document' WHERE order_id = "
        "(SELECT order_id FROM read_models.order_view ORDER BY created_at DESC, order_id DESC "
        "LIMIT 1)",
    )

    with pytest.raises(httpx.RemoteProtocolError):
        await get(web, staff, "/orders/export/?format=csv")
