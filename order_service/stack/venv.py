"""Makes the virtual environment `.venv` from the hashed lock.

A section of the lock needs all sections above it: so the lock is installed from its head to the end
of the section that a word needs. pip and uv refuse every file whose hash is not listed.
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

from order_service.stack.progress import show_progress
from order_service.stack.state import ROOT, StackError

LOCK = ROOT / "requirements.lock"
VENV = ROOT / ".venv"
IN_CONTAINER = "ORDER_SERVICE_IN_CONTAINER"
SECTIONS = ("run", "servers", "development")
MARKER = "# section: {}\n"


def enter(section: str, arguments: Sequence[str]) -> None:
    """Returns if this process runs in an environment that has the lock up to `section`. Else makes
    that environment and replaces the process by one in it, with the same arguments. Raises
    StackError.
    """
    if os.environ.get(IN_CONTAINER):  # the image has all packages
        return
    if Path(sys.prefix) == VENV and _is_installed(section):
        return
    try:
        install(section)
    except OSError as error:
        raise StackError(
            f"Cannot write {VENV}: {error.strerror}. Make the folder writable for this user."
        ) from None
    _restart(arguments)


def install(section: str) -> None:
    """Installs the lock up to `section` into `.venv`. Of two processes at once, one installs and
    the other waits. Prints a line for each step to standard error. Raises StackError.
    """
    with LOCK.open() as lock:
        if _is_installed(section):
            return
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _is_installed(section):
            return
        if not _has_working_pip():
            with show_progress("python: virtual environment", VENV, _say):
                _run(
                    [sys.executable, "-m", "venv", "--clear", str(VENV)],
                    "`apt-get install python3-venv`, if this is Debian",
                )
        with tempfile.TemporaryDirectory() as folder:
            _install_packages(requirements(section), Path(folder))
        _stamp(section).write_text(_fingerprint(section))


def requirements(section: str) -> str:
    """The lock's text from its head to the end of `section`."""
    text = LOCK.read_text()
    following = SECTIONS[SECTIONS.index(section) + 1 :]
    return text.partition(MARKER.format(following[0]))[0] if following else text


def _install_packages(text: str, folder: Path) -> None:
    """Installs with uv, which is many times faster, if pip can install uv. Installs with pip if uv
    fails: there may be a mirror that only pip is set up for.
    """
    wanted, installer = folder / "requirements.txt", folder / "uv.txt"
    wanted.write_text(text)
    installer.write_text(_pin("uv", requirements("servers")))
    python = str(VENV / "bin/python")
    by_hash = ("install", "-q", "--require-hashes")
    pip = [python, "-m", "pip", *by_hash, "--disable-pip-version-check"]
    uv = [str(VENV / "bin/uv"), "pip", *by_hash, "--compile-bytecode", "--python", python]
    with contextlib.suppress(StackError):
        with show_progress("python: uv, which installs packages", VENV, _say):
            _run([*pip, "-r", str(installer)], "")
        with show_progress(f"python: {_count(text)} packages", VENV, _say):
            return _run([*uv, "-r", str(wanted)], "")
    with show_progress(f"python: {_count(text)} packages, by pip", VENV, _say):
        return _run([*pip, "-r", str(wanted)], "a network, or a package index set up for pip")


def _count(text: str) -> int:
    return len(re.findall(r"^[a-z0-9].*==", text, re.MULTILINE))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _pin(package: str, text: str) -> str:
    found = re.search(rf"^{package}==.*(?:\n[ \t].*)*", text, re.MULTILINE)
    if found is None:
        raise StackError(f"{LOCK.name} lacks {package}: write it with `./entrypoint.sh lock`.")
    return found[0] + "\n"


def _run(argv: list[str], needs: str) -> None:
    done = subprocess.run(
        argv, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        raise StackError(
            f"Cannot make {VENV}: {argv[1:4]} failed. It may need {needs}.\n{done.stdout}"
        )


def _has_working_pip() -> bool:
    python = VENV / "bin/python"
    return (
        python.exists()
        and subprocess.run(
            [python, "-m", "pip", "--version"], check=False, capture_output=True
        ).returncode
        == 0
    )


def _stamp(section: str) -> Path:
    """The file that holds the fingerprint of what was installed."""
    return VENV / f"installed-{section}"


def _fingerprint(section: str) -> str:
    return hashlib.sha256(requirements(section).encode()).hexdigest()


def _is_installed(section: str) -> bool:
    """Whether the current lock is installed up to this section, or further."""
    later = SECTIONS[SECTIONS.index(section) :]
    return any(
        _stamp(name).exists() and _stamp(name).read_text() == _fingerprint(name) for name in later
    )


def _restart(arguments: Sequence[str]) -> NoReturn:
    python = str(VENV / "bin/python")
    os.execv(python, [python, "-m", "order_service.stack", *arguments])
