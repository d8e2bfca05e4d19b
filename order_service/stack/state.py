"""The state folder: all that a private stack keeps between two starts.

stack.json   0600: the stack's id, generated passwords, ports, and the settings of the last `up`
up.lock      held by the running `up`
processes.json   the running processes, for `ps`
logs/        one file a process
fuzz/        the output of failed rounds of `fuzz` (in the default folder only)
servers      the servers' folders (a link to /var/lib/order-service where the servers' user cannot
enter the state folder)
"""

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_STATE = ".local"
KEPT_BY_FUZZ = "fuzz"  # a subfolder, which may be older than the stack
OUTSIDE = Path("/var/lib/order-service")  # every user can enter it
_PRIVATE_KEYS = (
    "DB_PASSWORD",
    "DB_WEB_PASSWORD",
    "DB_PROJECTOR_PASSWORD",
    "REDIS_PASSWORD",
    "RABBITMQ_PASSWORD",
    "SECRET_KEY",
    "FLOWER_PASSWORD",
)


class StackError(Exception):
    """A problem that the user can solve; the text says what failed and what to do."""


def short_hash(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]


def write_private(path: Path, text: str) -> None:
    """Atomically replaces `path` by a file that only its owner can read."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # made 0600
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    os.replace(temporary, path)


class State:
    """One state folder. `create` makes it; commands on a running stack only `read` it."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.logs = self.path / "logs"

    def create(self) -> None:
        """Makes the folder if it does not exist, and generates the secrets that it lacks. Raises
        StackError.
        """
        found = {path.name for path in self.path.iterdir()} if self.path.is_dir() else set()
        if found - {KEPT_BY_FUZZ} and not self._file.exists():
            raise StackError(
                f"Cannot use {self.path}: it is not empty and holds no stack. "
                "Name another folder with --state DIR."
            )
        self.logs.mkdir(parents=True, exist_ok=True)
        if self.path.stat().st_uid != os.geteuid():
            raise StackError(
                f"Cannot use {self.path}: it belongs to another user. "
                "Name your own folder with --state DIR."
            )
        self.logs.chmod(0o700)
        if not self._file.exists():
            self._write(
                {"instance": secrets.token_hex(16), "secrets": {}, "ports": {}, "settings": {}}
            )
        generated = {name: secrets.token_urlsafe(36) for name in _PRIVATE_KEYS}
        self.update(secrets=generated | self.read()["secrets"])

    def read(self) -> dict[str, Any]:
        """The content of stack.json. Raises StackError."""
        try:
            content: dict[str, Any] = json.loads(self._file.read_text())
        except FileNotFoundError:
            raise StackError(
                f"No stack in {self.path}: start one with `./entrypoint.sh up`, "
                "or name its folder with --state DIR."
            ) from None
        except PermissionError:
            raise StackError(
                f"Cannot read {self._file}: it belongs to another user. "
                "Only that user can use this stack."
            ) from None
        return content

    def update(self, **changed: Mapping[str, Any]) -> None:
        self._write({**self.read(), **changed})

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the lock of the folder's one `up`. Raises StackError if another process holds it.
        The kernel releases it when its holder ends.
        """
        with (self.path / "up.lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StackError(
                    f"`up` is already running on {self.path}: stop it first (Ctrl-C there)."
                ) from None
            yield

    def servers(self, *, must_be_reachable: bool) -> Path:
        """The folder that holds the servers' folders. It is in the state folder unless
        `must_be_reachable` and the servers' user cannot enter that.
        """
        folder = self.path / "servers"
        if not folder.exists():
            if must_be_reachable and not reachable(self.path):
                self._outside.mkdir(parents=True, exist_ok=True)
                folder.unlink(missing_ok=True)
                folder.symlink_to(self._outside)
            else:
                folder.mkdir()
        return folder.resolve()

    def wipe(self) -> None:
        """Removes the folder and the servers' folders outside of it, nothing else."""
        outside = self._outside
        servers = self.path / "servers"
        if servers.is_symlink() and servers.resolve() == outside:
            shutil.rmtree(outside, ignore_errors=True)
        shutil.rmtree(self.path)

    @property
    def _outside(self) -> Path:
        """Named by the stack's id, not by its path: if a clone is deleted and another is made in
        its place, the new stack must not find the old data, whose passwords it does not have.
        """
        return OUTSIDE / str(self.read()["instance"])

    def write_processes(self, records: list[dict[str, Any]]) -> None:
        write_private(self.path / "processes.json", json.dumps(records))

    def read_processes(self) -> list[dict[str, Any]]:
        self.read()
        try:
            records: list[dict[str, Any]] = json.loads((self.path / "processes.json").read_text())
        except FileNotFoundError:
            return []
        return records

    @property
    def _file(self) -> Path:
        return self.path / "stack.json"

    def _write(self, content: Mapping[str, Any]) -> None:
        write_private(self._file, json.dumps(content, indent=1))


def reachable(path: Path) -> bool:
    """Whether every user of this machine may enter `path`."""
    path = path.resolve()
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents))
