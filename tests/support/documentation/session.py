"""Runs the shell blocks of a page as a reader does: in order, in one shell, on a running stack.

The shell stands in a folder that has `entrypoint.sh`, `.venv` and `.local` as a clone has, of which
`.local` is the running stack's, and the stack's port stands in for 8000.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support.documentation.page import ROOT, Block
from tests.support.servers.stack import Stack

TIMEOUT_S = 280  # less than faulthandler_timeout
END_TIMEOUT_S = 30
_ADDRESS = "http://127.0.0.1:8000"
# On a busy machine a read model may lag longer than a reader may wait, and a check time out.
_NEEDS_QUIET = ("Prefer: wait=", "/readyz")
_MARK = "==== the block at line {} ===="


def clone(folder: Path, stack: Stack) -> None:
    """`folder` looks like a clone in which the stack was started."""
    entrypoint = folder / "entrypoint.sh"
    entrypoint.write_text(f'#!/bin/sh\nexec "{ROOT}/entrypoint.sh" "$@"\n')
    entrypoint.chmod(0o755)
    (folder / ".local").symlink_to(stack.state)
    (folder / ".venv").symlink_to(ROOT / ".venv")


def run(found: Sequence[Block], folder: Path, stack: Stack) -> dict[int, str]:
    """What each block printed, by its line; raises AssertionError where one of them fails."""
    for block in found:
        if block.kind == "file":
            (folder / block.file).write_text(block.text.replace(_ADDRESS, stack.url))
    with ExitStack() as terminals:
        for block in found:
            if block.kind == "terminal":
                terminals.enter_context(_terminal(block, folder, stack))
        return _in_one_shell([block for block in found if block.runs], folder, stack)


def _in_one_shell(running: Sequence[Block], folder: Path, stack: Stack) -> dict[int, str]:
    script, where = "set -euo pipefail\n", f"'{stack.state}' {stack.port}"
    for block in running:
        if any(text in block.text for text in _NEEDS_QUIET):
            script += f"(cd '{ROOT}' && python -m tests.support.servers.quiet {where})\n"
        script += f"echo '{_MARK.format(block.line)}'\n{block.text}"
    done = subprocess.run(
        ["bash", "-c", script.replace(_ADDRESS, stack.url)],
        cwd=folder,
        env=_environment(stack),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, f"the last block failed:\n{done.stdout}"
    printed, rest = {}, done.stdout
    for block in reversed(running):
        rest, _, printed[block.line] = rest.rpartition(_MARK.format(block.line) + "\n")
    return printed


@contextmanager
def _terminal(block: Block, folder: Path, stack: Stack) -> Iterator[None]:
    """The block runs until the context ends, at least until it has printed a line. It ends as by
    Ctrl-C, with exit code 0."""
    process = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", block.text.replace(_ADDRESS, stack.url)],
        cwd=folder,
        env=_environment(stack),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        yield
        assert process.stdout is not None
        said = process.stdout.readline()
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        rest, _ = process.communicate(timeout=END_TIMEOUT_S)
    assert process.returncode == 0, f"the block at line {block.line} failed:\n{said}{rest}"


def _environment(stack: Stack) -> dict[str, str]:
    """As the stack's, with this Python before any other."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{stack.environment['PATH']}"
    return {**stack.environment, "PATH": path}
