"""Consistency tokens: a write returns one, and a read that sends it gets nothing older.

A token identifies the last event of the write. It is opaque to clients but not signed: a forged
token only makes a read bypass the cache and wait for a bounded time.
"""

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from order_service import limits
from order_service.errors import InvalidRequest
from order_service.log.fold import FoldedOrder
from order_service.log.reading import VERSION_MAX, partition_of

HEADER = "Consistency-Token"
_ID_BYTES, _VERSION_BYTES, _POSITION_BYTES = 16, 4, 7
# 27 bytes are exactly 36 characters of base64, so each token has exactly one text.
_TOKEN = re.compile("[A-Za-z0-9_-]{36}")


@dataclass(frozen=True, slots=True)
class Token:
    stream_id: UUID
    version: int
    partition: int
    position: int


def token_of(order: FoldedOrder) -> str:
    """The token of the write after which the order has this version."""
    version = order.version.to_bytes(_VERSION_BYTES)
    position = order.position.to_bytes(_POSITION_BYTES)
    return base64.urlsafe_b64encode(order.id.bytes + version + position).decode()


def tokens_of(orders: Iterable[FoldedOrder]) -> str:
    """The tokens of many writes, comma separated: only the last one in each partition, since a read
    waits for all events before it too. Empty without orders."""
    last: dict[int, FoldedOrder] = {}
    for order in orders:
        if order.partition not in last or order.position > last[order.partition].position:
            last[order.partition] = order
    return ", ".join(token_of(order) for order in last.values())


def parse(header: str, partitions: int) -> tuple[Token, ...]:
    """The tokens of a comma separated list. Raises InvalidRequest `malformed-request`."""
    texts = [text.strip(" \t") for text in header.split(",", limits.CONSISTENCY_TOKENS_MAX)]
    if len(texts) > limits.CONSISTENCY_TOKENS_MAX:
        raise _malformed()
    return tuple(_token(text, partitions) for text in texts)


def _token(text: str, partitions: int) -> Token:
    if not _TOKEN.fullmatch(text):
        raise _malformed()
    raw = base64.urlsafe_b64decode(text)
    stream_id = UUID(bytes=raw[:_ID_BYTES])
    version = int.from_bytes(raw[_ID_BYTES:-_POSITION_BYTES])
    position = int.from_bytes(raw[-_POSITION_BYTES:])
    if not 1 <= version <= VERSION_MAX or position < version:
        raise _malformed()
    return Token(stream_id, version, partition_of(stream_id, partitions), position)


def _malformed() -> InvalidRequest:
    return InvalidRequest(
        "malformed-request",
        f"{HEADER} takes 1 to {limits.CONSISTENCY_TOKENS_MAX} tokens from responses to writes, "
        "comma separated.",
    )
