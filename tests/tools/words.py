"""What the words for developers, `bench` and `faults`, have in common."""

import argparse
from collections.abc import Collection, Sequence


def parser(word: str, told: str | None) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog=f"./entrypoint.sh {word}",
        description=told,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def chosen(
    words: argparse.ArgumentParser, what: str, given: Sequence[str], known: Collection[str]
) -> list[str]:
    """Those of `known` that are named, or whose names begin so before a hyphen. Ends the program,
    with a message, where something is named that there is not."""

    def means(name: str, word: str) -> bool:
        return name == word or name.startswith(f"{word}-")

    if unknown := [word for word in given if not any(means(name, word) for name in known)]:
        words.error(f"no {what} {', '.join(unknown)}: expected any of {', '.join(known)}")
    return [name for name in known if any(means(name, word) for word in given)]
