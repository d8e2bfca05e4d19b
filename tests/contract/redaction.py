"""Exchanges as the examples show them: the same in every run.

Ids, times, numbers and tokens get a text of their own each, wherever they stand. What is measured
is named by operation and path, and keeps its kind, so no example shows what another operation
answers.
"""

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from typing import Any
from uuid import UUID

from order_service.ids import order_number

Exchange = dict[str, Any]
DAY = "2026-03-01"
_POSITION = 912

# By operation: path (`*`: each element of a list) to what stands there in place of the answer's.
_PROGRESS: dict[str, Any] = {
    "/partitions/*/head": _POSITION,
    "/partitions/*/checkpoint": _POSITION,
    "/events_per_s": 12.5,
}
MEASURED: Mapping[str, Mapping[str, Any]] = {
    "ops_projections": {
        f"{where}{path}": value
        for where in ("/projections/*", "/relay")
        for path, value in _PROGRESS.items()
    },
    "ops_rollback": _PROGRESS,
    "ops_rebuild": _PROGRESS,
    "ops_dead_letters": {"/items/*/position": _POSITION},
    "ops_health": {
        **{f"/checks/{server}/latency_ms": 1.4 for server in range(3)},
        "/processes/*/host": "web-1",
        "/processes/*/pid": 4_711,
        "/processes/*/started_at": f"{DAY}T11:58:00.000000Z",
        "/processes/*/seen_at": f"{DAY}T12:02:00.000000Z",
        "/processes/*/memory_mb": 83.2,
        "/flower_url": "http://127.0.0.1:5555/",
    },
    "ops_history": {
        "/from": f"{DAY}T12:01:00.000000Z",
        "/to": f"{DAY}T12:02:00.000000Z",
        "/series/requests": [4_100, 4_180, 4_152, 3_970, 4_044, 4_120],
        "/series/errors": [0, 0, 0, 0, 0, 0],
        "/series/p50_ms": [1.9, 1.9, 2.0, 1.8, 1.9, 1.9],
        "/series/p99_ms": [8.7, 8.9, 9.4, 8.1, 8.8, 9.0],
        "/series/commands": [510, 498, 530, 490, 505, 512],
        "/series/cache_hit_ratio": [0.93, 0.94, 0.93, 0.95, 0.94, 0.94],
        "/series/lag_s": [0.02, 0.02, 0.03, 0.02, 0.02, 0.02],
        "/series/events": [1_020, 1_003, 1_066, 988, 1_013, 1_030],
    },
    "board_get": {"/token": ".".join([str(_POSITION)] * 4)},
    "sales_overview": {
        f"/currencies/*/{time}/{part}": seconds
        for time in ("place_to_pay_s", "pay_to_ship_s")
        for part, seconds in (("p50", 1), ("p90", 3))
    },
}
# A number, or null until the process has looked twice.
_MAY_BE_NULL = "/events_per_s"
OPAQUE: Mapping[str, str] = {
    "accounts_log_in": "/refresh_token",
    "accounts_refresh": "/refresh_token",
    "stream_tickets_issue": "/ticket",
}


def _token(n: int) -> str:
    """As `consistency_token` writes them."""
    raw = UUID(int=n).bytes + (1).to_bytes(4) + (_POSITION + n).to_bytes(7)
    return base64.urlsafe_b64encode(raw).decode()


_NAMES: Mapping[str, Callable[[int], str]] = {
    "id": lambda n: f"0195f0a1-0000-7000-8000-{n:012}",
    "request": lambda n: f"5f1d7a0c9b3e4d68a2c7f0e1{n:08}",
    "number": lambda n: order_number(25_000 + n, 0, 4),
    "jwt": lambda n: f"eyJhbGciOiJIUzI1NiJ9.eyJqdGkiOiJ{n}In0.c2lnbmF0dXJl",
    "opaque": lambda n: f"b3BhcXVlIHRleHQ{n:03}",
    "token": _token,
    "prefix": lambda n: f"osk_0195f0a1000070008000{n:012}_",
    "secret": lambda n: f"{n:049}",  # whose checksum is wrong, so that no scanner takes it for one
    "instant": lambda n: f"{DAY}T12:{n // 60:02}:{n % 60:02}.000000Z",
}
# Not instants of whole seconds: those were asked for.
_INSTANT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.(?!000000)\d{6}Z"
_PATTERN = re.compile(
    r"(?P<id>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
    r"|(?P<request>\b[0-9a-f]{32}\b)"
    r"|(?P<prefix>osk_[0-9a-f]{32}_)"
    r"|(?P<secret>(?<=_)[0-9A-Za-z]{49}\b)"
    rf"|(?P<instant>{_INSTANT})"
    r"|(?P<number>\bA-\d+-\d\b)"
    r"|(?P<jwt>eyJ[\w-]+\.[\w-]+\.[\w-]+)"
)


def redacted(exchanges: list[Exchange], today: str) -> list[Exchange]:
    """`today`: the date of the run."""
    names = _Names(today)
    replaced = [_with_measured(exchange) for exchange in exchanges]
    names.order_instants(replaced)
    return [names.shown(exchange) for exchange in replaced]


def _with_measured(exchange: Exchange) -> Exchange:
    shown = deepcopy(exchange)
    for path, value in MEASURED.get(exchange["operation"], {}).items():
        for parent, key in places(shown["body"], path):
            found = parent[key]
            kept = type(found) is type(value) or (found is None and path.endswith(_MAY_BE_NULL))
            assert kept, f"{exchange['operation']} {path} is {found!r}"
            parent[key] = value
    return shown


def places(body: Any, path: str) -> list[tuple[Any, Any]]:
    """Where the path leads: each object or list, and the key in it."""
    *names, last = path.removeprefix("/").split("/")
    found = [body]
    for name in names:
        found = [inner for one in found for inner in (one if name == "*" else [_at(one, name)])]
    return [(one, int(last) if isinstance(one, list) else last) for one in found]


def _at(value: Any, name: str) -> Any:
    return value[int(name)] if isinstance(value, list) else value[name]


class _Names:
    """Each text that differs from run to run, and the one that stands in its place."""

    def __init__(self, today: str) -> None:
        self._today = today
        self._names: dict[str, str] = {}
        self._count: dict[str, int] = {}

    def order_instants(self, exchanges: list[Exchange]) -> None:
        """A later instant has a later name. Those of streams only come last: which events a stream
        begins with is a matter of partitions."""
        for streams in (False, True):
            of_kind = [e for e in exchanges if (e["media_type"] == "text/event-stream") is streams]
            for instant in sorted({i for t in _texts(of_kind) for i in re.findall(_INSTANT, t)}):
                self._name("instant", instant)

    def shown(self, exchange: Exchange) -> Exchange:
        if path := OPAQUE.get(exchange["operation"]):
            for parent, key in places(exchange["body"], path):
                self._name("opaque", parent[key])
        if tokens := exchange["headers"].get("Consistency-Token"):
            for token in tokens.split(", "):
                self._name("token", token)
        shown: Exchange = self._shown(exchange)
        return shown

    def _shown(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._shown(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._shown(inner) for inner in value]
        return self._text(value) if isinstance(value, str) else value

    def _text(self, value: str) -> str:
        known = [self._names.get(part) for part in value.split(", ")]
        if all(known):
            return ", ".join(filter(None, known))
        value = _PATTERN.sub(lambda m: self._name(str(m.lastgroup), m[0]), value)
        value = re.sub(r"position \d+", f"position {_POSITION}", value)
        value = re.sub(r"[+-]\d+\.\d{3} s", "+0.001 s", value)  # between two clocks
        value = re.sub(r"cursor=[\w.-]+", "cursor=b3BhcXVl", value)
        return value.replace(self._today, DAY)

    def _name(self, kind: str, text: str) -> str:
        if text not in self._names:
            self._count[kind] = self._count.get(kind, 0) + 1
            self._names[text] = _NAMES[kind](self._count[kind])
        return self._names[text]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)
