"""Order Service. Every word is `./entrypoint.sh WORD ...`, the same in a container and outside.

The whole system on this machine:
  up [--port 8000] [--state DIR]
      private PostgreSQL, Redis and RabbitMQ, migrations and all roles, until Ctrl-C. Where
      DB_HOST, REDIS_HOST or RABBITMQ_HOST is set, that server is used and none started for it.
      Other settings in the environment (RATE_LIMIT, WEB_WORKERS, ...) hold. Data and settings
      stay in DIR (.local).
  ps [--state DIR]                 one line a process: role, pid, port
  env [--state DIR]                the stack's settings, for eval "$(./entrypoint.sh env)"
  logs [ROLE] [-f] [--state DIR]   the end of a log, or of all; -f follows it
  reset [--state DIR]              removes the state folder with all its data
  test [PYTEST ARGUMENTS]          static checks and all tests, on servers of their own;
                                   with arguments only pytest

One role, or one command on a running stack, with the settings of the stack in DIR; without
--state, those of the environment if DB_HOST is set there, else of .local:
  web relay consumer worker flower    the roles that `up` runs
  migrate                             brings the database to the newest revision
  replay [NAME ... | --all]           rebuilds read models beside the live ones, then swaps
  verify [--repair]                   compares read models and cached entries with the log
  status                              heads, checkpoints, lag, generations, parked streams
  dead-letters list|show|retry|skip   events that a projection could not apply
  create-user --role staff ...        an account with more rights than registration gives
  demo [--rate N] [--orders N]        fills the running service with orders that live
  `./entrypoint.sh WORD --help` tells the rest.

For developers:
  fuzz [--minutes N] [--seed N]    the tests with random input, round after round with fresh
                                   seeds, until one fails or N minutes (10) are over; the
                                   failing example stays in .local/fuzz, and the commands that
                                   repeat it are printed; --seed: of the first round
  bench [NAME ...] [--seconds N] [--json FILE]
                                   measures a stack of its own against two yardsticks; --help
                                   lists the names
  faults [ROW ...] [--load NAME] [--seed N] [--minutes N] [--json FILE]
                                   hurts a stack of its own, row by row of the fault matrix, under
                                   load, and checks every promise; --help lists the rows
  lock [OPTIONS]                   makes requirements.lock anew from pyproject.toml; options are
                                   those of `uv pip compile`: --upgrade, --upgrade-package NAME
  completion bash|zsh              what the shell offers on Tab; for this shell:
                                   `eval "$(./entrypoint.sh completion bash)"`
  help                             this text
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from order_service.stack import commands, venv
from order_service.stack.state import DEFAULT_STATE, State

CLI_WORDS = (
    *("web", "relay", "consumer", "worker", "flower"),
    *("migrate", "replay", "verify", "status", "dead-letters", "create-user", "demo"),
    *("orders", "events", "doctor"),
)


def _up(arguments: Sequence[str]) -> int:
    from order_service.stack.up import up

    given = _parser("up").parse_args(arguments)
    return up(State(given.state), given.port)


def _test(arguments: Sequence[str]) -> int:
    from order_service.stack.checks import test

    return test(arguments)


def _fuzz(arguments: Sequence[str]) -> int:
    from order_service.stack.fuzz import fuzz

    return fuzz(arguments)


def _bench(arguments: Sequence[str]) -> int:
    from order_service.stack.checks import bench

    return bench(arguments)


def _faults(arguments: Sequence[str]) -> int:
    from order_service.stack.checks import faults

    return faults(arguments)


def _lock(arguments: Sequence[str]) -> int:
    from order_service.stack.lock import lock

    return lock(arguments)


def _ps(arguments: Sequence[str]) -> int:
    return commands.ps(State(_parser("ps").parse_args(arguments).state))


def _env(arguments: Sequence[str]) -> int:
    return commands.env(State(_parser("env").parse_args(arguments).state))


def _logs(arguments: Sequence[str]) -> int:
    given = _parser("logs").parse_args(arguments)
    return commands.logs(State(given.state), given.role, follow=given.follow)


def _reset(arguments: Sequence[str]) -> int:
    return commands.reset(State(_parser("reset").parse_args(arguments).state))


def _completion(arguments: Sequence[str]) -> int:
    return commands.completion(_parser("completion").parse_args(arguments).shell)


def _help(_: Sequence[str]) -> int:
    print(__doc__)
    return 0


# Each word with the lock's section that it needs; None: the standard library is enough.
WORDS: dict[str, tuple[Callable[[Sequence[str]], int], str | None]] = {
    "up": (_up, "servers"),
    "ps": (_ps, None),
    "env": (_env, None),
    "logs": (_logs, None),
    "reset": (_reset, None),
    "test": (_test, "development"),
    "fuzz": (_fuzz, "development"),
    "bench": (_bench, "development"),
    "faults": (_faults, "development"),
    "lock": (_lock, "servers"),
    "completion": (_completion, "run"),
    "help": (_help, None),
}


def _parser(word: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"./entrypoint.sh {word}", allow_abbrev=False)
    add_arguments(word, parser)
    return parser


def add_arguments(word: str, parser: argparse.ArgumentParser) -> None:
    """Those of a word of WORDS that is parsed here; the shell's completion offers them, too."""
    if word in ("up", "ps", "env", "logs", "reset"):
        parser.add_argument("--state", type=Path, default=Path(DEFAULT_STATE), metavar="DIR")
    if word == "up":
        parser.add_argument("--port", type=int, default=8000)
    elif word == "logs":
        parser.add_argument("role", nargs="?")
        parser.add_argument("-f", "--follow", action="store_true")
    elif word == "completion":
        parser.add_argument("shell", choices=("bash", "zsh"))


def main(arguments: Sequence[str]) -> int:
    word, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if word in ("-h", "--help"):
        word = "help"
    if word not in WORDS and word not in CLI_WORDS:
        said = f"Unknown word: {word}" if word else "A word is missing"
        print(f"{said}. Expected one of: {' '.join((*WORDS, *CLI_WORDS))}.", file=sys.stderr)
        return 2
    run, section = WORDS.get(word, (None, "run"))
    if section is not None:
        venv.enter(section, arguments)
    return run(rest) if run else commands.run_role(word, rest)


if __name__ == "__main__":
    commands.end_with(main)
