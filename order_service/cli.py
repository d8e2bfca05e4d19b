"""The command line: every role and command but those of the private stack; shell completion of all.

`./entrypoint.sh WORD ...` ends here, in the container and outside. Roles that are programs of their
own (uvicorn, Celery, Flower, Alembic) take this process over; the others run until SIGTERM.

Each word imports what it needs when it is asked for: with all imports at the top every word waited
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
from typing import Any, NoReturn, cast

import uvloop
from pydantic import ValidationError

from order_service import limits
from order_service.errors import OrderServiceError, Unavailable
from order_service.infra.gc_tuning import collect_rarely
from order_service.settings import Settings
from order_service.telemetry import logging

Run = Callable[[argparse.Namespace, Settings], int]
RoleRun = Callable[[Settings, asyncio.Event], Awaitable[None]]
Complete = Callable[[argparse.ArgumentParser], Run]  # adds the word's options, gives what runs
# How uvicorn serves us; the benchmarks' yardsticks are served so too, but for loop and protocol.
OWN = (
    *("--loop", "order_service.web.event_loop:Loop"),
    *("--http", "order_service.web.connection:Connection"),
)
SERVING = (
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
        for wrong in error.errors():
            print(f"{wrong['loc'][0]}: {wrong['msg']}", file=sys.stderr)
        print("Set these in the environment; .env.example lists all settings.", file=sys.stderr)
        return 2
    collect_rarely()
    try:
        code: int = arguments.run(arguments, settings)
    except OrderServiceError as error:
        print(error.detail, file=sys.stderr)
        return 1
    except BrokenPipeError:  # whoever read us has seen enough, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _prepare_replay() -> None:
    """What its processes need is imported beside us, before we import as much ourselves."""
    from projections.replay import processes

    processes.prepare()


def _parser(*asked: str) -> argparse.ArgumentParser:
    """Knows every word by name, and the options of those that are asked for."""
    parser = argparse.ArgumentParser(prog="entrypoint.sh")
    words = parser.add_subparsers(dest="word", required=True, metavar="WORD")
    for name, (summary, complete) in WORDS.items():
        added = words.add_parser(name, help=summary, description=summary)
        if name in asked:
            added.set_defaults(run=complete(added))
    return parser


class _CompletedWord(argparse.ArgumentParser):
    """A word of ours, or one below it, as `entrypoint.sh` takes it: with `--state`."""

    def __init__(self, *, with_state: bool = True, **given: Any) -> None:
        super().__init__(**given)
        if with_state:
            _offer_files(self.add_argument("--state", metavar="DIR"), folders_only=True)


def _offer_files(argument: argparse.Action, *, folders_only: bool = False) -> None:
    import shtab

    files = shtab.DIRECTORY if folders_only else shtab.FILE
    setattr(argument, "complete", files)  # noqa: B010  # argparse does not declare it


def _completed_parser() -> argparse.ArgumentParser:
    """Knows every word of `entrypoint.sh` with all its options: everything is imported."""
    from order_service.stack import __main__ as stack

    parser = argparse.ArgumentParser(prog="entrypoint.sh")
    words = parser.add_subparsers(metavar="WORD", parser_class=_CompletedWord)
    for name, (summary, complete) in WORDS.items():
        complete(words.add_parser(name, help=summary))
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
    sys.stdout.flush()
    command = [sys.executable, "-m", *argv]
    os.execve(sys.executable, command, {**os.environ, **environment})  # noqa: S606  # ours


# --- the words: each adds its options, and gives what is to be run --------------------------------


def _web(parser: argparse.ArgumentParser) -> Run:
    parser.add_argument("--host", default="0.0.0.0")  # noqa: S104  # what a container must listen on
    parser.add_argument("--port", type=int, default=8000)

    def run(arguments: argparse.Namespace, settings: Settings) -> int:
        _become(
            *("uvicorn", "order_service.main:create_app", "--factory"),
            *("--host", arguments.host, "--port", str(arguments.port)),
            *("--workers", str(settings.WEB_WORKERS), *SERVING, *OWN),
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

    parser.add_argument("--host", help="where it listens; else at FLOWER_ADDRESS")

    def run(arguments: argparse.Namespace, settings: Settings) -> int:
        _become(*flower.argv(settings, arguments.host), **flower.environment(settings))

    return run


def _migrate(_: argparse.ArgumentParser) -> Run:
    return lambda _, __: _become("alembic", "upgrade", "head")


def _command(module: str) -> Complete:
    """A word of its own module, which has `add_arguments(parser)` and `run(arguments, settings)`:
    as a coroutine, or plain where it waits for no more than one thing at a time."""

    def complete(parser: argparse.ArgumentParser) -> Run:
        found = import_module(module)
        found.add_arguments(parser)
        if not iscoroutinefunction(found.run):
            return cast(Run, found.run)

        async def main(arguments: argparse.Namespace, settings: Settings) -> int:
            try:
                code: int = await found.run(arguments, settings)
            except BrokenPipeError:
                raise
            except OSError as error:
                detail = f"No answer: {error}. `./entrypoint.sh doctor` tells from whom."
                raise Unavailable("dependency-unavailable", detail) from error
            return code

        return lambda arguments, settings: uvloop.run(main(arguments, settings))

    return complete


WORDS: dict[str, tuple[str, Complete]] = {
    "web": ("the HTTP API", _web),
    "relay": ("publish the log to RabbitMQ", _relay),
    "consumer": ("turn messages into tasks", _consumer),
    "worker": ("run tasks: bring read models up to date", _worker),
    "flower": ("watch the workers", _flower),
    "migrate": ("bring the database up to this code", _migrate),
    "create-user": (
        "add an account of any role; prints its password",
        _command("order_service.accounts.command"),
    ),
    "demo": (
        "fill the running service with orders that live",
        _command("order_service.demo.command"),
    ),
    "doctor": (
        "what is wrong here, and what to do",
        _command("projections.monitoring.doctor"),
    ),
    "orders": (
        "list, show, compare orders; as of any moment",
        _command("projections.commands.orders"),
    ),
    "events": ("follow the log as it grows", _command("projections.commands.events")),
    "replay": (
        "rebuild read models from the log, under traffic",
        _command("projections.replay.replay"),
    ),
    "verify": ("compare read models and cache with the log", _command("projections.replay.verify")),
    "status": ("how far relay and projections are", _command("projections.monitoring.status")),
    "dead-letters": (
        "events that a projection could not apply",
        _command("projections.operators.dead_letters"),
    ),
}


# --- how they run ---------------------------------------------------------------------------------


def _role(run: RoleRun) -> Run:
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


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # how some words are ended
        sys.exit(130)
