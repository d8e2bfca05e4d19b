"""What is cached, under which keys, and as which bytes.

A value is one string: an ASCII header `format:id:version:...` and a newline, then bytes that are
served as they are. The id is the one in the key, so that a reply that arrives for another key is
noticed.
"""

from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

ENTRY_FORMAT = 1  # to be raised when the header or the order's document takes another shape


@dataclass(frozen=True, slots=True)
class CachedOrder:
    owner: UUID
    version: int
    document: bytes


@dataclass(frozen=True, slots=True)
class CachedList:
    """`read_at`: the reader's note of the generation and checkpoints that it read the page at."""

    read_at: bytes
    link: str  # the Link header's value; empty if there is none
    page: bytes


class Place(NamedTuple):
    """Where something is cached: its key, its lease's key, and how its value begins."""

    entry: str
    lease: str
    prefix: str


class Places:
    """The places of one incarnation of the log. Another one, whose orders went on in another way
    from some version on, has other keys: nothing that was kept of it is ever seen here."""

    def __init__(self, incarnation: str) -> None:
        # Braces: in a cluster, entry and lease live on one node.
        self._orders, self._lists = f"order:{incarnation}{{", f"orders-of:{incarnation}{{"
        self.beginnings = (self._orders.encode(), self._lists.encode())

    @property
    def of_orders(self) -> bytes:
        """How every order's key begins."""
        return self.beginnings[0]

    def order(self, order_id: UUID) -> Place:
        return _place(self._orders, order_id)

    def list_of(self, user_id: UUID) -> Place:
        return _place(self._lists, user_id)

    def order_id_of(self, key: bytes) -> UUID | None:
        """None for a key that is no order's entry."""
        try:
            order_id = UUID(key[len(self.of_orders) : -1].decode())
        except ValueError:
            return None
        return order_id if self.order(order_id).entry.encode() == key else None


def _place(beginning: str, named: UUID) -> Place:
    entry = f"{beginning}{named}}}"
    return Place(entry, f"{entry}:lease", f"{ENTRY_FORMAT}:{named.hex}:")


def encode_order(place: Place, cached: CachedOrder) -> bytes:
    header = f"{place.prefix}{cached.version}:{cached.owner.hex}\n"
    return header.encode() + cached.document


def decode_order(place: Place, value: bytes) -> CachedOrder:
    """Raises ValueError for a value that was not written for this place."""
    (version, owner), document = _split(place, value)
    return CachedOrder(UUID(int=int(owner, 16)), int(version), document)


def encode_list(place: Place, cached: CachedList) -> bytes:
    link = cached.link.encode()
    header = (
        f"{place.prefix}0:{len(cached.read_at)}:{len(link)}\n"  # 0: the scripts look for a version
    )
    return b"".join((header.encode(), cached.read_at, link, cached.page))


def decode_list(place: Place, value: bytes) -> CachedList:
    """Raises ValueError for a value that was not written for this place."""
    (_, read_at_bytes, link_bytes), body = _split(place, value)
    link_at = int(read_at_bytes)
    page_at = link_at + int(link_bytes)
    return CachedList(body[:link_at], body[link_at:page_at].decode(), body[page_at:])


def _split(place: Place, value: bytes) -> tuple[list[str], bytes]:
    """The header's fields after the prefix, and what follows the header."""
    header, _, body = value.partition(b"\n")
    text = header.decode("ascii")
    if not text.startswith(place.prefix):
        raise ValueError(f"not written for {place.entry}")
    return text.removeprefix(place.prefix).split(":"), body
