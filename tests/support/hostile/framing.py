"""HTTP that is not quite HTTP: request lines, headers, lengths, chunks, what follows a request."""

from tests.support.hostile.case import CANARY, Case, asked

_GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
_POST = b"POST /register/ HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
_CHUNKED = _POST + b"Transfer-Encoding: chunked\r\n\r\n"
_SMUGGLED = b"GET /users/me/ HTTP/1.1\r\nHost: x\r\nX: "

_REFUSED: dict[str, bytes] = {
    # --- the request line
    "no method": b" / HTTP/1.1\r\nHost: x\r\n\r\n",
    "an unknown method": b"FROB / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a method in small letters": b"get / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a method of letters only a library knows": b"G\xc3\x8bT / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a method without end": b"A" * 5_000 + b" / HTTP/1.1\r\nHost: x\r\n\r\n",
    "no target": b"GET  HTTP/1.1\r\nHost: x\r\n\r\n",
    "a space in the target": b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
    "NUL in the target": b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n",
    "Latin-1 in the target": b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
    "a target for a proxy's tunnel": b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
    "a tunnel to another protocol": b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n"
    b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    "a target that begins with nothing": b"GET healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "no such version": b"GET / HTTP/3.7\r\nHost: x\r\n\r\n",
    "a version of two digits": b"GET / HTTP/1.10\r\nHost: x\r\n\r\n",
    "HTTP/0.9": b"GET / HTTP/0.9\r\n\r\n",
    "HTTP/2 with prior knowledge": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "SSH": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "Redis": b"*1\r\n$4\r\nPING\r\n\r\n",
    "a proxy's greeting": b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + _GET + b"\r\n",
    # --- headers
    "no Host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "two Hosts": _GET + b"Host: y\r\n\r\n",
    "two Hosts alike": _GET + b"Host: x\r\n\r\n",
    "a header without a colon": _GET + b"X\r\n\r\n",
    "a header without a name": _GET + b": x\r\n\r\n",
    "a space before the colon": _GET + b"X : y\r\n\r\n",
    "a space before the first header": b"GET /healthz HTTP/1.1\r\n Host: x\r\n\r\n",
    "a folded header": _GET + b"X: a\r\n b\r\n\r\n",
    "NUL in a header": _GET + b"X: a\0b\r\n\r\n",
    "a control character in a header": _GET + b"X: \x01\r\n\r\n",
    "a bare CR in a header": _GET + b"X: a\rY: b\r\n\r\n",
    "NUL in a header's name": _GET + b"X\0: a\r\n\r\n",
    "lines that end in LF": b"GET /healthz HTTP/1.1\nHost: x\n\n",
    # --- how long a body is
    "length and chunks": _POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
    "chunks and length": _POST + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{}",
    "two lengths": _POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "two lengths alike": _POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "two lengths in one": _POST + b"Content-Length: 2, 2\r\n\r\n{}",
    "a negative length": _POST + b"Content-Length: -1\r\n\r\n{}",
    "a length with a sign": _POST + b"Content-Length: +2\r\n\r\n{}",
    "a length in hexadecimal": _POST + b"Content-Length: 0x2\r\n\r\n{}",
    "a length with a point": _POST + b"Content-Length: 2.0\r\n\r\n{}",
    "a length of Arabic digits": _POST + "Content-Length: ٢\r\n\r\n{}".encode(),
    "an empty length": _POST + b"Content-Length: \r\n\r\n{}",
    "a length of 23 digits": _POST + b"Content-Length: " + b"9" * 23 + b"\r\n\r\n{}",
    "chunks, then what": _POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "chunks twice": _POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunks in two headers": _POST + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n0\r\n\r\n",
    "an unknown coding": _POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a coding with a control character": _POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "packed chunks": _POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    # --- chunks
    "a chunk of no size": _CHUNKED + b"\r\n{}\r\n0\r\n\r\n",
    "a chunk of a strange size": _CHUNKED + b"xyz\r\n{}\r\n0\r\n\r\n",
    "a chunk of a negative size": _CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n",
    "a chunk of a size with a prefix": _CHUNKED + b"0x2\r\n{}\r\n0\r\n\r\n",
    "a chunk larger than numbers are": _CHUNKED + b"F" * 17 + b"\r\n{}\r\n0\r\n\r\n",
    "a chunk longer than it says": _CHUNKED + b"2\r\n{}{}\r\n0\r\n\r\n",
    "a length after the chunks": _CHUNKED + b"2\r\n{}\r\n0\r\nContent-Length: 9\r\n\r\n",
    "a chunk that ends in LF": _CHUNKED + b"2\n{}\n0\n\n",
}

FRAMING: list[Case] = [
    *(Case(name, sent, 400) for name, sent in _REFUSED.items()),
    # --- what is strange, and none the less HTTP
    Case("HTTP/1.0 without Host", b"GET /healthz HTTP/1.0\r\n\r\n", 200),
    Case("an absolute target", b"GET http://other/healthz HTTP/1.1\r\nHost: x\r\n\r\n", 200),
    Case("the server itself", b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    Case("TRACE", b"TRACE /healthz HTTP/1.1\r\nHost: x\r\nX: %b\r\n\r\n" % CANARY.encode(), 405),
    Case("WebDAV", b"PROPFIND / HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    Case(
        "a web socket",
        _GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
        200,
    ),
    Case(
        "a body and another protocol",
        _POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\n{}",
        422,
    ),
    Case("empty lines first", b"\r\n\r\n\r\n" + _GET + b"\r\n", 200),
    Case("an empty Host", b"GET /healthz HTTP/1.1\r\nHost:\r\n\r\n", 200),
    Case("a length in a GET", _GET + b"Content-Length: 5\r\n\r\nhello", 200),
    Case("a length with zeros", _POST + b"Content-Length: 0000000002\r\n\r\n{}", 422),
    Case("an extension of a chunk", _CHUNKED + b"2;a=b\r\n{}\r\n0\r\n\r\n", 422),
    Case("a trailer", _CHUNKED + b"2\r\n{}\r\n0\r\nX: y\r\n\r\n", 422),
    Case("a relative of HTTP", b"GET / RTSP/1.0\r\nHost: x\r\n\r\n", 404),
    Case("no body where one is needed", asked("POST", "/register/"), 400),
    Case("no chunks", _CHUNKED + b"0\r\n\r\n", 400),
    # --- sizes
    Case("a long target", asked("GET", "/" + "a" * 20_000), 431),
    Case("a long header", asked("GET", "/healthz", ("X", "a" * 20_000)), 431),
    Case("a long name of a header", asked("GET", "/healthz", ("X" * 20_000, "a")), 431),
    Case("many headers", _GET + b"X: y\r\n" * 101 + b"\r\n", 431),
    Case("many trailer fields", _CHUNKED + b"2\r\n{}\r\n0\r\n" + b"X: y\r\n" * 101 + b"\r\n", 431),
    Case(
        "a long trailer field",
        _CHUNKED + b"2\r\n{}\r\n0\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        431,
    ),
    Case("a long extension", _CHUNKED + b"2;" + b"a" * 60_000 + b"\r\n{}\r\n0\r\n\r\n", 431),
    Case("a cookie without end", asked("GET", "/healthz", ("Cookie", "a=b; " * 5_000)), 431),
    Case("a body that says it is too large", _POST + b"Content-Length: 999999999\r\n\r\n{}", 413),
    Case(
        "a body that is too large", _POST + b"Content-Length: 300000\r\n\r\n" + b" " * 300_000, 413
    ),
    # --- what follows (the answer is the first one's)
    Case(
        "a second request inside the first",
        _POST + b"Content-Length: %d\r\n\r\n" % len(_SMUGGLED) + _SMUGGLED,
        400,
    ),
    Case("a request after one that closes", _GET + b"Connection: close\r\n\r\n" + _SMUGGLED, 200),
    Case("garbage after a request", _GET + b"\r\n\0\0\0\0", 200),
]
