"""One position per partition, as text: the ids of stream events and the board's token."""

import re
from collections.abc import Iterable

Positions = tuple[int, ...]  # one per partition, in the order of the partitions
_POSITION = re.compile("[0-9]{1,18}")


def as_text(positions: Iterable[int]) -> str:
    """For example `17.4.0.21`."""
    return ".".join(map(str, positions))


def parse(text: str) -> Positions:
    """Raises ValueError for text that `as_text` does not produce."""
    parts = text.split(".")
    if not all(_POSITION.fullmatch(part) for part in parts):
        raise ValueError("expected positions, joined by dots")
    return tuple(map(int, parts))
