"""`lock`: writes requirements.lock from pyproject.toml.

The file holds pins and hashes only, for every platform that Python 3.11 and newer runs on, and no
address of an index. A section holds only the pins that the sections above it lack.
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
    """Writes the pins that pyproject.toml requires, by section. Pins stay as they are unless
    `options`, those of `uv pip compile`, change them. Raises StackError.
    """
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole.txt"
        if LOCK.exists():
            whole.write_text(LOCK.read_text())  # uv keeps these pins where they still fit
        _compile(SECTIONS[-1], whole, options)
        text, pins_above = HEAD, set[str]()
        for section in SECTIONS:
            part = Path(folder) / f"{section}.txt"
            _compile(section, part, ("--constraint", str(whole)))
            pins = [pin for pin in _pins(part.read_text()) if pin not in pins_above]
            pins_above |= set(pins)
            text += MARKER.format(section) + "".join(pins)
    if re.search(r"://|--(index|extra|find)", text):
        raise StackError(
            "Cannot write the lock: uv put an address into it. Unset the index options of uv."
        )
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


def _pins(text: str) -> list[str]:
    """One text a pin: its line and the lines with its hashes."""
    return re.findall(r"^[a-z0-9].*\n(?:[ \t].*\n)*", text, re.MULTILINE)
