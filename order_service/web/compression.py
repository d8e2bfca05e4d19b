"""Compressed responses: lists, exports and documents, where the client accepts zstd or gzip.

Only responses to GET are compressed, and only JSON and CSV: those with tokens answer POST. No
request's text is repeated beside a secret, so the length of a response reveals none (BREACH).

A strong ETag names one sequence of bytes (RFC 9110 8.8.1). So the tag of a compressed response has
its coding behind the version: `"7"` is `"7-gzip"` there. Conditions take both for version 7.
"""

import asyncio
import re
import zlib
from functools import lru_cache
from typing import Protocol

import zstandard
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from order_service import limits
from order_service.web.responses import CODINGS, RawHeader, Reply

_MEDIA_TYPES = (b"application/json", b"application/x-ndjson", b"text/csv")
_ZSTD = zstandard.ZstdCompressor(level=1)  # of the event loop's thread; a new one takes 10 us
_CODING = re.compile(r"([a-z*]+)(?:[ \t]*;[ \t]*q=([01](?:\.[0-9]{0,3})?))?", re.IGNORECASE)


class _Compressor(Protocol):
    def compress(self, data: bytes) -> bytes: ...
    def flush(self, mode: int = ...) -> bytes: ...


@lru_cache(maxsize=limits.ACCEPTED_CODINGS_REMEMBERED_MAX)
def accepted_coding(accept_encoding: bytes) -> str | None:
    """The coding that the client likes best, of ours; None: it accepts none. Unknown syntax is
    ignored."""
    weights: dict[str, float] = {}
    for part in accept_encoding.decode("latin-1").split(","):
        found = _CODING.fullmatch(part.strip())
        if found is not None:
            weights[found[1].lower()] = float(found[2] or 1)
    weight = {coding: weights.get(coding, weights.get("*", 0.0)) for coding in CODINGS}
    best = max(CODINGS, key=lambda coding: weight[coding])
    return best if weight[best] else None


def coding_of(accept_encoding: bytes | None) -> str | None:
    """`accept_encoding`: the header's value. A long one is ignored."""
    if accept_encoding is None or len(accept_encoding) > limits.ACCEPT_ENCODING_LENGTH_MAX:
        return None
    return accepted_coding(accept_encoding)


async def compressed_reply(reply: Reply, coding: str) -> Reply:
    """`reply`, which has a document as its body, in this coding if it is worth the time."""
    if reply.status != 200 or len(reply.body) < limits.COMPRESSED_BYTES_MIN:
        return reply
    headers = {**reply.headers, "Content-Encoding": coding}
    if "ETag" in headers:
        headers["ETag"] = _tag_with(headers["ETag"], coding)
    return Reply(200, headers, await _compressed(reply.body, coding), reply.media_type)


def _tag_with(tag: str, coding: str) -> str:
    return f'{tag[:-1]}-{coding}"'


def _compressor(coding: str) -> _Compressor:
    """Of the quickest level: higher ones save some percent and take a multiple of the time."""
    if coding == "zstd":
        return zstandard.ZstdCompressor(level=1).compressobj()
    return zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS)


async def _compressed(body: bytes, coding: str) -> bytes:
    """The whole body."""
    if coding == "zstd" and len(body) <= limits.COMPRESSED_INLINE_BYTES_MAX:
        return _ZSTD.compress(body)
    return await _aside(len(body), _whole, body, coding)


def _whole(body: bytes, coding: str) -> bytes:
    compressor = _compressor(coding)
    return compressor.compress(body) + compressor.flush()


def _piece(compressor: _Compressor, body: bytes, coding: str) -> bytes:
    """What the client can read at once: a stream's piece must not wait for the next."""
    is_zstd = coding == "zstd"
    mode = zstandard.COMPRESSOBJ_FLUSH_BLOCK if is_zstd else zlib.Z_SYNC_FLUSH
    return compressor.compress(body) + compressor.flush(mode)


class Compression:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        coding = None
        if scope["type"] == "http" and scope["method"] == "GET":
            accepted = [value for name, value in scope["headers"] if name == b"accept-encoding"]
            coding = coding_of(b",".join(accepted)) if accepted else None
        if coding is not None:
            send = _Response(send, coding).send
        await self.app(scope, receive, send)


class _Response:
    """One response. Its head waits for the first piece of its body, whose size decides."""

    def __init__(self, send: Send, coding: str) -> None:
        self._send = send
        self._coding = coding
        self._start: Message | None = None
        self._compressor: _Compressor | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _is_compressible(message):
            self._start = message
            return
        if message["type"] == "http.response.body":
            if self._start is not None:
                await self._begin(self._start, message)
                return
            if self._compressor is not None:
                message = {**message, "body": await self._next(self._compressor, message)}
        await self._send(message)

    async def _begin(self, start: Message, message: Message) -> None:
        self._start = None
        body, more = message.get("body", b""), message.get("more_body", False)
        if not more and len(body) < limits.COMPRESSED_BYTES_MIN:
            await self._send(start)
            await self._send(message)
            return
        if more:
            self._compressor = _compressor(self._coding)
            body = await self._next(self._compressor, message)
            length = []
        else:
            body = await _compressed(body, self._coding)
            length = [(b"content-length", str(len(body)).encode())]
        headers = [*_coded(start["headers"], self._coding), *length]
        await self._send({**start, "headers": headers})
        await self._send({**message, "body": body})

    async def _next(self, compressor: _Compressor, message: Message) -> bytes:
        body, more = message.get("body", b""), message.get("more_body", False)
        found = b""
        if body:
            found = await _aside(len(body), _piece, compressor, body, self._coding)
        return found if more else found + compressor.flush()


async def _aside(size: int, function: object, *arguments: object) -> bytes:
    """A large body is compressed in a thread, so that other requests need not wait."""
    assert callable(function)
    if size <= limits.COMPRESSED_INLINE_BYTES_MAX:
        found = function(*arguments)
    else:
        found = await asyncio.to_thread(function, *arguments)
    assert isinstance(found, bytes)
    return found


def _is_compressible(start: Message) -> bool:
    headers = dict(start["headers"])
    media_type = headers.get(b"content-type", b"").partition(b";")[0]
    return (
        start["status"] == 200 and media_type in _MEDIA_TYPES and b"content-encoding" not in headers
    )


def _coded(headers: list[RawHeader], coding: str) -> list[RawHeader]:
    """The headers of the compressed response, without its length."""
    found = [(b"content-encoding", coding.encode())]
    for name, value in headers:
        if name == b"etag":
            value = _tag_with(value.decode("latin-1"), coding).encode("latin-1")
        if name != b"content-length":
            found.append((name, value))
    return found
