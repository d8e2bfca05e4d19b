"""events tail: prints the events of the log, and new ones as they come.

It reads the log by position, as the streams do, so it misses no event; after an outage of the
database it continues where it stopped.
"""

import argparse
import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from order_service import limits
from order_service.errors import InvalidRequest
from order_service.infra.postgres import FAILURES, WEB, create_engine, query
from order_service.log import reading
from order_service.settings import Settings
from order_service.telemetry.logging import reason
from projections.commands import orders_as_text
from projections.commands.orders import resolve
from projections.queries.positions import as_text, parse
from projections.streams.feeds import Pages
from projections.streams.watch import LogWatch

logger = logging.getLogger(__name__)

Event = dict[str, Any]
Wanted = Callable[[Event], bool]
CONNECTIONS = 3  # one for the watch, two for pages


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    tail = actions.add_parser("tail", help="print events as they come, until Ctrl-C")
    tail.add_argument("--since", metavar="ID", help="only events after this `id` (see --json)")
    tail.add_argument(
        "--last",
        type=_count,
        default=10,
        help="begin with so many per partition (%(default)s)",
    )
    tail.add_argument("--no-follow", action="store_true", help="stop after the existing events")
    tail.add_argument("--type", help="only events of this type, such as OrderPaid")
    tail.add_argument("--order", help="only events of the order with this id or number")
    tail.add_argument(
        "--actor", help="only events of this actor: user, staff, key, system or an id"
    )
    tail.add_argument("--json", action="store_true", help="print one JSON object per line")


def _count(value: str) -> int:
    if not 0 <= int(value) <= limits.ORDERS_SHOWN_MAX:
        raise argparse.ArgumentTypeError(f"expected 0 to {limits.ORDERS_SHOWN_MAX}")
    return int(value)


async def run(args: argparse.Namespace, settings: Settings) -> int:
    engine = create_engine(settings, WEB, application_name="events", pool_size=CONNECTIONS)
    positions: dict[int, int] = {}
    try:
        wanted = await _wanted(args, engine)
        positions |= await _beginning(args, engine)
        async for event in _tail(engine, positions, follow=not args.no_follow):
            if wanted(event):
                print(json.dumps(event) if args.json else _line(event), flush=True)
    except asyncio.CancelledError:  # Ctrl-C
        if positions:
            print(f"Continue with --since {_id(positions)}", file=sys.stderr)
        raise
    finally:
        await engine.dispose()
    return 0


async def _wanted(args: argparse.Namespace, engine: AsyncEngine) -> Wanted:
    order_id: UUID | None = None
    if args.order is not None:
        partitions = len(await query(engine, reading.heads))
        order_id = await query(engine, lambda c: resolve(c, args.order, partitions))

    def wanted(event: Event) -> bool:
        return (
            (args.type is None or event["type"] == args.type)
            and (order_id is None or event["order_id"] == str(order_id))
            and (args.actor is None or args.actor in event.get("actor", {}).values())
        )

    return wanted


async def _beginning(args: argparse.Namespace, engine: AsyncEngine) -> dict[int, int]:
    """Partition to the position to begin after. Raises InvalidRequest."""
    heads = await query(engine, reading.heads)
    if args.since is None:
        return {partition: max(0, head - args.last) for partition, head in heads.items()}
    try:
        return dict(zip(sorted(heads), parse(args.since), strict=True))
    except ValueError:
        detail = f"--since {args.since}: expected {len(heads)} positions, joined by dots."
        raise InvalidRequest("validation", detail) from None


async def _tail(
    engine: AsyncEngine, positions: dict[int, int], *, follow: bool
) -> AsyncIterator[Event]:
    """Events after the positions, which it advances; in order within each partition."""
    pages, watch = Pages(engine), LogWatch(engine)
    try:
        with watch.listening(None) as woken:
            while True:
                if follow:
                    await woken.wait()
                    woken.clear()
                async for event in _existing(pages, positions):
                    yield event
                if not follow:
                    return
    finally:
        await watch.close()


async def _existing(pages: Pages, positions: dict[int, int]) -> AsyncIterator[Event]:
    """Reads a page of each partition, sorts them by time, and repeats until all are read."""
    more = set(positions)
    while more:
        read: list[tuple[int, int, Event]] = []
        for partition in sorted(more):
            try:
                page = await pages.of_partition(partition, positions[partition])
            except FAILURES as error:
                logger.warning("The database does not answer: %s; retrying.", reason(error))
                await asyncio.sleep(limits.STREAM_RETRY_S)
                continue
            if len(page) < limits.STREAM_PAGE_EVENTS:
                more.discard(partition)
            read += [
                (partition, shown.position, json.loads(shown.data))
                for shown in page
                if shown.data is not None
            ]
        for partition, position, event in sorted(read, key=lambda found: found[2]["at"]):
            positions[partition] = position
            yield {"id": _id(positions)} | event


def _id(positions: dict[int, int]) -> str:
    return as_text(positions[partition] for partition in sorted(positions))


def _line(event: Event) -> str:
    order = f"{event['order_id']} {event['version']:>4}"
    return f"{event['at']}  {order}  {event['type']:<24}  {orders_as_text.actor(event)}"
