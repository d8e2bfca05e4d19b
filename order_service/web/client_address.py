"""The address and scheme of a client behind trusted proxies.

A proxy appends the address of its own client to `Forwarded` (RFC 7239) or `X-Forwarded-For`; what
stands to the left of that is what the client sent. So the fields are read from the right, as long
as the addresses are those of trusted proxies; the first other address is the client's. Without a
trusted peer the fields count for nothing.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

from order_service import limits
from order_service.settings import Network
from order_service.web.responses import RawHeader

Address = IPv4Address | IPv6Address
CACHED_BYTES_MAX = 256  # of the fields of one request

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105  # RFC 9110 5.6.2
_PAIR = re.compile(rf'({_TOKEN})=({_TOKEN}|"(?:[^"\\]|\\.)*")')
_ELEMENT = re.compile(rf"{_PAIR.pattern}(?:;{_PAIR.pattern})*;?")
# Commas inside quotes do not end an element.
_ELEMENTS = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*")*')
_QUOTED = re.compile(r"\\(.)")
_WITH_PORT = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?|([0-9.]+):[0-9]{1,5}")


class Client(NamedTuple):
    """`host`: an IP address; None on a Unix socket. `scheme`: of the client's own connection."""

    host: str | None
    scheme: str


class _Hop(NamedTuple):
    """What one proxy says of its client. `address` None: it is unknown or malformed."""

    address: Address | None
    scheme: str | None


class TrustedProxies:
    """The networks of TRUSTED_PROXIES."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = networks
        # Bounded in number, and by CACHED_BYTES_MAX in size.
        self._cached = lru_cache(maxsize=limits.RATE_KEYS_REMEMBERED_MAX)(self._found)

    def include(self, host: str | None) -> bool:
        address = _address(host) if host else None
        return address is not None and self._are(address)

    def client(self, peer: Client, fields: Iterable[RawHeader]) -> Client:
        """The client of a request that a trusted proxy sent. `fields`: names in lower case.

        With both fields only what they agree on counts: a proxy that sets one of them passes on
        what the client itself wrote in the other."""
        forwarded = listed = schemes = None
        for name, value in fields:  # several fields of one name are one list
            if name == b"x-forwarded-for":
                listed = value if listed is None else listed + b"," + value
            elif name == b"x-forwarded-proto":
                schemes = value if schemes is None else schemes + b"," + value
            elif name == b"forwarded":
                forwarded = value if forwarded is None else forwarded + b"," + value
        size = len(forwarded or b"") + len(listed or b"") + len(schemes or b"")
        find = self._cached if size <= CACHED_BYTES_MAX else self._found
        return find(peer, forwarded, listed, schemes)

    def _found(
        self, peer: Client, forwarded: bytes | None, listed: bytes | None, schemes: bytes | None
    ) -> Client:
        found = []
        if forwarded is not None:
            found.append(self._client(peer, _forwarded(forwarded.decode("latin-1"))))
        if listed is not None or forwarded is None:
            texts = (listed or b"").decode("latin-1"), (schemes or b"").decode("latin-1")
            found.append(self._client(peer, _listed(*texts)))
        return found[0] if len({client.host for client in found}) == 1 else peer

    def _client(self, peer: Client, hops: Iterable[_Hop]) -> Client:
        """The last good address is that of the proxy before a malformed one."""
        client = peer
        for number, hop in enumerate(hops):
            if number == limits.PROXY_HOPS_MAX:
                break
            client = Client(
                client.host if hop.address is None else str(hop.address),
                hop.scheme or client.scheme,
            )
            if hop.address is None or not self._are(hop.address):
                break
        return client

    def _are(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


def _listed(addresses: str, schemes: str) -> Iterator[_Hop]:
    """The hops of X-Forwarded-For, nearest first. A proxy that sets X-Forwarded-Proto instead of
    appending to it sets one value for all hops."""
    names = [name.strip().lower() for name in schemes.split(",")] if schemes else []
    elements = addresses.rsplit(",", limits.PROXY_HOPS_MAX) if addresses else []
    for number, element in enumerate(reversed(elements)):
        scheme = names[max(-1 - number, -len(names))] if names else ""
        yield _Hop(_address(element.strip()), scheme if scheme in ("http", "https") else None)


def _forwarded(value: str) -> Iterator[_Hop]:
    """The hops of Forwarded, nearest first."""
    elements, at = [], 0
    while at <= len(value):
        found = _ELEMENTS.match(value, at)
        assert found is not None, "it matches an empty text too"
        if value[found.end() : found.end() + 1] not in ("", ","):
            yield _Hop(None, None)  # an open quote, which may hide the nearest element
            return
        elements.append(found[0].strip())
        at = found.end() + 1
    for element in reversed(elements):
        pairs = [(name.lower(), _unquoted(text)) for name, text in _PAIR.findall(element)]
        said = dict(pairs)
        if not _ELEMENT.fullmatch(element) or len(said) != len(pairs):
            yield _Hop(None, None)
            return
        scheme = said.get("proto", "").lower()
        yield _Hop(_address(said.get("for", "")), scheme if scheme in ("http", "https") else None)


def _unquoted(text: str) -> str:
    return _QUOTED.sub(r"\1", text[1:-1]) if text.startswith('"') else text


def _address(text: str) -> Address | None:
    """An address without its port; None if `text` is none."""
    with_port = _WITH_PORT.fullmatch(text)
    if with_port is not None:
        text = with_port[1] or with_port[2]
    if "%" in text:  # a zone says something about another machine
        return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
