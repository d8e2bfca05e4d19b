"""`lock`: makes requirements.lock anew from pyproject.toml.

Pins and hashes only, for every platform that Python 3.11 and newer runs on: no address of an index
gets in. A later section holds only what the sections above it have not.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from order_service.stack.state import ROOT, StackError
from order_service.stack.venv import LOCK, MARKER, SECTIONS

EXTRAS = {"run": (), "servers": ("servers",), "development": ("servers", "development")}
HEAD = (
    "# Made by `./entrypoint.sh lock` from pyproject.toml.\n"
    "# Each place installs from here down to the end of the section that it needs.\n"
)
_OPTIONS = (
    *("--universal", "--python-version", "3.11", "--generate-hashes", "--quiet"),
    *("--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"),
)


def lock(options: Sequence[str]) -> int:
    """The file holds, per section, what pyproject.toml asks for; pins stay as they are unless
    `options` say otherwise.
    """
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole.txt"
        if LOCK.exists():
            whole.write_text(LOCK.read_text())  # today's pins are kept where they still fit
        _compile(SECTIONS[-1], whole, options)
        text, above = HEAD, set[str]()
        for section in SECTIONS:
            part = Path(folder) / f"{section}.txt"
            _compile(section, part, ("--constraint", str(whole)))
            blocks = [block for block in _blocks(part.read_text()) if block not in above]
            above |= set(blocks)
            text += MARKER.format(section) + "".join(blocks)
    if re.search(r"://|--(index|extra|find)", text):
        raise StackError("An address got into the lock: it was not written.")
    LOCK.write_text(text)
    return 0


def _compile(section: str, output: Path, options: Sequence[str]) -> None:
    extras = [word for extra in EXTRAS[section] for word in ("--extra", extra)]
    argv = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "compile",
        "pyproject.toml",
        *_OPTIONS,
        *extras,
        *options,
        "-o",
        str(output),
    ]
    done = subprocess.run(
        argv, cwd=ROOT, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        raise StackError(f"Cannot resolve section {section}:\n{done.stdout}")


def _blocks(text: str) -> list[str]:
    """One text a pin: its line and the hashes that follow it."""
    return re.findall(r"^[a-z0-9].*\n(?:[ \t].*\n)*", text, re.MULTILINE)
