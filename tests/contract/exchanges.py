"""What was sent and answered: parts of requests and of answers."""

import json
import re
from typing import Any

import httpx

# Headers of answers that are compared; the others depend on the run, or on no operation.
HEADERS = ("Location", "ETag", "Consistency-Token", "Idempotent-Replayed", "Link")


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
