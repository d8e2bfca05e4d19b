"""What the running service tells Prometheus: the truth, from every process."""

from uuid import uuid4

import httpx

from tests.support.http.accounts import PASSWORD
from tests.support.http.orders import ITEMS
from tests.support.servers.metrics import Metrics, families, read_metrics
from tests.support.servers.quiet import quiet
from tests.support.servers.stack import Stack
from tests.support.waiting import eventually

ROLES = ("web", "relay", "consumer", "worker")  # of the first and the last there are two
ORDER = "/orders/{order_id}/"
HTTP = "order_service_http_request_seconds_count"
PROBLEMS = "order_service_http_problems_total"


async def log_in(client: httpx.AsyncClient) -> str:
    """Somebody new; returns the address."""
    email = f"{uuid4().hex[:8]}@example.com"
    await client.post("/register/", json={"email": email, "password": PASSWORD})
    login = await client.post("/token/", data={"username": email, "password": PASSWORD})
    client.headers["Authorization"] = f"Bearer {login.json()['access_token']}"
    return email


def no_stream_is_open(metrics: Metrics) -> bool:
    """Those of pages that other tests have closed are ended by then."""
    return metrics.of("order_service_streams_open") <= 0


def tasks_done(metrics: Metrics) -> float:
    return max(0.0, metrics.of("order_service_task_seconds_count", task="advance", outcome="done"))


async def test_every_process_tells_what_it_has_done(stack: Stack) -> None:
    async with stack.client() as client:
        email = await log_in(client)
        await quiet(stack)
        before = await eventually(lambda: read_metrics(stack), no_stream_is_open)
        placing = {"json": {"items": ITEMS}, "headers": {"Idempotency-Key": uuid4().hex}}
        order = (await client.post("/orders/", **placing)).json()  # type: ignore[arg-type]
        await client.post("/orders/", **placing)  # type: ignore[arg-type]
        path = f"/orders/{order['id']}/"
        # The worker's refresh may take the first read its lease: then the second misses as well.
        caches = [(await client.get(path)).headers["x-cache"] for _ in range(3)]
        await client.patch(path, json={"status": "PAID"}, headers={"If-Match": '"7"'})
        await client.get(f"{path}events/")
        await client.get("/nothing/here/")
        await client.delete(path)
        for _ in range(6):
            await client.post("/token/", data={"username": email, "password": "wrong-passphrase"})
        async with client.stream("GET", f"{path}stream") as stream:
            assert stream.status_code == 200
            await quiet(stack)
            # A task counts what it projected before it counts itself.
            found = await eventually(
                lambda: read_metrics(stack), lambda now: tasks_done(now) > tasks_done(before)
            )

    def more(name: str, /, **labels: str) -> float:
        return found.of(name, **labels) - max(0.0, before.of(name, **labels))

    counted = {
        "placed": more(HTTP, method="POST", route="/orders/", status="201"),
        "read": more(HTTP, method="GET", route=ORDER, status="200"),
        "stale": more(PROBLEMS, method="PATCH", route=ORDER, problem="stale-version"),
        "timeline": more(HTTP, route="/orders/{order_id}/events/", status="200"),
        "nowhere": more(PROBLEMS, route="(none)", problem="not-found"),
        "not a method": more(HTTP, method="DELETE", route=ORDER, status="405"),
        "looked up": more("order_service_cache_reads_total", what="order"),
        "hits": more("order_service_cache_reads_total", what="order", cache="hit"),
        "replays": more("order_service_idempotent_replays_total"),
        "appends": more("order_service_append_seconds_count"),
        "commands": more("order_service_append_batch_commands_sum"),
        "stored": more("order_service_append_commands_total", outcome="stored"),
        "repeats": more("order_service_append_commands_total", outcome="concurrent-update"),
        "limited": more("order_service_limits_hit_total", policy="failed-logins"),
        "quota": more(PROBLEMS, route="/token/", problem="quota-exceeded"),
        "streams": found.of("order_service_streams_open"),
        "relayed": more("order_service_relay_events_total"),
        "in the log": more("order_service_log_events_total"),
        "projected": more("order_service_projected_events_total", projection="sales_by_day"),
    }
    assert counted == {
        "placed": 2,
        "read": 3,
        "stale": 1,
        "timeline": 1,
        "nowhere": 1,
        "not a method": 1,
        "looked up": 3,
        "hits": caches.count("hit"),
        "replays": 1,
        "appends": 2,
        "commands": 2,
        "stored": 1,
        "repeats": 1,
        "limited": 1,
        "quota": 1,
        "streams": 1,
        "relayed": 1,
        "in the log": 1,
        "projected": 1,
    }
    assert "hit" in caches
    assert more("order_service_consumer_hints_total") >= 1
    assert more("order_service_tasks_sent_total", task="advance") >= 1
    assert more("order_service_task_seconds_count", task="advance", outcome="done") >= 1
    assert found.of("order_service_lag_events", name="relay") == 0
    assert found.of("order_service_dead_letters", name="order_view") == 0
    assert found.of("order_service_database_pool_connections", state="in_use") >= 3
    assert sorted(found.roles) == sorted((*ROLES, "web", "worker"))
    assert found.of("process_resident_memory_bytes") > 6 * 20_000_000

    names = set(families())
    only_after_a_failure = {"order_service_broker_sessions_failed_total"}
    assert found.families | only_after_a_failure == names | only_after_a_failure
    for private in (email, order["id"], order["user_id"], order["number"]):
        assert private not in found.text
