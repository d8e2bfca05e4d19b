"""Parsing of the arguments of `bench` and `faults`."""

import argparse
from collections.abc import Collection, Sequence


def parser(word: str, description: str | None) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog=f"./entrypoint.sh {word}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def select(
    parser: argparse.ArgumentParser, kind: str, words: Sequence[str], names: Collection[str]
) -> list[str]:
    """The `names` that `words` select: a word selects its own name, and the names that continue it
    after a hyphen. Ends the program with a message if a word selects none.
    """

    def selects(word: str, name: str) -> bool:
        return name == word or name.startswith(f"{word}-")

    if unknown := [word for word in words if not any(selects(word, name) for name in names)]:
        parser.error(f"unknown {kind} {', '.join(unknown)}: expected any of {', '.join(names)}")
    return [name for name in names if any(selects(word, name) for word in words)]
