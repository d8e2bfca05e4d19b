"""The word `demo` of the command line."""

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from random import Random
from typing import Any

from order_service import limits
from order_service.accounts import command as create_user
from order_service.demo.client import Client, NoAnswer, Refused
from order_service.demo.shop import Shop
from order_service.infra.postgres import FAILURES
from order_service.infra.terminal import aligned
from order_service.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    here = os.environ.get(limits.WEB_URL, "http://127.0.0.1:8000")
    parser.add_argument("--url", default=here, help="the running service (%(default)s)")
    parser.add_argument("--rate", type=_rate, default=5.0, help="commands a second (%(default)s)")
    parser.add_argument(
        "--orders",
        type=_up_to(limits.DEMO_ORDERS_MAX),
        default=1_000,
        help="orders in all (%(default)s)",
    )
    parser.add_argument(
        "--at-once",
        type=_up_to(limits.DEMO_ORDERS_MAX),
        default=40,
        help="orders placed at the start (%(default)s)",
    )
    parser.add_argument(
        "--customers",
        type=_up_to(limits.DEMO_CUSTOMERS_MAX),
        default=6,
        help="customers (%(default)s)",
    )
    parser.add_argument("--minutes", type=_rate, default=60.0, help="minutes at most (%(default)s)")
    parser.add_argument("--seed", type=int, help="repeats the same purchases and changes")
    parser.add_argument("--json", action="store_true", help="the summary as JSON")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """0, also after Ctrl-C, which is how it ends. 1: the service cannot be used."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    began = time.monotonic()
    try:
        client = Client(arguments.url, _say)
    except NoAnswer as error:
        _say(str(error))
        return 1
    shop = Shop(client, Random(arguments.seed))  # noqa: S311  # believable, not secret
    try:
        client.require_service()
        _open(shop, arguments, settings)
        _keep_living(shop, client, arguments, began + arguments.minutes * 60)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # an impatient second one: it ends anyway
        _say("Stopped.")
    except (NoAnswer, Refused) as error:
        _say(str(error))
        return 1
    finally:
        client.close()
    summary = _summary(shop, client, time.monotonic() - began)
    print(json.dumps(summary) if arguments.json else _as_text(summary))
    return 0


def _open(shop: Shop, arguments: argparse.Namespace, settings: Settings) -> None:
    password = create_user.new_password()
    staff = shop.staff_account(password)
    try:
        asyncio.run(create_user.create(settings, staff.email, password, "staff"))
    except FAILURES as error:
        raise NoAnswer(
            f"PostgreSQL at {settings.DB_HOST}:{settings.DB_PORT} does not serve the demo "
            f"({type(error).__name__}): `./entrypoint.sh doctor` says what is wrong."
        ) from None
    shop.open(arguments.customers)
    shop.place_many(min(arguments.at_once, arguments.orders))
    _say(f"{shop.placed} orders of {arguments.customers} customers; Ctrl-C ends it.")


def _keep_living(shop: Shop, client: Client, arguments: argparse.Namespace, ends_at: float) -> None:
    """Returns when all orders are placed and finished, or the time is over."""
    due = shown_at = time.monotonic()
    told = False
    while time.monotonic() < ends_at and (shop.living or shop.placed < arguments.orders):
        shop.go_on(arguments.orders)
        allowed = client.limit.rate if client.limit else arguments.rate
        if allowed < arguments.rate and not told:
            told = True
            _say(
                f"The service's RATE_LIMIT allows {allowed:.1f} commands a second from this "
                f"address, not {arguments.rate:g}. To raise it, start the service by "
                "`RATE_LIMIT=100000/minute ./entrypoint.sh up`."
            )
        due = max(due + 1 / min(arguments.rate, allowed), time.monotonic())
        if time.monotonic() - shown_at >= limits.PROGRESS_LINE_S:
            shown_at = time.monotonic()
            _say(_progress(shop))
        time.sleep(max(0.0, due - time.monotonic()))


def _progress(shop: Shop) -> str:
    counts = shop.counts
    return (
        f"{shop.placed:,} orders placed, {len(shop.living):,} of them live; "
        f"{counts.commands:,} commands, {counts.refused.total():,} refused"
    )


def _summary(shop: Shop, client: Client, seconds: float) -> dict[str, Any]:
    counts = shop.counts
    return {
        "seconds": round(seconds, 1),
        "orders": shop.placed,
        "living": len(shop.living),
        "commands": counts.commands,
        "refused": counts.refused.total(),
        "sent_again": client.repeated,
        "lives": {
            kind: {
                "orders": placed,
                "ended": counts.ended[kind],
                "refused": counts.refused[kind],
            }
            for kind, placed in counts.placed.most_common()
        },
        "problems": dict(counts.problems),
    }


def _as_text(summary: dict[str, Any]) -> str:
    lives = [
        (kind.replace("_", " "), *counted.values()) for kind, counted in summary["lives"].items()
    ]
    total = (
        f"{summary['orders']:,} orders, {summary['living']:,} of them unfinished; "
        f"{summary['commands']:,} commands in {summary['seconds']:,} s, {summary['refused']} "
        f"refused, {summary['sent_again']} sent again."
    )
    problems = [f"refused {times} x {what}" for what, times in summary["problems"].items()]
    return "\n".join([aligned(("life", "orders", "ended", "refused"), lives), *problems, total])


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _rate(value: str) -> float:
    number = float(value)
    if not 0 < number < 1e6:
        raise argparse.ArgumentTypeError("expected more than 0")
    return number


def _up_to(most: int) -> Any:
    def number(value: str) -> int:
        if not 1 <= int(value) <= most:
            raise argparse.ArgumentTypeError(f"expected 1 to {most}")
        return int(value)

    return number
