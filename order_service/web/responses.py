"""JSON responses, and conditional reads of them."""

import re
from collections.abc import Mapping
from typing import Any

from msgspec.json import Encoder
from starlette.responses import Response

from order_service.domain.immutable import immutable

NO_STORE = {"Cache-Control": "no-store"}
PRIVATE = {"Cache-Control": "private, no-cache", "Vary": "Authorization"}
CODINGS = ("zstd", "gzip")  # the quicker one first
_ETAG = re.compile(r'"[^"]*"')
_CODED = re.compile(rf'-(?:{"|".join(CODINGS)})"')


RawHeader = tuple[bytes, bytes]


@immutable
class Reply:
    """The parts of a response. `media_type` is None if there is no body."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    media_type: str | None = "application/json"

    def response(self) -> Response:
        return Response(self.body, self.status, self.headers, self.media_type)

    def lines(self) -> str:
        """The header lines as sent, the same headers as those of `response`."""
        lines = "".join([f"{name.lower()}: {value}\r\n" for name, value in self.headers.items()])
        if self.media_type is None:
            return lines
        return f"{lines}content-length: {len(self.body)}\r\ncontent-type: {self.media_type}\r\n"


def plain_tags(tags: str) -> str:
    """A list of tags without the codings that `compression` writes behind a version."""
    return _CODED.sub('"', tags)


def unmodified_tag(if_none_match: str, etag: str) -> str | None:
    """The tag of the 304 if `If-None-Match` contains `etag`, in any coding; else None. The
    comparison is weak (RFC 9110, 13.1.2): a compressing proxy may have weakened the tag."""
    if if_none_match.strip() == "*":
        return etag
    tags = _ETAG.findall(if_none_match)
    return next((tag for tag in tags if plain_tags(tag) == etag), None)


_encode = Encoder().encode


def json_bytes(content: Any) -> bytes:
    """`content` as JSON."""
    return _encode(content)


def json_answer(
    content: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    return Response(json_bytes(content), status, dict(headers or {}), "application/json")
