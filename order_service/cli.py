"""The command line: all roles and commands except those of the private stack; shell completion.

`./entrypoint.sh WORD ...` calls this, in a container and outside. Roles that are other programs
(uvicorn, Celery, Flower, Alembic) replace this process; the other roles run until SIGTERM.

Each word imports its modules only when it is run: with all imports at the top every word waited
for Celery, and the relay kept it in memory.
"""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from importlib import import_module
from inspect import iscoroutinefunction
from typing import Any, NoReturn, TypeVar, cast

import uvloop
from pydantic import ValidationError

from order_service import limits
from order_service.errors import OrderServiceError, Unavailable
from order_service.infra.gc_tuning import collect_rarely
from order_service.settings import Settings
from order_service.telemetry import logging

T = TypeVar("T")
Run = Callable[[argparse.Namespace, Settings], int]
RoleRun = Callable[[Settings, asyncio.Event], Awaitable[None]]
AddOptions = Callable[[argparse.ArgumentParser], Run]  # returns the function that runs the word
# The event loop and protocol classes of this service, for uvicorn.
UVICORN_CLASSES = (
    *("--loop", "order_service.web.event_loop:Loop"),
    *("--http", "order_service.web.connection:Connection"),
)
# Options of uvicorn that the benchmarks' yardsticks use as well.
UVICORN_OPTIONS = (
    *("--ws", "none"),
    *("--no-server-header", "--no-proxy-headers", "--no-access-log"),
    *("--timeout-graceful-shutdown", str(limits.SHUTDOWN_GRACE_S)),
    *("--log-config", str(logging.CONFIGURATION)),
)


def main(argv: Sequence[str] | None = None) -> int:
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == ["completion"]:  # needs no settings
        return _print_completion(words[1])
    if words[:1] == ["replay"]:
        _prepare_replay()
    arguments = _parser(*words[:1]).parse_args(words)
    logging.set_up()
    try:
        settings = Settings()
    except ValidationError as error:
        for setting in error.errors():
            print(f"{setting['loc'][0]}: {setting['msg']}", file=sys.stderr)
        print(
            "Set these in the process environment; .env.example lists all settings.",
            file=sys.stderr,
        )
        return 2
    collect_rarely()
    try:
        code: int = arguments.run(arguments, settings)
    except OrderServiceError as error:
        print(error.detail, file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of the output has ended, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _prepare_replay() -> None:
    """Starts the process that imports modules for replay processes, in parallel with this one."""
    from projections.replay import processes

    processes.prepare()


def _parser(*words_to_run: str) -> argparse.ArgumentParser:
    """A parser of all words, with options only for `words_to_run`."""
    parser = argparse.ArgumentParser(prog="entrypoint.sh")
    words = parser.add_subparsers(dest="word", required=True, metavar="WORD")
    for name, (summary, add_options) in WORDS.items():
        added = words.add_parser(name, help=summary, description=summary)
        if name in words_to_run:
            added.set_defaults(run=add_options(added))
    return parser


class _CompletedWord(argparse.ArgumentParser):
    """The parser of a word for shell completion: with `--state`, an option of `entrypoint.sh`."""

    def __init__(self, *, with_state: bool = True, **options: Any) -> None:
        super().__init__(**options)
        if with_state:
            _offer_files(self.add_argument("--state", metavar="DIR"), folders_only=True)


def _offer_files(argument: argparse.Action, *, folders_only: bool = False) -> None:
    import shtab

    files = shtab.DIRECTORY if folders_only else shtab.FILE
    setattr(argument, "complete", files)  # noqa: B010  # argparse does not declare it


def _completed_parser() -> argparse.ArgumentParser:
    """A parser of all words of `entrypoint.sh` with all options, which imports every module."""
    from order_service.stack import __main__ as stack

    parser = argparse.ArgumentParser(prog="entrypoint.sh")
    words = parser.add_subparsers(metavar="WORD", parser_class=_CompletedWord)
    for name, (summary, add_options) in WORDS.items():
        add_options(words.add_parser(name, help=summary))
    for name in stack.WORDS:
        added = words.add_parser(name, help="see ./entrypoint.sh help", with_state=False)
        stack.add_arguments(name, added)
        if name == "test":
            _offer_files(added.add_argument("pytest", nargs="*"))
    return parser


def _print_completion(shell: str) -> int:
    import shtab

    print(shtab.complete(_completed_parser(), shell))
    return 0


def _become(*argv: str, **environment: str) -> NoReturn:
    """Replaces this process by `python -m ARGV`."""
    sys.stdout.flush()
    command = [sys.executable, "-m", *argv]
    os.execve(sys.executable, command, {**os.environ, **environment})  # noqa: S606  # our own arguments


# --- words: each adds its options and returns the function that runs it ---------------------------


def _web(parser: argparse.ArgumentParser) -> Run:
    parser.add_argument("--host", default="0.0.0.0")  # noqa: S104  # what a container must listen on
    parser.add_argument("--port", type=int, default=8000)

    def run(arguments: argparse.Namespace, settings: Settings) -> int:
        _become(
            *("uvicorn", "order_service.main:create_app", "--factory"),
            *("--host", arguments.host, "--port", str(arguments.port)),
            *("--workers", str(settings.WEB_WORKERS), *UVICORN_OPTIONS, *UVICORN_CLASSES),
        )

    return run


def _relay(_: argparse.ArgumentParser) -> Run:
    from order_service.relay import relay

    return _role(relay.run)


def _consumer(_: argparse.ArgumentParser) -> Run:
    from projections.worker import consumer

    return _role(consumer.run)


def _worker(_: argparse.ArgumentParser) -> Run:
    from projections.worker import celery_argv

    return lambda _, settings: _become(*celery_argv.argv(settings))


def _flower(parser: argparse.ArgumentParser) -> Run:
    from projections.worker import flower

    parser.add_argument("--host", help="the address to listen on; default: FLOWER_ADDRESS")

    def run(arguments: argparse.Namespace, settings: Settings) -> int:
        _become(*flower.argv(settings, arguments.host), **flower.environment(settings))

    return run


def _migrate(parser: argparse.ArgumentParser) -> Run:
    parser.add_argument(
        "--anyway", action="store_true", help="also if this code cannot read some events of the log"
    )

    def run(arguments: argparse.Namespace, settings: Settings) -> int:
        from order_service.log.census import unreadable

        if not arguments.anyway:
            refused = uvloop.run(_reach(unreadable(settings, None, "migrate")))
            if refused:
                print(refused, file=sys.stderr)
                return 2
        _become("alembic", "upgrade", "head")

    return run


def _command(module: str) -> AddOptions:
    """A word that `module` defines by `add_arguments(parser)` and `run(arguments, settings)`, which
    may be a coroutine function."""

    def add_options(parser: argparse.ArgumentParser) -> Run:
        word = import_module(module)
        word.add_arguments(parser)
        if not iscoroutinefunction(word.run):
            return cast(Run, word.run)

        return lambda arguments, settings: uvloop.run(_reach(word.run(arguments, settings)))

    return add_options


async def _reach(working: Awaitable[T]) -> T:
    """The result of `working`. Raises Unavailable if it cannot reach a server."""
    try:
        return await working
    except BrokenPipeError:
        raise
    except OSError as error:
        detail = f"Cannot reach a server: {error}. `./entrypoint.sh doctor` checks each."
        raise Unavailable("dependency-unavailable", detail) from error


WORDS: dict[str, tuple[str, AddOptions]] = {
    "web": ("serve the HTTP API", _web),
    "relay": ("publish the log to RabbitMQ", _relay),
    "consumer": ("turn messages of RabbitMQ into tasks", _consumer),
    "worker": ("run tasks: bring read models up to date", _worker),
    "flower": ("serve Flower, which shows workers and tasks", _flower),
    "migrate": ("migrate the database to the schema of this code", _migrate),
    "create-user": (
        "add an account of any role, and print its password",
        _command("order_service.accounts.command"),
    ),
    "keys": (
        "list, create, rotate, narrow and revoke API keys",
        _command("order_service.accounts.keys_command"),
    ),
    "demo": (
        "place orders in the running service and carry them through their lives",
        _command("order_service.demo.command"),
    ),
    "doctor": (
        "find what is wrong in this installation, and say what to do",
        _command("projections.monitoring.doctor"),
    ),
    "orders": (
        "list, show and compare orders, now or as of an earlier time",
        _command("projections.commands.orders"),
    ),
    "events": (
        "show new events of the log as they are appended",
        _command("projections.commands.events"),
    ),
    "replay": (
        "rebuild read models from the log while the service runs",
        _command("projections.replay.replay"),
    ),
    "verify": ("compare read models and cache with the log", _command("projections.replay.verify")),
    "status": (
        "show how far relay and projections are behind the log",
        _command("projections.monitoring.status"),
    ),
    "dead-letters": (
        "list, retry or skip events that a projection could not apply",
        _command("projections.operators.dead_letters"),
    ),
}


# --- running a role -------------------------------------------------------------------------------


def _role(run: RoleRun) -> Run:
    """A role that runs in this process until SIGTERM or Ctrl-C, then finishes its work in hand."""

    async def until_stopped(settings: Settings) -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await run(settings, stop)

    def start(_: argparse.Namespace, settings: Settings) -> int:
        uvloop.run(until_stopped(settings))
        return 0

    return start


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # ends a word that runs until Ctrl-C
        sys.exit(130)
