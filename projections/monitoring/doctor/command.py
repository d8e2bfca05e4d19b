"""doctor: the command line's word."""

import argparse
import asyncio
import json
import os
from dataclasses import asdict

from order_service import limits
from order_service.infra.terminal import aligned
from order_service.settings import Settings
from projections.monitoring.doctor import machine, postgres, rabbitmq, redis
from projections.monitoring.doctor.finding import Finding


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--url", default=os.environ.get(limits.WEB_URL), help="of the web process, to be asked, too"
    )
    parser.add_argument("--json", action="store_true", help="for programs")


async def run(args: argparse.Namespace, settings: Settings) -> int:
    """0 all is as expected; 1 something is wrong."""
    found = await examine(settings, args.url)
    print(json.dumps([asdict(one) for one in found]) if args.json else _as_text(found))
    return 1 if any(one.state == "wrong" for one in found) else 0


async def examine(settings: Settings, url: str | None) -> list[Finding]:
    """All findings, of the servers first; `url` None: no web process is asked."""
    found = await asyncio.gather(
        postgres.check(settings), redis.check(settings), rabbitmq.check(settings)
    )
    web = [await asyncio.to_thread(machine.check_web, url)] if url else []
    return [*(one for of_server in found for one in of_server), *web, *machine.check(settings)]


def _as_text(found: list[Finding]) -> str:
    rows = [(one.state, one.check, one.found, one.expected) for one in found]
    wrong = [one for one in found if one.state == "wrong"]
    said = [f"{one.check}: {one.remedy}" for one in wrong]
    end = f"{len(found)} checks, {len(wrong)} wrong."
    return "\n".join([aligned(("state", "check", "found", "expected"), rows), "", *said, end])
