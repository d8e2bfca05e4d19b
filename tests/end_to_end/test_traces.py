"""One trace an order, through every role; and nothing of it unless a collector is named."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator

import asyncpg
import httpx
import pytest

from order_service.settings import Settings
from tests.conftest import own_database
from tests.support.http.accounts import PASSWORD
from tests.support.http.orders import ITEMS
from tests.support.log.event_log import raw
from tests.support.servers.collector import Collector, Span, collecting
from tests.support.waiting import WAIT_S
from tests.tools.faults.house import House, house_of

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PLACED = "POST /orders/"
# Of which service, and below which span of the same trace.
EVERYWHERE = {
    PLACED: ("order-service-web", None),
    "append": ("order-service-web", PLACED),
    "publish": ("order-service-relay", PLACED),
    "hint": ("order-service-consumer", PLACED),
    "task advance": ("order-service-worker", "hint"),
    "refresh cache": ("order-service-worker", "task advance"),
    "project": ("order-service-worker", PLACED),
}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="module")
def house(
    migrated_template: Settings, collector: Collector, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    tracing = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}
    with (
        own_database(migrated_template) as settings,
        house_of(settings, tmp_path_factory.mktemp("failpoints"), **tracing) as house,
    ):
        yield house


@pytest.fixture
def client(house: House) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=house.url("web"), timeout=WAIT_S) as client:
        login = {"email": "tess@example.com", "password": PASSWORD}
        client.post("/register/", json=login)
        token = client.post("/token/", json=login).json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        yield client


def by_name(spans: list[Span], trace_id: str) -> dict[str, Span]:
    return {span.name: span for span in spans if span.trace_id == trace_id}


async def trace_of(settings: Settings, order_id: str) -> str:
    """As the log has it, of the order's first event."""
    sql: asyncpg.Connection = await raw(settings)
    try:
        found = await sql.fetchval(
            "SELECT metadata::jsonb ->> 5 FROM events WHERE stream_id = $1", order_id
        )
    finally:
        await sql.close()
    return str(found)[3:35]


def test_one_order_is_one_trace_through_every_role(
    house: House, client: httpx.Client, collector: Collector
) -> None:
    order = client.post("/orders/", json={"items": ITEMS}).raise_for_status().json()
    trace_id = asyncio.run(trace_of(house.settings, order["id"]))

    found = by_name(
        collector.until(lambda spans: EVERYWHERE.keys() <= by_name(spans, trace_id).keys()),
        trace_id,
    )

    ids = {span.span_id: span.name for span in found.values()}
    assert {name: (s.service, ids.get(s.parent_id)) for name, s in found.items()} == EVERYWHERE
    for name in ("append", "publish", "project"):
        assert found[name].attributes["order.id"] == order["id"]
    assert found[PLACED].attributes["http.response.status_code"] == 201


def test_a_clients_trace_goes_on_and_stands_in_its_problems(
    client: httpx.Client, collector: Collector
) -> None:
    theirs = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    refused = client.get("/orders/A-0-0/?version=x", headers=theirs)

    assert refused.json()["trace_id"] == TRACE
    name = "GET /orders/{order_id}/"
    span = by_name(collector.until(lambda spans: name in by_name(spans, TRACE)), TRACE)[name]
    assert span.parent_id == PARENT
    assert span.attributes["http.response.status_code"] == refused.status_code


def test_without_a_collector_nobody_imports_what_tracing_needs() -> None:
    """OpenTelemetry's API is there with FastAPI; what takes memory is the SDK and its exporter; and
    redis-py would import the SDK."""
    unwanted = ("opentelemetry.sdk", "opentelemetry.exporter", "google")
    look = (
        "import sys\n"
        "import order_service.main, order_service.relay.relay\n"
        "import projections.worker.consumer, projections.worker.tasks\n"
        f"print([m for m, found in sys.modules.items() if found and m.startswith({unwanted})])"
    )

    printed = subprocess.run(
        [sys.executable, "-c", look], capture_output=True, text=True, check=True
    )

    assert printed.stdout == "[]\n"
