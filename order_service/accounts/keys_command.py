"""keys: API keys of programs, from the command line; needs the database's password."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from order_service import limits
from order_service.accounts import key_store
from order_service.accounts.api_keys import SCOPES, prefix_of
from order_service.accounts.key_store import ApiKey, NewKey
from order_service.infra.postgres import WEB, create_engine
from order_service.infra.terminal import aligned
from order_service.settings import Settings, check_duration, check_rate

_HEADS = ("id", "name", "scopes", "limit", "acts for", "last used", "expires", "revoked")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True)
    listed = actions.add_parser("list", help="list the keys that are not revoked")
    listed.add_argument("--json", action="store_true", help="print JSON")
    create = actions.add_parser("create", help="create a key, and print it")
    create.add_argument("name")
    _add_scopes(create, required=True)
    create.add_argument("--rate-limit", type=_of(check_rate), metavar="RATE", help="as 1000/minute")
    create.add_argument("--expires", type=_time, metavar="TIME", help="as 2027-01-01T00:00:00Z")
    create.add_argument("--acts-for", type=UUID, metavar="USER_ID", help="for this user only")
    rotate = actions.add_parser("rotate", help="print a new key; the present one holds a while")
    _add_id(rotate)
    overlap = timedelta(seconds=limits.API_KEY_OVERLAP_DEFAULT_S)
    rotate.add_argument(
        "--overlap",
        type=_overlap,
        default=overlap,
        metavar="DURATION",
        help="as PT24H, the default",
    )
    narrow = actions.add_parser("narrow", help="take scopes away: only those named stay")
    _add_id(narrow)
    _add_scopes(narrow, required=True)
    _add_id(actions.add_parser("revoke", help="end a key now"))


def _add_id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", type=UUID)


def _add_scopes(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument(
        *("--scope", "-s"), choices=SCOPES, action="append", required=required, dest="scopes"
    )


def _of(check: Callable[[str], Any]) -> Callable[[str], Any]:
    """`check` for argparse, which then shows the error's own text."""

    def checked(text: str) -> Any:
        try:
            return check(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return checked


@_of
def _time(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError("the time needs an offset, such as Z")
    return at.astimezone(UTC)


@_of
def _overlap(text: str) -> timedelta:
    overlap = check_duration(text)
    if overlap > timedelta(seconds=limits.API_KEY_OVERLAP_MAX_S):
        raise ValueError("at most P7D")
    return overlap


async def run(arguments: argparse.Namespace, settings: Settings) -> int:
    engine = create_engine(settings, WEB, application_name="keys", pool_size=1)
    try:
        await _run(arguments, engine)
    finally:
        await engine.dispose()
    return 0


async def _run(arguments: argparse.Namespace, engine: AsyncEngine) -> None:
    match arguments.action:
        case "list":
            _print_all(await key_store.list_all(engine), as_json=arguments.json)
        case "create":
            wanted = NewKey(
                arguments.name,
                arguments.scopes,
                arguments.rate_limit,
                arguments.expires,
                arguments.acts_for,
            )
            _print_new(*await key_store.create(engine, wanted, None))
        case "rotate":
            _print_new(*await key_store.rotate(engine, arguments.id, arguments.overlap))
        case "narrow":
            changes = {"scopes": arguments.scopes}
            key = await key_store.change(engine, arguments.id, changes)
            print(f"API key {key.id} has the scopes {', '.join(key.scopes)}.")
        case "revoke":
            key = await key_store.revoke(engine, arguments.id)
            print(f"API key {key.id} is revoked.")


def _print_new(stored: ApiKey, key: str) -> None:
    """The key alone on standard output, for `KEY=$(...)`."""
    before = ""
    if stored.previous_until is not None:
        before = f" The one before it holds until {_minute(stored.previous_until)} UTC."
    print(f"API key {stored.id}.{before} It is shown this once:", file=sys.stderr)
    print(key)


def _print_all(keys: Sequence[ApiKey], *, as_json: bool) -> None:
    if as_json:
        shown = [{**asdict(key), "prefix": prefix_of(key.id)} for key in keys]
        print(json.dumps(shown, default=_text))
        return
    rows = [
        (
            *(key.id, key.name, " ".join(key.scopes), key.rate_limit, key.acts_for),
            *(_minute(at) for at in (key.last_used_at, key.expires_at, key.revoked_at)),
        )
        for key in keys
    ]
    print(aligned(_HEADS, rows) if rows else "There are no API keys.")


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _minute(at: datetime | None) -> str | None:
    return None if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M}"
