"""The load generator: wrk, with load.lua to send a load and to judge every answer to it.

wrk is the machine's own, else Debian's, unpacked beside the virtual environment.
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
    """What came back is not what a correct service answers: no figure of it counts."""


@dataclass(frozen=True)
class Request:
    """One kind of request; several paths take turns. `once`: the load ends with the last path."""

    method: str
    paths: tuple[str, ...]
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    once: bool = False


@dataclass(frozen=True)
class Expected:
    """Of a right answer: its whole body or a part of it. Those with `header` are counted: a cache
    that was too slow to be waited for makes no answer wrong."""

    equals: bytes | None = None
    contains: bytes | None = None
    header: tuple[str, str] | None = None


@dataclass(frozen=True)
class Load:
    """Requests in turn, and by status what answers must be. `rate`: requests a second; None: each
    connection asks again at once."""

    requests: tuple[Request, ...]
    expected: Mapping[int, Expected]
    rate: float | None = None
    connections: int = CONNECTIONS

    def as_lua(self) -> str:
        """What load.lua reads."""
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
    """What wrk counted: `seconds` from the first answer to the last one."""

    right: int
    marked: int  # of them, with the header that was looked for
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
    """A Lua literal. Bytes, since Lua's strings are: whatever is no letter or digit by its code."""
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
    """Raises ValueError for anything but load.lua's own last lines."""
    found = _RESULT.search(printed)
    if found is None:
        raise ValueError(f"wrk did not measure:\n{printed}")
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
        """All right; raises WrongAnswers if a single answer was not, or none came."""
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
    """Raises StackError where it can neither be found nor fetched."""
    if (installed := shutil.which("wrk")) is not None:
        return Wrk(Path(installed), {})
    folder = unpack("wrk", cache() / "wrk")
    return Wrk(folder / "usr/bin/wrk", {"LD_LIBRARY_PATH": ":".join(map(str, libraries(folder)))})
