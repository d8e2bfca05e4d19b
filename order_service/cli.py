"""The command line: every role and command but those of the private stack. May import everything.

`./entrypoint.sh WORD ...` ends here, in the container and outside. Roles that are programs of their
own (uvicorn, Celery, Flower, Alembic) take this process over; the others run until SIGTERM.
"""

import argparse
import asyncio
import getpass
import logging
import os
import secrets
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import NoReturn

import uvloop
from pydantic import ValidationError

from order_service import relay
from order_service import settings as limits
from order_service.accounts.users import create_user
from order_service.db import WEB, create_engine
from order_service.errors import OrderServiceError
from order_service.settings import Settings
from projections import consumer, dead_letters, flower, replay, status, verify
from projections.tasks import worker_argv

Run = Callable[[Settings, asyncio.Event], Awaitable[None]]
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
# How uvicorn serves us; the benchmarks' yardsticks are served so too, but for the protocol.
PROTOCOL = ("--http", "order_service.api.connection:Connection")
SERVING = (
    *("--loop", "uvloop", "--ws", "none"),
    *("--no-server-header", "--no-proxy-headers", "--no-access-log"),
    *("--timeout-graceful-shutdown", str(limits.SHUTDOWN_GRACE_S)),
)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    try:
        settings = Settings()
    except ValidationError as error:
        for wrong in error.errors():
            print(f"{wrong['loc'][0]}: {wrong['msg']}", file=sys.stderr)
        print("Set these in the environment; .env.example lists all settings.", file=sys.stderr)
        return 2
    try:
        code: int = arguments.run(arguments, settings)
    except OrderServiceError as error:
        print(error.detail, file=sys.stderr)
        return 1
    except BrokenPipeError:  # whoever read us has seen enough, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="entrypoint.sh")
    words = parser.add_subparsers(dest="word", required=True, metavar="WORD")

    def word(name: str, summary: str, run: Callable[..., int]) -> argparse.ArgumentParser:
        added = words.add_parser(name, help=summary, description=summary)
        added.set_defaults(run=run)
        return added

    web = word("web", "the HTTP API", _web)
    web.add_argument("--host", default="0.0.0.0")  # noqa: S104  # what a container must listen on
    web.add_argument("--port", type=int, default=8000)
    word("relay", "publish the log to RabbitMQ", _role(relay.run))
    word("consumer", "turn messages into tasks", _role(consumer.run))
    word("worker", "run tasks: bring read models up to date", _worker)
    watch = word("flower", "watch the workers", _flower)
    watch.add_argument("--host", help="where it listens; else at FLOWER_ADDRESS")
    word("migrate", "bring the database up to this code", _migrate)
    user = word("create-user", "add an account of any role; prints its password", _create_user)
    user.add_argument("email")
    user.add_argument("--role", choices=("customer", "staff", "admin"), default="customer")
    user.add_argument(
        "--password-stdin", action="store_true", help="read it, instead of making one"
    )
    for name, summary, module in (
        ("replay", "rebuild read models from the log, under traffic", replay),
        ("verify", "compare read models and cache with the log", verify),
        ("status", "how far relay and projections are", status),
        ("dead-letters", "events that a projection could not apply", dead_letters),
    ):
        module.add_arguments(word(name, summary, _command(module.run)))
    return parser


def _become(*argv: str, **environment: str) -> NoReturn:
    sys.stdout.flush()
    command = [sys.executable, "-m", *argv]
    os.execve(sys.executable, command, {**os.environ, **environment})  # noqa: S606  # ours


def _web(arguments: argparse.Namespace, settings: Settings) -> int:
    _become(
        *("uvicorn", "order_service.main:create_app", "--factory"),
        *("--host", arguments.host, "--port", str(arguments.port)),
        *("--workers", str(settings.WEB_WORKERS), *SERVING, *PROTOCOL),
    )


def _worker(_: argparse.Namespace, settings: Settings) -> int:
    _become(*worker_argv(settings))


def _flower(arguments: argparse.Namespace, settings: Settings) -> int:
    _become(*flower.argv(settings, arguments.host), **flower.environment(settings))


def _migrate(_: argparse.Namespace, __: Settings) -> int:
    _become("alembic", "upgrade", "head")


def _role(run: Run) -> Callable[[argparse.Namespace, Settings], int]:
    """A role of our own: it runs until SIGTERM or Ctrl-C, then finishes what it holds."""

    async def until_stopped(settings: Settings) -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await run(settings, stop)

    def start(_: argparse.Namespace, settings: Settings) -> int:
        uvloop.run(until_stopped(settings))
        return 0

    return start


def _command(
    run: Callable[[argparse.Namespace, Settings], Awaitable[int]],
) -> Callable[[argparse.Namespace, Settings], int]:
    async def main(arguments: argparse.Namespace, settings: Settings) -> int:
        return await run(arguments, settings)

    return lambda arguments, settings: uvloop.run(main(arguments, settings))


def _create_user(arguments: argparse.Namespace, settings: Settings) -> int:
    made = not arguments.password_stdin
    password = secrets.token_urlsafe(18) if made else _read_password()

    async def create() -> None:
        engine = create_engine(settings, WEB, application_name="create-user", pool_size=1)
        try:
            await create_user(engine, arguments.email, password, arguments.role)
        finally:
            await engine.dispose()

    uvloop.run(create())
    print(f"{arguments.role} {arguments.email}" + (f" password {password}" if made else ""))
    return 0


def _read_password() -> str:
    if sys.stdin.isatty():
        return getpass.getpass()
    return sys.stdin.readline().rstrip("\n")


if __name__ == "__main__":
    sys.exit(main())
