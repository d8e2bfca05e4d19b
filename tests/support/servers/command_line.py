"""Runs words of the command line inside the test's process."""

import argparse
from types import ModuleType

from order_service.settings import Settings


async def run_word(word: ModuleType, settings: Settings, *arguments: str) -> int:
    """The exit code of `word`, a module of the command line; `capsys` captures its output."""
    parser = argparse.ArgumentParser()
    word.add_arguments(parser)
    code: int = await word.run(parser.parse_args(arguments), settings)
    return code
