"""The bytes that the yardsticks answer: the service's answers to the same requests."""

import os
from collections.abc import Mapping
from pathlib import Path

JSON = "application/json"
VARIABLE = "YARDSTICK_DOCUMENTS"  # in the yardsticks' processes: the folder
NAMES = ("order", "placed", "staff", "user")


def write(documents: Path, contents: Mapping[str, bytes]) -> None:
    for name in NAMES:
        (documents / name).write_bytes(contents[name])


def read(documents: Path, name: str) -> bytes:
    return (documents / name).read_bytes()


def folder() -> Path:
    return Path(os.environ[VARIABLE])
