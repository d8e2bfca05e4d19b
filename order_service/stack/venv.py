"""The virtual environment `.venv`, made from the hashed lock.

The lock's sections stand in the order in which they are needed: a place installs from the file's
head down to the last section that it needs. pip and uv refuse every file whose hash is not listed.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from order_service.stack.progress import shown
from order_service.stack.state import ROOT, StackError

LOCK = ROOT / "requirements.lock"
VENV = ROOT / ".venv"
IN_CONTAINER = "ORDER_SERVICE_IN_CONTAINER"
SECTIONS = ("run", "servers", "development")
MARKER = "# section: {}\n"


def enter(section: str, arguments: Sequence[str]) -> None:
    """Returns at once inside an environment that has all up to `section`; else makes it and starts
    over in it.
    """
    if os.environ.get(IN_CONTAINER):  # the image has what it needs
        return
    if Path(sys.prefix) == VENV and _has(section):
        return
    try:
        install(section)
    except OSError as error:
        raise StackError(
            f"Cannot write {VENV}: {error.strerror}. Make the clone writable for yourself."
        ) from None
    _restart(arguments)


def install(section: str) -> None:
    """`.venv` has everything up to `section` afterwards. Of two at once, one works and the other
    waits. Standard error gets a line for each step.
    """
    with LOCK.open() as lock:
        if _has(section):
            return
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _has(section):
            return
        if not _runs():
            with shown("python: virtual environment", VENV, _say):
                _run(
                    [sys.executable, "-m", "venv", "--clear", str(VENV)],
                    "`apt-get install python3-venv`, if this is Debian",
                )
        with tempfile.TemporaryDirectory() as folder:
            _install_packages(requirements(section), Path(folder))
        _note(section).write_text(_fingerprint(section))


def requirements(section: str) -> str:
    """The lock's text from its head to the end of `section`."""
    text = LOCK.read_text()
    following = SECTIONS[SECTIONS.index(section) + 1 :]
    return text.partition(MARKER.format(following[0]))[0] if following else text


def _install_packages(text: str, folder: Path) -> None:
    """With uv, which is many times faster, if pip can get it; what uv cannot do here (a mirror that
    only pip knows), pip does.
    """
    wanted, installer = folder / "requirements.txt", folder / "uv.txt"
    wanted.write_text(text)
    installer.write_text(_pin("uv", requirements("servers")))
    python = str(VENV / "bin/python")
    by_hash = ("install", "-q", "--require-hashes")
    pip = [python, "-m", "pip", *by_hash, "--disable-pip-version-check"]
    uv = [str(VENV / "bin/uv"), "pip", *by_hash, "--compile-bytecode", "--python", python]
    with contextlib.suppress(StackError):
        with shown("python: uv, which installs packages", VENV, _say):
            _run([*pip, "-r", str(installer)], "")
        with shown(f"python: {_count(text)} packages", VENV, _say):
            return _run([*uv, "-r", str(wanted)], "")
    with shown(f"python: {_count(text)} packages, by pip", VENV, _say):
        return _run([*pip, "-r", str(wanted)], "a network, or a package index set up for pip")


def _count(text: str) -> int:
    return len(re.findall(r"^[a-z0-9].*==", text, re.MULTILINE))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _pin(package: str, text: str) -> str:
    found = re.search(rf"^{package}==.*(?:\n[ \t].*)*", text, re.MULTILINE)
    if found is None:
        raise StackError(f"{LOCK.name} has no {package}: make it anew with `./entrypoint.sh lock`.")
    return found[0] + "\n"


def _run(argv: list[str], needs: str) -> None:
    done = subprocess.run(
        argv, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        raise StackError(
            f"Cannot make {VENV}: {argv[1:4]} failed. It may need {needs}.\n{done.stdout}"
        )


def _runs() -> bool:
    python = VENV / "bin/python"
    return (
        python.exists()
        and subprocess.run(
            [python, "-m", "pip", "--version"], check=False, capture_output=True
        ).returncode
        == 0
    )


def _note(section: str) -> Path:
    return VENV / f"installed-{section}"


def _fingerprint(section: str) -> str:
    return hashlib.sha256(requirements(section).encode()).hexdigest()


def _has(section: str) -> bool:
    """Whether this section, or a later one, which holds it, was installed from today's lock."""
    later = SECTIONS[SECTIONS.index(section) :]
    return any(
        _note(name).exists() and _note(name).read_text() == _fingerprint(name) for name in later
    )


def _restart(arguments: Sequence[str]) -> NoReturn:
    python = str(VENV / "bin/python")
    os.execv(python, [python, "-m", "order_service.stack", *arguments])
