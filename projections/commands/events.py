"""events tail: the log as it grows, on the command line.

It reads the log by position as the streams do, so it misses nothing, and goes on where it was when
the database comes back.
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
from projections.commands import orders_as_text
from projections.commands.orders import resolve
from projections.streams.feeds import Pages
from projections.streams.watch import LogWatch

logger = logging.getLogger(__name__)

Event = dict[str, Any]
Wanted = Callable[[Event], bool]
CONNECTIONS = 3  # the watch's, and those of two pages


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    tail = actions.add_parser("tail", help="the log as it grows, until Ctrl-C")
    tail.add_argument("--since", metavar="ID", help="after this event: its `id` in --json")
    tail.add_argument(
        "--last", type=_count, default=10, help="so many of each partition first (%(default)s)"
    )
    tail.add_argument("--no-follow", action="store_true", help="only what is there already")
    tail.add_argument("--type", help="of this type only, such as OrderPaid")
    tail.add_argument("--order", help="of this order only: its id or number")
    tail.add_argument("--actor", help="by this one only: user, staff, system or an id")
    tail.add_argument("--json", action="store_true", help="a line an event, for programs")


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
            print(f"Go on with --since {_id(positions)}", file=sys.stderr)
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
    """Partition to the position after which it begins. Raises InvalidRequest."""
    heads = await query(engine, reading.heads)
    if args.since is None:
        return {partition: max(0, head - args.last) for partition, head in heads.items()}
    positions = args.since.split(".")
    if len(positions) != len(heads) or not all(p.isdecimal() for p in positions):
        raise InvalidRequest(
            "validation", f"--since {args.since}: expected {len(heads)} positions, joined by dots."
        )
    return dict(zip(sorted(heads), map(int, positions), strict=True))


async def _tail(
    engine: AsyncEngine, positions: dict[int, int], *, follow: bool
) -> AsyncIterator[Event]:
    """Events after the positions, which it moves on; in order inside a partition."""
    pages, watch = Pages(engine), LogWatch(engine)
    try:
        with watch.listening(None) as woken:
            while True:
                if follow:
                    await woken.wait()
                    woken.clear()
                async for event in _what_is_there(pages, positions):
                    yield event
                if not follow:
                    return
    finally:
        await watch.close()


async def _what_is_there(pages: Pages, positions: dict[int, int]) -> AsyncIterator[Event]:
    """The pages of the partitions in turn, each sorted by time, until all have been read."""
    more = set(positions)
    while more:
        read: list[tuple[int, int, Event]] = []
        for partition in sorted(more):
            try:
                page = await pages.of_partition(partition, positions[partition])
            except FAILURES as error:
                logger.warning("The database is away: %s", type(error).__name__)
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
    return ".".join(str(positions[partition]) for partition in sorted(positions))


def _line(event: Event) -> str:
    order = f"{event['order_id']} {event['version']:>4}"
    return f"{event['at']}  {order}  {event['type']:<24}  {orders_as_text.actor(event)}"
