"""Every crash window of the promises, each with a process that dies there, an error, and a delay:
nothing acknowledged is lost or doubled, and nobody is told of what did not happen.

Which windows there are, and which of them lie inside PostgreSQL: order_service/infra/failpoints.py.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest

from order_service.infra.failpoints import Window
from order_service.infra.postgres import incarnation
from order_service.settings import Settings
from tests.integration.infra.test_migrations import alembic
from tests.support.http.orders import ITEMS
from tests.support.log.event_log import raw
from tests.support.servers.proxy import proxy_to
from tests.support.waiting import eventually
from tests.tools.faults import forked
from tests.tools.faults.house import House, Visit, answered, key, placed_id

DELAY = "sleep 0.1"
FOR_LONG = "sleep 60"
ACTIONS = ("exit", "raise", DELAY)
# One loop for the module, so that one visit serves all tests.
pytestmark = pytest.mark.asyncio(loop_scope="module")
PAID = {"status": "PAID"}
WAITING_FOR_LOCK = (
    "SELECT count(*) FROM pg_stat_activity "
    "WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


# --- 1, 6: commands, outside PostgreSQL -----------------------------------------------------------


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("window", ["append-unsent", "append-committed"])
async def test_a_command_is_carried_out_once_or_not_at_all(
    house: House, visit: Visit, window: Window, action: str
) -> None:
    """P1, W2, W4, W11; P5: a cached older version is not shown after the repeat's answer."""
    order_id = await placed_id(visit.other)
    await visit.once_everywhere(order_id, 1)  # and cached
    change = {"url": f"/orders/{order_id}/", "json": PAID, "headers": key()}
    house.arm(window, action)

    first = await answered(visit.web.patch(**change))
    await house.taken(window)
    if action == "exit":
        await house.restart("web")
    again = await visit.other.patch(**change)

    assert first == {"exit": "broken", "raise": "503 outcome-unknown", DELAY: "200"}[action]
    assert again.status_code == 200
    happened = window == "append-committed" or action == DELAY
    assert ("idempotent-replayed" in again.headers) == happened
    await visit.once_everywhere(order_id, 3)


# --- 2 to 5: commands, inside PostgreSQL ----------------------------------------------------------

# What the trigger does. `exit`: it waits, and the test kills the web process meanwhile.
IN_TRIGGER = {
    "exit": "PERFORM pg_advisory_xact_lock(7)",
    "backend exit": "PERFORM pg_terminate_backend(pg_backend_pid())",
    "raise": "RAISE EXCEPTION 'a crash window'",
    DELAY: "PERFORM pg_sleep(0.1)",
}
TRIGGERS = {
    2: "TRIGGER in_window AFTER INSERT ON external_references FOR EACH ROW",
    3: "TRIGGER in_window BEFORE INSERT ON events FOR EACH ROW WHEN (NEW.version = 3)",
    4: "CONSTRAINT TRIGGER in_window AFTER INSERT ON events DEFERRABLE INITIALLY DEFERRED "
    "FOR EACH ROW WHEN (NEW.version > 1)",
}
FUNCTION = (
    "CREATE FUNCTION in_window() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS "
    "$$ BEGIN {}; RETURN NEW; END $$"
)


@asynccontextmanager
async def trigger(sql: "asyncpg.Connection[Any]", window: int, action: str) -> AsyncIterator[None]:
    await sql.execute(FUNCTION.format(IN_TRIGGER[action]))
    await sql.execute(f"CREATE {TRIGGERS[window]} EXECUTE FUNCTION in_window()")
    try:
        yield
    finally:
        await sql.execute("DROP FUNCTION in_window CASCADE")


@pytest.mark.parametrize("action", IN_TRIGGER)
@pytest.mark.parametrize("window", TRIGGERS)
async def test_a_command_that_stops_inside_postgresql_is_whole_or_absent(
    house: House, visit: Visit, window: int, action: str
) -> None:
    """W1, W2, W4, W11. A web process that dies takes nothing with it: the server goes on alone."""
    creates = window == 2
    path, body = "/orders/", {"items": ITEMS, "external_reference": uuid4().hex}
    if not creates:
        path, body = f"/orders/{await placed_id(visit.other)}/", dict(PAID)
    method = "POST" if creates else "PATCH"
    command = {"method": method, "url": path, "json": body, "headers": key()}

    async with trigger(visit.sql, window, action):
        await visit.sql.execute("SELECT pg_advisory_lock(7)")
        request = asyncio.create_task(answered(visit.web.request(**command)))
        if action == "exit":
            await eventually(lambda: waits_for_a_lock(visit.sql))
            os.kill(house.processes["web"].pid or 0, signal.SIGKILL)
            await house.restart("web")
        else:
            await request
        await visit.sql.execute("SELECT pg_advisory_unlock(7)")
        first = await request
        if action == "exit":
            await eventually(lambda: nobody_waits(visit.sql))
    again = await visit.other.request(**command)

    done = "201" if creates else "200"
    expected = {"exit": "broken", "backend exit": "503 outcome-unknown", DELAY: done}
    assert first == expected.get(action, "503 dependency-unavailable")
    assert str(again.status_code) == done
    assert ("idempotent-replayed" in again.headers) == (action in ("exit", DELAY))
    await visit.once_everywhere(again.json()["id"], 1 if creates else 3)


async def waits_for_a_lock(sql: "asyncpg.Connection[Any]") -> bool:
    return bool(await sql.fetchval(WAITING_FOR_LOCK))


async def nobody_waits(sql: "asyncpg.Connection[Any]") -> bool:
    return not await waits_for_a_lock(sql)


@pytest.mark.parametrize("action", ["exit", "raise"])
async def test_a_commit_whose_reply_is_lost_is_found_again(
    house: House, visit: Visit, headers: dict[str, str], action: str
) -> None:
    """W4, W2. (A late reply is the deferred trigger's, above: COMMIT itself takes long.)"""
    async with proxy_to(house.settings.DB_HOST, house.settings.DB_PORT) as proxy:
        house.listen("proxied")
        house.start("proxied", DB_HOST="127.0.0.1", DB_PORT=str(proxy.port))
        async with httpx.AsyncClient(base_url=house.url("proxied"), headers=headers) as web:
            order_id = await placed_id(web)  # which it remembers: the next statement is the append
            change = {"url": f"/orders/{order_id}/", "json": PAID, "headers": key()}
            proxy.replies = False
            request = asyncio.create_task(answered(web.patch(**change)))
            await proxy.swallowed.wait()
            if action == "exit":
                house.processes["proxied"].kill()
            proxy.replies = True
            proxy.cut()
            first = await request
    house.end("proxied")
    again = await visit.other.patch(**change)

    assert first == {"exit": "broken", "raise": "200"}[action]
    assert again.headers["idempotent-replayed"] == "true"
    await visit.once_everywhere(order_id, 3)


# --- 7 to 17: from the log to the read models -----------------------------------------------------

WINDOWS: dict[str, tuple[Window, ...]] = {
    "relay": ("relay-read", "relay-published", "relay-confirmed", "relay-moved"),
    "consumer": ("consumer-received", "consumer-sent"),
    "worker": (
        "advance-begun",
        "advance-written",
        "advance-moved",
        "advance-committed",
        "advance-told",
    ),
}
NO_LEASE = "UPDATE checkpoints SET leased_until = clock_timestamp() WHERE name = 'relay'"


@pytest.mark.parametrize("action", ["exit", "raise"])
@pytest.mark.parametrize(
    ("role", "window"), [(role, window) for role in WINDOWS for window in WINDOWS[role]]
)
async def test_an_event_arrives_everywhere_and_counts_once(
    house: House, visit: Visit, role: str, window: Window, action: str
) -> None:
    """P3, P4, R2, R3, M1, M4, M5: a sum that counted an event twice would differ from the fold."""
    # Killed at once, the relay would die before anything is on the wire.
    sent_first = (window, action) == ("relay-published", "exit")
    house.arm(window, FOR_LONG if sent_first else action)

    order_id = await placed_id(visit.other)
    pid = await house.taken(window)
    if sent_first:
        await visit.tap.until(lambda: any(b["order_id"] == order_id for b in visit.tap.bodies))
        os.kill(pid, signal.SIGKILL)
    if action == "exit" and role in house.processes:  # Celery replaces its own
        await house.restart(role)
        # The lease of a killed relay would end by itself, two seconds later.
        await visit.sql.execute(NO_LEASE)

    await visit.once_everywhere(order_id, 1)


async def test_an_event_arrives_through_every_delay(house: House, visit: Visit) -> None:
    """R3, M4: in each window, one after another."""
    windows = [window for role in WINDOWS for window in WINDOWS[role]]
    for window in windows:
        house.arm(window, DELAY)

    order_id = await placed_id(visit.other)

    for window in windows:
        await house.taken(window)
    await visit.once_everywhere(order_id, 1)


# Of a stream that is in no log; with it no partition is an ordinary one any more.
SKIP = (
    "INSERT INTO skips (name, partition, stream_id, version, reason) "
    "SELECT m.name, p.partition, gen_random_uuid(), 1, '' FROM read_models m, partitions p"
)


@pytest.mark.parametrize("action", ["exit", "raise"])
@pytest.mark.parametrize("window", WINDOWS["worker"][1:])
async def test_an_event_that_goes_apart_counts_once_too(
    house: House, visit: Visit, window: Window, action: str
) -> None:
    """P4, M1, M4: where each projection and partition has a transaction of its own."""
    await visit.sql.execute(SKIP)
    house.arm(window, action)

    order_id = await placed_id(visit.other)
    await house.taken(window)

    await visit.once_everywhere(order_id, 1)
    await visit.sql.execute("DELETE FROM skips")


# --- 18, 19: queries ------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("window", ["query-missed", "query-read"])
async def test_what_was_read_before_a_change_is_not_cached_after_it(
    house: House, visit: Visit, window: Window, action: str
) -> None:
    """P5, C1: the change comes while a reader stands between its miss and its fill."""
    order_id = await placed_id(visit.other)
    house.arm(window, action)

    read = asyncio.create_task(answered(visit.web.get(f"/orders/{order_id}/")))
    await house.taken(window)
    changed = await visit.other.patch(f"/orders/{order_id}/", json=PAID, headers=key())
    if action == "exit":
        await house.restart("web")

    assert changed.json()["version"] == 3
    expected = {"exit": "broken", "raise": "500 internal-error", DELAY: "200"}
    assert await read == expected[action]
    await visit.once_everywhere(order_id, 3)


# --- 20: refresh tokens ---------------------------------------------------------------------------

GOOD_TOKENS = (
    "SELECT count(*) FROM refresh_tokens WHERE used_at IS NULL AND family = "
    "(SELECT family FROM refresh_tokens WHERE token_sha256 = sha256($1))"
)


@pytest.mark.parametrize("action", ACTIONS)
async def test_a_used_refresh_token_stays_used_whoever_got_the_next(
    house: House, visit: Visit, customer: dict[str, str], action: str
) -> None:
    """P7: no token is given out twice; who lost the answer logs in again."""
    login = (await visit.other.post("/token/", json=customer)).json()
    refresh = {"grant_type": "refresh_token", "refresh_token": login["refresh_token"]}
    house.arm("refresh-rotated", action)

    first = await answered(visit.web.post("/token/", json=refresh))
    await house.taken("refresh-rotated")
    if action == "exit":
        await house.restart("web")

    assert first == {"exit": "broken", "raise": "500 internal-error", DELAY: "200"}[action]
    assert await answered(visit.other.post("/token/", json=refresh)) == "401 refresh-superseded"
    kept = f"{(await incarnation(visit.engine)).copy}.{login['refresh_token']}"
    assert await visit.sql.fetchval(GOOD_TOKENS, kept.encode()) == 1
    assert await answered(visit.other.post("/token/", json=customer)) == "200"


# --- 21: migrations -------------------------------------------------------------------------------


async def test_a_migration_that_is_stopped_in_a_revision_is_run_again(settings: Settings) -> None:
    """O6: killed, failed and delayed in one that has done half of its work."""
    environment = {**os.environ, "DB_NAME": settings.DB_NAME}
    await asyncio.to_thread(alembic, settings, "downgrade", "0002")
    sql, holder = await raw(settings), await raw(settings)
    ends = []
    for action in ("exit", "raise", DELAY):
        await holder.execute("BEGIN; LOCK TABLE checkpoints IN SHARE MODE")
        migration = forked.start("migrate", environment=environment)
        await eventually(lambda: waits_for_a_lock(sql))
        half_done = await sql.fetchval("SELECT to_regclass('read_models')")
        assert half_done is None  # seen by itself only
        if action == "exit":
            migration.kill()
        if action == "raise":
            await sql.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
        await holder.execute("COMMIT")
        await asyncio.to_thread(migration.join, forked.STOP_S)
        ends.append(migration.exitcode)
    await sql.close()
    await holder.close()

    assert ends == [-9, 1, 0]


# --- 22: replays ----------------------------------------------------------------------------------


async def test_a_replay_that_is_stopped_before_its_swap_is_run_again(
    house: House, visit: Visit
) -> None:
    """P6: killed, failed and delayed between build and swap, while orders go on."""
    ends = []
    for action in ACTIONS:
        house.arm("replay-built", action)
        words = ("replay", "customer_summary", "--workers", "1")
        replay = forked.start(*words, environment=house.environment)
        await house.taken("replay-built")
        order_id = await placed_id(visit.other)
        await asyncio.to_thread(replay.join, forked.STOP_S)
        ends.append(replay.exitcode)
        await visit.once_everywhere(order_id, 1)

    assert ends == [-9, 1, 0]
