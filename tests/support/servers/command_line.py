"""Words of the command line, asked inside the test's own process."""

import argparse
from types import ModuleType

from order_service.settings import Settings


async def asked(word: ModuleType, settings: Settings, *words: str) -> int:
    """Its exit code; what it prints is for `capsys`."""
    parser = argparse.ArgumentParser()
    word.add_arguments(parser)
    code: int = await word.run(parser.parse_args(words), settings)
    return code
