"""The load generator: wrk, with load.lua, which sends a load and checks every answer.

wrk is the machine's own, else Debian's, unpacked in the virtual environment.
"""

import asyncio
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from order_service.stack.packages import libraries, unpack
from order_service.stack.programs import cache
from tests.support.servers.stack import say

CONNECTIONS = 64
ANSWER_TIMEOUT_S = 30  # so that a slow answer is measured, not dropped
GRACE_S = 60
SCRIPT = Path(__file__).with_name("load.lua")
_RESULT = re.compile(
    r"^right=(\d+) marked=(\d+) wrong=(\d+) refused=(\d+) seconds=([\d.]+)\n"
    r"p50_us=(\d+) p99_us=(\d+) max_us=(\d+) errors=(\d+)\nexample=(.*)$",
    re.MULTILINE,
)


class WrongAnswers(Exception):
    """An answer was not that of a correct service: the measurement is void."""


@dataclass(frozen=True)
class Request:
    """One kind of request. Several paths are used in turn; `once`: the load ends with the last."""

    method: str
    paths: tuple[str, ...]
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    once: bool = False


@dataclass(frozen=True)
class Expected:
    """A right answer: its whole body or a part of it. Answers with `header` are counted; others are
    right as well, since a slow cache makes no answer wrong.
    """

    equals: bytes | None = None
    contains: bytes | None = None
    header: tuple[str, str] | None = None


@dataclass(frozen=True)
class Load:
    """Requests to send in turn, and the expected answers by status. `rate`: requests a second;
    None: each connection sends the next request at once.
    """

    requests: tuple[Request, ...]
    expected: Mapping[int, Expected]
    rate: float | None = None
    connections: int = CONNECTIONS

    def as_lua(self) -> str:
        """The load as the Lua file that load.lua reads."""
        requests = [
            {
                "method": request.method.encode(),
                "paths": [path.encode() for path in request.paths],
                "headers": {k: v.encode() for k, v in request.headers.items()},
                "body": request.body or None,
                "once": request.once,
            }
            for request in self.requests
        ]
        expected = {status: _expected(wanted) for status, wanted in self.expected.items()}
        return f"return {_lua({'requests': requests, 'expected': expected, 'rate': self.rate})}\n"


@dataclass(frozen=True)
class Answers:
    """The results of wrk. `seconds`: from the first answer to the last."""

    right: int
    marked: int  # right answers with the expected header
    wrong: int
    refused: int  # with 503, for overload: neither right nor wrong
    seconds: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    errors: int
    example: str  # of a wrong one

    @property
    def rate(self) -> float:
        return self.right / self.seconds if self.seconds else 0.0


def _expected(wanted: Expected) -> dict[str, object]:
    name, value = wanted.header or (None, None)
    return {
        "equals": wanted.equals,
        "contains": wanted.contains,
        "header": name and name.encode(),
        "value": value and value.encode(),
    }


def _lua(value: object) -> str:
    """A Lua literal. Lua's strings are bytes; special characters are written as their codes."""
    match value:
        case bytes():
            return '"' + re.sub(rb"[^ -!#-\[\]-~]", _code, value).decode() + '"'
        case dict():
            return "{" + ",".join(f"[{_key(k)}]={_lua(v)}" for k, v in value.items()) + "}"
        case list():
            return "{" + ",\n".join(map(_lua, value)) + "}"
        case None:
            return "nil"
        case bool():
            return str(value).lower()
    return str(value)


def _code(found: "re.Match[bytes]") -> bytes:
    return b"\\%03d" % found[0][0]


def _key(key: object) -> str:
    return _lua(key.encode() if isinstance(key, str) else key)


def parse(printed: str) -> Answers:
    """Parses the last lines of load.lua's output. Raises ValueError if they are missing."""
    found = _RESULT.search(printed)
    if found is None:
        raise ValueError(f"Cannot measure: wrk printed no result:\n{printed}")
    right, marked, wrong, refused, seconds, p50, p99, longest, errors, example = found.groups()
    return Answers(
        right=int(right),
        marked=int(marked),
        wrong=int(wrong),
        refused=int(refused),
        seconds=float(seconds),
        p50_ms=int(p50) / 1000,
        p99_ms=int(p99) / 1000,
        max_ms=int(longest) / 1000,
        errors=int(errors),
        example=example,
    )


@dataclass(frozen=True)
class Wrk:
    program: Path
    env: Mapping[str, str]

    async def run(self, url: str, load: Load, seconds: float) -> Answers:
        """Sends the load; raises WrongAnswers if an answer is wrong, or if there is none."""
        with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
            file.write(load.as_lua())
            file.flush()
            printed = await self._printed(url, file.name, seconds, load.connections)
            answers = parse(printed)
        if answers.wrong or answers.errors or not answers.right:
            raise WrongAnswers(
                f"{load.requests[0].method} {load.requests[0].paths[0]} at {url}: {answers}"
            )
        return answers

    async def _printed(self, url: str, load: str, seconds: float, connections: int) -> str:
        process = await asyncio.create_subprocess_exec(
            *(str(self.program), "--threads", "1", "--connections", str(connections)),
            *("--duration", f"{max(1, round(seconds))}s", "--timeout", f"{ANSWER_TIMEOUT_S}s"),
            *("--script", str(SCRIPT), url, "--", load),
            env=dict(self.env),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            printed, _ = await asyncio.wait_for(process.communicate(), seconds + GRACE_S)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return printed.decode(errors="replace")


def find() -> Wrk:
    """The installed wrk, else Debian's. Raises StackError if it cannot be fetched."""
    if (installed := shutil.which("wrk")) is not None:
        return Wrk(Path(installed), {})
    folder = unpack("wrk", cache() / "wrk", say)
    return Wrk(folder / "usr/bin/wrk", {"LD_LIBRARY_PATH": ":".join(map(str, libraries(folder)))})
