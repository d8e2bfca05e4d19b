"""Orders that nobody pays are canceled by the timer, once, however many processes have one."""

import asyncio
from datetime import datetime, timedelta
from uuid import UUID

import httpx
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from order_service.cache.order_cache import OrderCache
from order_service.commands.expiry import BEGINNING, Timer, expire_for_ever, expire_some
from order_service.domain.commands import ExpireOrder
from order_service.ids import now
from order_service.limits import EXPIRY_BATCH
from order_service.main import create_app
from order_service.settings import Settings
from projections.queries.expiring import unpaid_orders
from tests.conftest import serving, serving_with
from tests.support.http.accounts import Account, new_account
from tests.support.http.orders import ITEMS, act, change, place
from tests.support.read_side.read_side import advance_all, rows
from tests.support.waiting import WAIT_S, eventually

UNPAID = Timer("unpaid orders", 1, unpaid_orders, ExpireOrder)
CANCELED = "SELECT stream_id::text FROM events WHERE type = 'OrderCanceled'"


async def test_two_processes_expire_each_order_once(
    settings: Settings,
    web_engine: AsyncEngine,
    projector_engine: AsyncEngine,
    cache: OrderCache,
) -> None:
    first_app, second_app = (
        create_app(settings.model_copy(update={"RATE_LIMIT": "1000000/minute"})) for _ in range(2)
    )
    async with serving(first_app) as web, serving(second_app):
        owner = await new_account(web_engine)
        many = {"orders": [{"items": ITEMS}] * (EXPIRY_BATCH + 1)}
        await web.post("/orders/bulk/", json=many, headers=owner.headers)
        await advance_all(projector_engine, cache)
        too_young = await expire_some(
            web_engine, first_app.state.log, UNPAID, now() - timedelta(hours=1), BEGINNING
        )
        untouched = await rows(web_engine, CANCELED)

        # What one has done is not in the read model yet: the other is shown the same orders.
        reached = [
            await expire_some(web_engine, app.state.log, UNPAID, now(), BEGINNING)
            for app in (first_app, second_app)
        ]
        await asyncio.gather(
            *(
                expire_some(app.state.engine, app.state.log, UNPAID, now(), reached[0])
                for app in (first_app, second_app)
            )
        )

    expired = await rows(web_engine, CANCELED)
    assert (too_young, untouched) == (BEGINNING, [])
    assert reached[0] == reached[1] != BEGINNING
    assert len(expired) == len(set(expired)) == EXPIRY_BATCH + 1


async def test_a_timer_that_is_canceled_in_a_statement_ends_and_gives_its_lock_back(
    web_engine: AsyncEngine, settings: Settings
) -> None:
    """As happens to a web process that stops in its first moments: it has to stop."""
    app = create_app(settings)
    asleep = asyncio.Event()

    async def find(connection: AsyncConnection, *_: object) -> list[tuple[datetime, UUID]]:
        asleep.set()
        await connection.execute(text("SELECT pg_sleep(60)"))
        return []

    async with serving(app):
        timer = Timer("nothing", 4711, find, ExpireOrder)
        task = asyncio.create_task(expire_for_ever(web_engine, app.state.log, timer))
        await asleep.wait()
        task.cancel()
        ended, _ = await asyncio.wait((task,), timeout=WAIT_S)

        assert ended
        assert task.cancelled()
        lock = "SELECT pg_try_advisory_lock(4711)"
        await eventually(lambda: rows(web_engine, lock), lambda found: found == [(True,)])


async def test_the_timer_cancels_what_is_unpaid_and_nothing_else(
    web: httpx.AsyncClient,
    owner: Account,
    staff: Account,
    settings: Settings,
    web_engine: AsyncEngine,
    projector_engine: AsyncEngine,
    cache: OrderCache,
) -> None:
    unpaid, reserved, part_paid, paid_since, given_up = [await place(web, owner) for _ in range(5)]
    reserve = {"kind": "authorization"}
    await act(web, staff, reserved, "payments/", reserve)
    held = await act(web, staff, given_up, "payments/", reserve)
    payment = held.json()["payments"][0]["id"]
    await act(web, staff, given_up, f"payments/{payment}/void/", {})
    await act(web, staff, part_paid, "payments/", {"kind": "capture", "amount": 1})
    await advance_all(projector_engine, cache)
    await change(web, staff, paid_since, status="PAID")  # the read model does not know it

    async with serving_with(settings, PENDING_TTL="PT0S"):

        async def both() -> bool:
            return len(await rows(web_engine, CANCELED)) == 2

        await eventually(both)
    orders = [
        (await web.get(o.headers["location"], headers=owner.headers)).json()
        for o in (unpaid, given_up, reserved, part_paid, paid_since)
    ]
    (actor,) = await rows(
        web_engine,
        "SELECT DISTINCT metadata->>0 FROM events WHERE type = 'OrderCanceled'",
    )

    assert [o["status"] for o in orders] == ["CANCELED"] * 2 + ["PENDING"] * 2 + ["PAID"]
    assert [o["cancel_reason"] for o in orders[:2]] == ["EXPIRED", "EXPIRED"]
    assert orders[2]["payment_status"] == "AUTHORIZED"
    assert actor == ("system",)
