"""Successful answers as JSON. May import starlette and orjson."""

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.responses import Response

NO_STORE = {"Cache-Control": "no-store"}
PRIVATE = {"Cache-Control": "private, no-cache", "Vary": "Authorization"}


def json_bytes(content: Any) -> bytes:
    """`content` as JSON; times must be UTC and go out with a Z."""
    return orjson.dumps(content, option=orjson.OPT_UTC_Z)


def json_answer(
    content: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    return Response(json_bytes(content), status, dict(headers or {}), "application/json")
