"""What was sent and answered, in a form that is the same in every run: ids, times, tokens and the
like get a text of their own for each, in the order in which they appear."""

import json
import re
from collections.abc import Callable
from typing import Any

import httpx

# Headers of answers that are compared; the others depend on the run, or on no operation.
HEADERS = ("Location", "ETag", "Consistency-Token", "Idempotent-Replayed", "Link")

_TEXTS: dict[str, Callable[[int], str]] = {
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}": (
        lambda n: f"0195f0a1-0000-7000-8000-{n:012}"
    ),
    r"\b[0-9a-f]{32}\b": lambda n: f"5f1d7a0c9b3e4d68a2c7f0e1{n:08}",
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z": (
        lambda n: f"2026-03-01T12:{n // 60:02}:{n % 60:02}.000000Z"
    ),
    r"A-\d+-\d": lambda n: f"A-{100_000 + n}-{n % 10}",
    r"eyJ[\w-]+\.[\w-]+\.[\w-]+": lambda n: f"eyJhbGciOiJIUzI1NiJ9.eyJqdGkiOiJ{n}In0.c2lnbmF0dXJl",
}
_SECONDS = {"p50": 416, "p90": 3_584}  # that passed between requests
_OPAQUE = {"refresh_token", "token", "ticket", "next_cursor", "prev_cursor", "Consistency-Token"}


class Names:
    """`shown` gives a value as the examples have it."""

    def __init__(self, today: str) -> None:
        self._today = today
        self._shown: dict[str, str] = {}
        self._count: dict[str, int] = {}

    def shown(self, value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return {key: self.shown(inner, key) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.shown(inner, name) for inner in value]
        if not isinstance(value, str):
            return _SECONDS.get(name, value)
        if name in _OPAQUE:
            return self._named(value, "opaque", lambda n: f"b3BhcXVlIHRleHQ{n:03}")
        for pattern, text in _TEXTS.items():
            value = re.sub(pattern, lambda m, p=pattern, t=text: self._named(m[0], p, t), value)
        value = re.sub(r"cursor=[\w.-]+", "cursor=b3BhcXVl", value)
        return value.replace(self._today, "2026-03-01")

    def _named(self, value: str, kind: str, text: Callable[[int], str]) -> str:
        if value in self._shown.values():
            return value  # shown already: what one pattern made fits another
        if value not in self._shown:
            self._count[kind] = self._count.get(kind, 0) + 1
            self._shown[value] = text(self._count[kind])
        return self._shown[value]


def body_of(answer: httpx.Response) -> Any:
    media_type = answer.headers.get("content-type", "").partition(";")[0]
    if media_type == "application/json":
        return answer.json()
    if media_type == "text/event-stream":
        return answer.text
    return answer.text or None


def at(pointer: str, body: Any) -> Any:
    """The part of `body` that the JSON pointer names."""
    for name in pointer.split("/")[1:]:
        body = body[int(name)] if isinstance(body, list) else body[name]
    return body


def filled(value: Any, known: dict[str, Any]) -> Any:
    """`value` with `{name}` replaced by what is known under that name."""
    if isinstance(value, dict):
        return {key: filled(inner, known) for key, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, known) for inner in value]
    if isinstance(value, str):
        return re.sub(r"\{(\w+)\}", lambda m: str(known[m[1]]), value)
    return value


def written(exchanges: list[dict[str, Any]]) -> str:
    return json.dumps(exchanges, indent=1, ensure_ascii=False) + "\n"
