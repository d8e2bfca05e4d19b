"""Every hot query at a million orders: by an index, reading little more than it returns.

The statements are those that the code sends: its own functions are called, and what went to the
driver is explained afterwards, with the same parameters.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from order_service.commands import expiry
from order_service.infra.postgres import PROJECTOR, WEB, create_engine
from order_service.log import reading
from order_service.relay import relay
from order_service.settings import Settings
from projections.loop import checkpoints, step
from projections.queries import board, expiring, freshness, order_list
from projections.queries.filters import StaffListParameters, conditions
from projections.queries.order_list import SUMMARY, Page
from projections.read_models import customer_summary, order_view, sales_by_day, sales_by_hour
from projections.read_models.projection import Target
from tests.conftest import own_database
from tests.support.log.event_log import raw, raw_append

ORDERS = 1_000_000
USERS = 5_000
SOMEWHERE = ORDERS // 2  # an order in the middle, whose number and position follow from it
ORDER = UUID(int=0x7000_8000_0000_0000_0000 + SOMEWHERE)
OWNER = UUID(int=0x7000_8000_0000_0000_0000 + SOMEWHERE % USERS)
POSITION = SOMEWHERE // 4 + 1
AT = datetime(2026, 1, 1, tzinfo=UTC)
BIG = ("events", "order_view_1")
Read = Callable[[AsyncConnection], Awaitable[Any]]

LINE = '{"line_id":1,"sku":"PEN","name":null,"quantity":1,"unit_price_minor":0,"attributes":{}}'
# One event an order, 64 orders a moment. One order in ten thousand is of a rare kind.
EVENTS = f"""
INSERT INTO events (position, recorded_at, stream_id, event_id, version, partition, schema_version,
                    type, data, metadata)
SELECT n / 4 + 1, timestamptz '2026-01-01' + make_interval(secs => n / 64 * 0.05), id, id, 1, n % 4,
       1, 'OrderPlaced', '{{"user_id":"{OWNER}","currency":"USD","lines":[{LINE}],'
       '"shipping_fee_minor":0,"discount_minor":0,"total_minor":0}}', '["system"]'
FROM (SELECT n, ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid AS id
      FROM generate_series(0, {ORDERS - 1}) n) given
"""
ROWS = f"""
INSERT INTO read_models.order_view
    (generation, partition, order_id, user_id, status, payment_status, fulfillment_status, currency,
     total_minor, version, created_at, updated_at, document, number, amount_due_minor,
     credit_due_minor, lines, units, terms, return_open, refund_failed, prices_trusted,
     on_hold)
SELECT 1, n % 4, id, ('00000000-0000-7000-8000-' || lpad(to_hex(n % {USERS}), 12, '0'))::uuid,
       CASE WHEN rare = 1 THEN 'RETURNED' ELSE 'DELIVERED' END,
       CASE WHEN rare = 2 THEN 'UNPAID' ELSE 'PAID' END,
       CASE WHEN rare = 3 THEN 'SHIPPED' ELSE 'DELIVERED' END,
       'USD', n % 5000, 1, at, at, '{{}}', 'A-' || 4 * (n / 4 + 1) + n % 4 || '-0', 0,
       CASE WHEN rare = 4 THEN 1 ELSE 0 END, 1, 1, ARRAY['sku-' || n % 20000],
       rare = 5, rare = 6, rare <> 7, rare = 8
FROM (SELECT n, n % 10000 AS rare, timestamptz '2026-01-01' + make_interval(secs => n / 64 * 0.05)
      AS at, ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid AS id
      FROM generate_series(0, {ORDERS - 1}) n) given
"""
HEADS = f"UPDATE partitions SET position = {ORDERS // 4}"
CHECKPOINTS = f"UPDATE checkpoints SET position = {ORDERS // 4 - 500}"
INDEXES = (
    "SELECT format('DROP INDEX %s', indexrelid::regclass), "
    "replace(pg_get_indexdef(indexrelid), ' ON ONLY ', ' ON ') FROM pg_index "
    "WHERE indrelid = 'read_models.order_view'::regclass AND NOT indisprimary"
)
CONSTRAINTS = (
    "SELECT format('ALTER TABLE events DROP CONSTRAINT %I', conname), "
    "format('ALTER TABLE events ADD CONSTRAINT %I %s', conname, pg_get_constraintdef(oid)) "
    "FROM pg_constraint WHERE conrelid = 'events'::regclass AND contype IN ('p', 'u')"
)


async def _fill(settings: Settings) -> None:
    """Two connections, a core each."""
    await asyncio.gather(
        _run(settings, CONSTRAINTS, (EVENTS, HEADS, CHECKPOINTS), "events"),
        _run(settings, INDEXES, (ROWS,), "read_models.order_view, read_models.order_view_1"),
    )


async def _run(settings: Settings, indexes: str, statements: Sequence[str], tables: str) -> None:
    """Indexes come after the rows: in half of the time."""
    connection = await raw(settings)
    try:
        await connection.execute("SET synchronous_commit = off; SET maintenance_work_mem = '256MB'")
        made = await connection.fetch(indexes)
        again = [create for _, create in made]
        for statement in (*(drop for drop, _ in made), *statements, *again, f"ANALYZE {tables}"):
            await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def filled(migrated_template: Settings) -> Iterator[Settings]:
    with own_database(migrated_template) as settings:
        asyncio.run(_fill(settings))
        yield settings


@pytest.fixture
async def engine(filled: Settings) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(filled, PROJECTOR, application_name="test-plans", pool_size=1)
    yield engine
    await engine.dispose()


@dataclass
class Plans:
    """What was sent, and how it ran. `read`: rows that scans of the big tables looked at."""

    returned: int = 0
    read: int = 0
    scans: list[str] = field(default_factory=list)

    def add(self, node: dict[str, Any]) -> None:
        kind, table = node["Node Type"], node.get("Relation Name")
        if table in BIG:
            self.scans.append(f"{kind} of {table} by {node.get('Index Name')}")
            looked_at = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
            looked_at += node.get("Rows Removed by Index Recheck", 0)
            self.read += round(looked_at * node["Actual Loops"])
        for child in node.get("Plans", ()):
            self.add(child)


async def explained(engine: AsyncEngine, read: Read) -> Plans:
    """The plans of every SELECT that `read` sends."""
    sent: list[tuple[str, Any]] = []
    plans = Plans()

    @event.listens_for(engine.sync_engine, "before_cursor_execute")
    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        sent.append((statement, parameters))

    async with engine.connect() as connection:
        driver = await driver_of(connection)
        # What goes to the driver by SQLAlchemy is not in its own log.
        with driver.query_logger(lambda query: sent.append((query.query, query.args))):
            await read(connection)
            await asyncio.sleep(0)  # the driver tells its log of a query in the loop's next turn
        for statement, parameters in [s for s in sent if s[0].lstrip().startswith("SELECT")]:
            explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"
            [plan] = await driver.fetchval(explain, *parameters)
            plans.returned += round(plan["Plan"]["Actual Rows"])
            plans.add(plan["Plan"])
        await connection.rollback()
    return plans


async def driver_of(connection: AsyncConnection) -> Any:
    return (await connection.get_raw_connection()).driver_connection


async def relay_reads(connection: AsyncConnection) -> None:
    driver = await driver_of(connection)
    me = uuid4()
    await driver.execute(relay.LEASE, me, 60.0, 0)
    await driver.fetch(relay.NEXT, me, 2.0, 256)


async def worker_reads(connection: AsyncConnection) -> None:
    driver = await driver_of(connection)
    next_events = [(n, HEAD - 500, HEAD - 400) for n in (0, 1)]
    events = await reading.read_next(driver, next_events)
    await reading.read_earlier(driver, [events[0]._replace(version=2)])


async def tick(connection: AsyncConnection) -> None:
    await checkpoints.behind(await driver_of(connection))


def assert_frugal(plans: Plans, more: int = 150) -> None:
    """`more`: rows that may be read beside those returned: one moment's orders, twice."""
    assert plans.scans, "the statement does not reach what this is about"
    assert not [scan for scan in plans.scans if scan.startswith("Seq Scan")]
    assert plans.read <= 2 * plans.returned + more, plans


PROJECTION = Target(order_view.PROJECTION, 1, 0, 4)
HEAD = ORDERS // 4
LOG: dict[str, Read] = {
    "an order": lambda c: order_view.find_orders(c, [ORDER, uuid4()], 4),
    "a stream": lambda c: reading.read_stream(c, ORDER, 0),
    "a part of the log": lambda c: reading.read_partition(c, 0, POSITION, 256),
    "first events": lambda c: reading.read_first_events(c, 0, [ORDER, uuid4()]),
    "events with text": lambda c: reading.read_events_with_text(c, ORDER, 0, 0, 50),
    "who moved": lambda c: reading.changed_streams(c, 0, POSITION, POSITION + 100),
    "by number": lambda c: reading.find_stream(c, 0, POSITION),
    "streams": lambda c: reading.read_streams(c, 0, [ORDER, UUID(int=ORDER.int + 4)], HEAD),
    "a range of streams": lambda c: reading.read_stream_range(c, 0, ORDER, HEAD, 1000),
    "whole streams": lambda c: reading.read_whole_streams(c, [ORDER, uuid4()], 4),
    "what the relay sends": relay_reads,
    "what a worker takes": worker_reads,
    "age of an event": lambda c: freshness.greatest_age(c, [(0, POSITION)]),
    "a step": lambda c: step.step(c, PROJECTION, HEAD - 500, HEAD),
    "expired holds": lambda c: c.execute(
        expiring.EXPIRED_HOLDS,
        {
            "after_at": expiry.BEGINNING[0],
            "after_id": expiry.BEGINNING[1],
            "before": AT,
            "limit": 100,
        },
    ),
    "unpaid orders": lambda c: c.execute(
        expiring.UNPAID,
        {
            "after_at": expiry.BEGINNING[0],
            "after_id": expiry.BEGINNING[1],
            "placed_before": AT,
            "limit": 100,
        },
    ),
}


@pytest.mark.parametrize("read", LOG.values(), ids=LOG)
async def test_the_log_and_its_orders_are_found_by_their_indexes(
    engine: AsyncEngine, read: Read
) -> None:
    assert_frugal(await explained(engine, read))


async def whole_board(connection: AsyncConnection) -> None:
    """On a connection as `query` gives it."""
    await board.read(await connection.execution_options(isolation_level="AUTOCOMMIT"))


BOARD: dict[str, Read] = {
    "whole": whole_board,
    "what changed": lambda c: board.read_changed(c, [HEAD - 100] * 4, [HEAD] * 4),
}


@pytest.mark.parametrize("read", BOARD.values(), ids=BOARD)
async def test_the_board_reads_no_order_that_is_not_on_it(filled: Settings, read: Read) -> None:
    """By the web's role: it knows the customers' addresses."""
    engine = create_engine(filled, WEB, application_name="test-plans", pool_size=1)
    try:
        plans = await explained(engine, read)
    finally:
        await engine.dispose()

    assert plans.returned >= 300
    assert_frugal(plans, more=2 * 400)


YEAR = (datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
SMALL: dict[str, Read] = {
    "heads": reading.heads,
    "progress": lambda c: freshness.read_progress(c, "order_view"),
    "tick": tick,
    "turn": lambda c: checkpoints.try_lock_live(c, order_view.PROJECTION, 0),
    "customer": lambda c: customer_summary.summary(c, OWNER),
    "sales": lambda c: sales_by_day.report(c, date(2026, 1, 1), date(2026, 12, 31)),
    "sales by the hour": lambda c: sales_by_hour.series(c, *YEAR, "hour"),
    "what became of sales": lambda c: sales_by_hour.summed_facts(c, *YEAR),
}


@pytest.mark.parametrize("read", SMALL.values(), ids=SMALL)
async def test_what_is_polled_never_looks_at_the_big_tables(
    engine: AsyncEngine, read: Read
) -> None:
    plans = await explained(engine, read)

    assert plans.scans == []


# --- lists ----------------------------------------------------------------------------------------

SORTS = ("created_at", "-created_at", "updated_at", "-updated_at", "total_price", "-total_price")
FILTERS: dict[str, int] = {  # with the rows that may be read beside those returned
    "": 150,
    "status=DELIVERED": 200,
    "payment_status=PAID": 200,
    f"user_id={OWNER}": 250,
    "created_from=2026-01-01T00:02:00Z": 400,
    "created_from=2026-01-01T00:02:00Z&sort=updated_at": 400,
    "updated_to=2026-01-01T00:10:00Z": 400,
}
RARE = {  # all that there is of them is read, then sorted
    "status=RETURNED": 100,
    "status=RETURNED,SHIPPED&payment_status=PAID": 100,
    "payment_status=UNPAID": 100,
    "payment_status=REFUNDED,UNPAID": 100,
    "fulfillment_status=SHIPPED": 100,
    "has_credit_due=true": 100,
    "return_open=true": 300,
    "prices_trusted=false": 300,
    "on_hold=true": 300,
    "refund_failed=true&return_open=false": 300,
    "q=SKU-77": 50,
    "q=nothing": 0,
    f"q=A-{SOMEWHERE + 4}-0": 1,
    "q=A-7777": 112,
    "total_min=0.10&total_max=0.10": 200,
    f"user_id={OWNER}&status=DELIVERED": 200,
}


def asked(query: str, sort: str) -> tuple[Any, Any]:
    given = dict(part.split("=") for part in query.split("&") if part)
    parameters = StaffListParameters.model_validate({"sort": sort, "currency": "USD"} | given)
    return conditions(parameters, parameters.user_id), parameters.sort


async def pages(connection: AsyncConnection, query: str, sort: str) -> None:
    """The first page, the next one, and back."""
    where, by = asked(query, sort)
    first: Page = await order_list.read_page(connection, SUMMARY, where, by, 50)
    if first.after is not None:
        second = await order_list.read_page(connection, SUMMARY, where, by, 50, first.after)
        await order_list.read_page(connection, SUMMARY, where, by, 50, second.before)


@pytest.mark.parametrize("sort", SORTS)
async def test_each_sort_has_its_index(engine: AsyncEngine, sort: str) -> None:
    plans = await explained(engine, lambda c: pages(c, "", sort))

    assert plans.returned >= 150
    assert_frugal(plans, more=3 * 150)


@pytest.mark.parametrize(("query", "more"), FILTERS.items(), ids=FILTERS)
async def test_a_list_of_many_is_read_in_its_order(
    engine: AsyncEngine, query: str, more: int
) -> None:
    assert_frugal(await explained(engine, lambda c: pages(c, query, "-created_at")), 3 * more)


@pytest.mark.parametrize("sort", ["-created_at", "updated_at", "-total_price"])
@pytest.mark.parametrize(("query", "found"), RARE.items(), ids=RARE)
async def test_a_list_of_few_reads_no_others(
    engine: AsyncEngine, query: str, found: int, sort: str
) -> None:
    plans = await explained(engine, lambda c: pages(c, query, sort))

    assert_frugal(plans, more=3 * found + 150)


async def test_a_total_is_counted_no_further_than_told(engine: AsyncEngine) -> None:
    where, _ = asked("status=DELIVERED", "-created_at")

    plans = await explained(engine, lambda c: order_list.count(c, where))

    assert plans.read <= 10_001 + 150


async def test_an_append_reads_no_events_but_its_own_streams(filled: Settings) -> None:
    """The function forbids sequential scans, which is no more than a price: what it did counts."""
    connection = await raw(filled)
    try:
        async with connection.transaction():
            await raw_append(connection, UUID(int=uuid4().int // 4 * 4))
            [row] = await connection.fetch(
                "SELECT seq_scan, idx_tup_fetch FROM pg_stat_xact_user_tables "
                "WHERE relname = 'events'"
            )
    finally:
        await connection.close()

    assert row["seq_scan"] == 0
    assert row["idx_tup_fetch"] <= 1
