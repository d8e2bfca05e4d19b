"""What a case of the corpus is: the bytes that are sent, and the status that they get."""

import json
from dataclasses import dataclass
from typing import Any

# In values that are sent; no answer may show it again.
CANARY = "c4n4ry"
JSON = ("Content-Type", "application/json")
FORM = ("Content-Type", "application/x-www-form-urlencoded")
Text = str | bytes


@dataclass(frozen=True)
class Case:
    """`{OWNER}` and the like in what is sent stand for what the run has made; LENGTH, for how
    long the body is then."""

    name: str
    sent: bytes
    status: int

    def filled(self, known: dict[str, bytes]) -> bytes:
        sent = self.sent
        for name, value in known.items():
            sent = sent.replace(b"{%b}" % name.encode(), value)
        length = len(sent.partition(b"\r\n\r\n")[2])
        return sent.replace(b"{LENGTH}", b"%d" % length)


def as_bytes(text: Text) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


def asked(
    method: str, target: Text, *headers: tuple[str, Text], body: bytes | None = None
) -> bytes:
    """A whole request, as it is on the wire. Its length is said where it has a body."""
    lines = [method.encode() + b" " + as_bytes(target) + b" HTTP/1.1", b"Host: x"]
    lines += [as_bytes(name) + b": " + as_bytes(value) for name, value in headers]
    if body is not None:
        lines.append(b"Content-Length: {LENGTH}")
    return b"\r\n".join([*lines, b"", body or b""])


OWNER = ("Authorization", "Bearer {OWNER}")
STAFF = ("Authorization", "Bearer {STAFF}")
ADMIN = ("Authorization", "Bearer {ADMIN}")


def gets(status: int, *targets: Text, who: tuple[str, str] = STAFF) -> list[Case]:
    return [Case(f"GET {t[:60]!r}", asked("GET", t, who), status) for t in targets]


def posts(status: int, path: str, *bodies: Any, content: tuple[str, str] = JSON) -> list[Case]:
    """Bodies as bytes, or what is sent as JSON; by nobody."""
    found = []
    for body in bodies:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        case = Case(f"POST {path} {data[:60]!r}", asked("POST", path, content, body=data), status)
        found.append(case)
    return found
