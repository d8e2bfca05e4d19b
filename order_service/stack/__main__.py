"""Order Service. Every word is `./entrypoint.sh WORD ...`, the same in a container and outside.

The whole system on this machine:
  up [--port 8000] [--state DIR]
      starts private PostgreSQL, Redis and RabbitMQ, migrates, and runs all roles until Ctrl-C.
      Where DB_HOST, REDIS_HOST or RABBITMQ_HOST is set, it uses that server instead of starting
      its own. Other settings in the environment (RATE_LIMIT, WEB_WORKERS, ...) apply. DIR
      (.local) keeps data and settings.
  ps [--state DIR]                 prints one line a process: role, pid, port
  env [--state DIR]                prints the settings, for eval "$(./entrypoint.sh env)"
  logs [ROLE] [-f] [--state DIR]   prints the end of a role's log, or of all; -f follows them
  reset [--state DIR]              removes the state folder with all its data
  test [PYTEST ARGUMENTS]          runs static checks and all tests on private servers;
                                   with arguments runs only pytest

One role, or one command on a running stack. With --state DIR it uses the settings of the stack in
DIR; without it, those of the environment if DB_HOST is set there, else those of .local:
  web relay consumer worker flower    the roles that `up` runs
  migrate                             migrates the database to the newest revision
  replay [NAME ... | --all]           rebuilds read models beside the live ones, then swaps
  verify [--repair]                   compares read models and cached entries with the log
  status                              prints heads, checkpoints, lag, generations, parked streams
  dead-letters list|show|retry|skip   manages events that a projection could not apply
  create-user --role staff ...        makes an account with more rights than registration gives
  keys list|create|rotate|narrow|revoke
                                      manages API keys of programs
  demo [--rate N] [--orders N]        fills the running service with orders that change
  `./entrypoint.sh WORD --help` explains a word's arguments.

For developers:
  fuzz [--minutes N] [--seed N]    runs the tests with random input in rounds with fresh seeds,
                                   until one fails or N minutes (10) are over; keeps the failing
                                   example in .local/fuzz and prints the commands that repeat
                                   it; --seed: of the first round
  bench [NAME ...] [--seconds N] [--json FILE]
                                   measures a private stack against two yardsticks; --help
                                   lists the names
  faults [ROW ...] [--load NAME] [--seed N] [--minutes N] [--json FILE]
                                   injects the faults of the matrix into a private stack under
                                   load, and checks every promise; --help lists the rows
  clients                          makes clients of the HTTP API with five generators (from PyPI and
                                   npm), compiles each and uses it; lints /openapi.json
  lock [OPTIONS]                   writes requirements.lock again from pyproject.toml; options are
                                   those of `uv pip compile`: --upgrade, --upgrade-package NAME
  completion bash|zsh              prints completions for the shell; for this shell:
                                   `eval "$(./entrypoint.sh completion bash)"`
  help                             prints this text
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
    *("orders", "events", "doctor", "keys"),
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


def _clients(arguments: Sequence[str]) -> int:
    from order_service.stack.checks import clients

    return clients(arguments)


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


# By word: its function, and the section of the lock that it needs (None: the standard library).
WORDS: dict[str, tuple[Callable[[Sequence[str]], int], str | None]] = {
    "up": (_up, "servers"),
    "ps": (_ps, None),
    "env": (_env, None),
    "logs": (_logs, None),
    "reset": (_reset, None),
    "test": (_test, "development"),
    "fuzz": (_fuzz, "development"),
    "bench": (_bench, "development"),
    "clients": (_clients, "development"),
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
    """Adds the arguments of a word that this module parses; shell completion offers them, too."""
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
        problem = f"Unknown word: {word}" if word else "A word is missing"
        print(f"{problem}. Expected one of: {' '.join((*WORDS, *CLI_WORDS))}.", file=sys.stderr)
        return 2
    run, section = WORDS.get(word, (None, "run"))
    if section is not None:
        venv.enter(section, arguments)
    return run(rest) if run else commands.run_role(word, rest)


if __name__ == "__main__":
    commands.end_with(main)
