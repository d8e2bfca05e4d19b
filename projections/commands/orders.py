"""orders: shows orders on the command line, as they are now and as they were.

One order is read from its stream, so it is never behind; a list is read from `order_view`. All
transactions are read-only.
"""

import argparse
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from msgspec import to_builtins
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from order_service import limits
from order_service.documents.event import event_for, origin_of
from order_service.documents.history import Diff
from order_service.documents.order import document
from order_service.errors import InvalidRequest, OrderNotFound, UnreadableEvent
from order_service.ids import parse_order_number, parse_uuid
from order_service.infra.postgres import WEB, create_engine
from order_service.log import reading
from order_service.log.codec import StoredEvent
from order_service.log.fold import fold_stored
from order_service.settings import Settings
from projections.commands import orders_as_text
from projections.queries import order_list
from projections.queries.diff import changes
from projections.queries.filters import METADATA, Filters, StaffListParameters
from projections.queries.freshness import required_progress
from projections.queries.order_list import search, summary
from projections.read_models import order_view

Document = dict[str, Any]
Stream = Sequence[StoredEvent]
FILTERS = (*(name for name in Filters.model_fields if name != "metadata"), "user_id")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for action, (what, add, _) in _ACTIONS.items():
        command = actions.add_parser(action, help=what, description=what)
        add(command)
        command.add_argument("--json", action="store_true", help="print JSON")


def _add_list(parser: argparse.ArgumentParser) -> None:
    for name in FILTERS:
        described = StaffListParameters.model_fields[name].description or ""
        parser.add_argument(f"--{name.replace('_', '-')}", help=described.replace("%", "%%"))
    parser.add_argument(
        "--metadata",
        type=_entry,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="with this metadata entry; may be repeated",
    )
    parser.add_argument("--sort", default="-created_at", help="-created_at, updated_at, ...")
    parser.add_argument(
        "--limit",
        type=_count,
        default=limits.LIST_LIMIT_DEFAULT,
        help=f"at most {limits.ORDERS_SHOWN_MAX} (%(default)s)",
    )


def _entry(value: str) -> tuple[str, str]:
    key, equals, text = value.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError("expected KEY=VALUE")
    return key, text


def _count(value: str) -> int:
    if not 1 <= int(value) <= limits.ORDERS_SHOWN_MAX:
        raise argparse.ArgumentTypeError(f"expected 1 to {limits.ORDERS_SHOWN_MAX}")
    return int(value)


def _add_order(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("order", help="the order's id or number")


def _add_at(parser: argparse.ArgumentParser) -> None:
    _add_order(parser)
    parser.add_argument("at", help="a version, or a time such as 2026-01-31T12:00:00Z")


def _add_diff(parser: argparse.ArgumentParser) -> None:
    _add_order(parser)
    parser.add_argument("earlier", type=int, nargs="?", help="a version (default: LATER minus 1)")
    parser.add_argument("later", type=int, nargs="?", help="a version (default: the last)")


def _add_events(parser: argparse.ArgumentParser) -> None:
    _add_order(parser)
    parser.add_argument("--after-version", type=int, default=0)


async def run(args: argparse.Namespace, settings: Settings) -> int:
    """Returns the exit code: 0 done, 2 an option has an invalid value."""
    engine = create_engine(settings, WEB, application_name="orders", pool_size=1)
    try:
        shown = await _ACTIONS[args.action][2](args, engine, settings)
    except ValidationError as error:
        for wrong in error.errors():
            option = str(wrong["loc"][0]).replace("_", "-")
            print(f"--{option}: {wrong['msg']}", file=sys.stderr)
        return 2
    finally:
        await engine.dispose()
    print(json.dumps(shown) if args.json else orders_as_text.AS_TEXT[args.action](shown))
    return 0


# --- actions --------------------------------------------------------------------------------------


async def _list(
    args: argparse.Namespace, engine: AsyncEngine, settings: Settings
) -> list[Document]:
    options = {name: getattr(args, name) for name in (*FILTERS, "sort")}
    given = {name: value for name, value in options.items() if value is not None}
    given |= {f"{METADATA}{key}": value for key, value in args.metadata}
    parameters = StaffListParameters.model_validate(given)
    where = await search(engine, settings, parameters, parameters.user_id)
    found: list[Document] = []
    cursor = None
    async with _reading(engine) as connection:
        await required_progress(connection, order_view.PROJECTION)
        while len(found) < args.limit:
            size = min(limits.LIST_LIMIT_MAX, args.limit - len(found))
            page = await order_list.read_page(
                connection, order_list.SUMMARY, where, parameters.sort, size, cursor
            )
            found += to_builtins([summary(row) for row in page.rows])
            cursor = page.after
            if cursor is None:
                break
    return found


async def _show(args: argparse.Namespace, engine: AsyncEngine, _: Settings) -> Document:
    stream, partitions = await _stream(engine, args.order)
    return _document(stream, partitions)


async def _at(args: argparse.Namespace, engine: AsyncEngine, _: Settings) -> Document:
    stream, partitions = await _stream(engine, args.order)
    if args.at.isdecimal():
        then = stream[: int(args.at)]
        found = f"The order has versions 1 to {len(stream)}."
        if not 1 <= int(args.at) <= len(stream):
            raise InvalidRequest("validation", found)
    else:
        at = _time(args.at)
        then = [event for event in stream if event.recorded_at <= at]
        if not then:
            raise InvalidRequest(
                "validation", f"The order was placed at {stream[0].recorded_at.isoformat()}."
            )
    return _document(then, partitions)


def _time(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise InvalidRequest(
            "validation", f"{text}: expected a version, or a time with its offset from UTC."
        )
    return at


async def _diff(args: argparse.Namespace, engine: AsyncEngine, _: Settings) -> Document:
    stream, partitions = await _stream(engine, args.order)
    later = len(stream) if args.later is None else args.later
    earlier = max(0, later - 1) if args.earlier is None else args.earlier
    if not 0 <= earlier <= later <= len(stream):
        raise InvalidRequest(
            "validation", f"Expected two versions in their order, from 0 to {len(stream)}."
        )
    old, new = (
        _document(stream[:version], partitions) if version else None for version in (earlier, later)
    )
    shown: Document = to_builtins(Diff(earlier, later, changes(old, new)))
    return shown


async def _events(
    args: argparse.Namespace, engine: AsyncEngine, settings: Settings
) -> list[Document]:
    stream, _partitions = await _stream(engine, args.order)
    try:
        currency = origin_of(stream[0]).currency
    except UnreadableEvent:
        currency = None  # each event is then shown without its payload
    shown = (event_for("staff", event, currency) for event in stream[args.after_version :])
    found: list[Document] = to_builtins([event for event in shown if event is not None])
    return found


# --- reading --------------------------------------------------------------------------------------


@asynccontextmanager
async def _reading(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    async with engine.connect() as connection:
        await connection.execution_options(postgresql_readonly=True)
        yield connection


async def _stream(engine: AsyncEngine, order: str) -> tuple[Stream, int]:
    """All events of the order, and the number of partitions. Raises OrderNotFound."""
    async with _reading(engine) as connection:
        partitions = len(await reading.heads(connection))
        order_id = await resolve(connection, order, partitions)
        partition = reading.partition_of(order_id, partitions)
        stream = await reading.read_stream(connection, order_id, partition)
    if not stream:
        raise OrderNotFound
    return stream, partitions


async def resolve(connection: AsyncConnection, order: str, partitions: int) -> UUID:
    """The order's id, given the id or the number. Raises OrderNotFound."""
    order_id = parse_uuid(order)
    if order_id is None and (place := parse_order_number(order, partitions)) is not None:
        order_id = await reading.find_stream(connection, *place)
    if order_id is None:
        raise OrderNotFound
    return order_id


def _document(stream: Stream, partitions: int) -> Document:
    folded = fold_stored(stream, partitions)
    assert folded is not None, "a stream that was found has events"
    shown: Document = orjson.loads(document(folded))
    return shown


Action = Callable[[argparse.Namespace, AsyncEngine, Settings], Awaitable[Any]]
_ACTIONS: Mapping[str, tuple[str, Callable[[argparse.ArgumentParser], None], Action]] = {
    "list": ("list orders, newest first, with the filters of GET /orders/", _add_list, _list),
    "show": ("show an order as it is now", _add_order, _show),
    "at": ("show an order as it was at a version or a time", _add_at, _at),
    "diff": ("compare two versions of an order", _add_diff, _diff),
    "events": ("list an order's events", _add_events, _events),
}
