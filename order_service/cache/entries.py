"""The cache's entries: their keys and their encoding.

A value is one string: an ASCII header `format:id:version:...`, a newline, then the bytes to serve.
The id repeats the one in the key, so that a reply for another key is detected.
"""

from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

_NO_OWNER = UUID(int=0)  # of a guest's order
ENTRY_FORMAT = 2  # increase it when the header or the order's document changes


@dataclass(frozen=True, slots=True)
class CachedOrder:
    owner: UUID | None
    version: int
    document: bytes


@dataclass(frozen=True, slots=True)
class CachedList:
    """`read_at`: the read model's generation and checkpoints at the time of the read."""

    read_at: bytes
    link: str  # the Link header's value; may be empty
    page: bytes


class Slot(NamedTuple):
    """Where a document is cached: its key, its lease's key, and the prefix of its value."""

    entry: str
    lease: str
    prefix: str


class Slots:
    """The slots of one incarnation of the log.

    After a restore, an order may get other events for versions that are already cached. A restored
    log is another incarnation with other keys, so entries of the old log are never served for it.
    """

    def __init__(self, incarnation: str) -> None:
        # Braces: in a Redis cluster, entry and lease are on the same node.
        self._orders, self._lists = f"order:{incarnation}{{", f"orders-of:{incarnation}{{"
        self.key_prefixes = (self._orders.encode(), self._lists.encode())

    @property
    def of_orders(self) -> bytes:
        """The prefix of all orders' keys."""
        return self.key_prefixes[0]

    def order(self, order_id: UUID) -> Slot:
        return _slot(self._orders, order_id)

    def list_of(self, user_id: UUID) -> Slot:
        return _slot(self._lists, user_id)

    def order_id_of(self, key: bytes) -> UUID | None:
        """The id of the order whose entry has this key; None for any other key."""
        try:
            order_id = UUID(key[len(self.of_orders) : -1].decode())
        except ValueError:
            return None
        return order_id if self.order(order_id).entry.encode() == key else None


def _slot(key_prefix: str, document_id: UUID) -> Slot:
    entry = f"{key_prefix}{document_id}}}"
    return Slot(entry, f"{entry}:lease", f"{ENTRY_FORMAT}:{document_id.hex}:")


def encode_order(slot: Slot, cached: CachedOrder) -> bytes:
    header = f"{slot.prefix}{cached.version}:{(cached.owner or _NO_OWNER).hex}\n"
    return header.encode() + cached.document


def decode_order(slot: Slot, value: bytes) -> CachedOrder:
    """Raises ValueError if the value was not written for this slot."""
    (version, owner), document = _split(slot, value)
    owned_by = UUID(int=int(owner, 16))
    return CachedOrder(owned_by if owned_by.int else None, int(version), document)


def encode_list(slot: Slot, cached: CachedList) -> bytes:
    link = cached.link.encode()
    header = (
        f"{slot.prefix}0:{len(cached.read_at)}:{len(link)}\n"  # 0: the scripts expect a version
    )
    return b"".join((header.encode(), cached.read_at, link, cached.page))


def decode_list(slot: Slot, value: bytes) -> CachedList:
    """Raises ValueError if the value was not written for this slot."""
    (_, read_at_bytes, link_bytes), body = _split(slot, value)
    link_at = int(read_at_bytes)
    page_at = link_at + int(link_bytes)
    return CachedList(body[:link_at], body[link_at:page_at].decode(), body[page_at:])


def _split(slot: Slot, value: bytes) -> tuple[list[str], bytes]:
    """The header's fields after the prefix, and the bytes after the header."""
    header, _, body = value.partition(b"\n")
    text = header.decode("ascii")
    if not text.startswith(slot.prefix):
        raise ValueError(f"the value was not written for {slot.entry}")
    return text.removeprefix(slot.prefix).split(":"), body
