"""The state folder: all that a private stack keeps between two starts.

stack.json   0600: who we are, generated passwords, ports, and the settings of the last `up`
up.lock      held by the running `up`
processes.json   what runs now, for `ps`
logs/        one file a process
fuzz/        what `fuzz` keeps of a failure (in the default folder only)
servers      the servers' own folders (a link to /var/lib/order-service where their user cannot
enter this one)
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
KEPT_BY_FUZZ = "fuzz"  # a folder in there, which may be older than the stack
OUTSIDE = Path("/var/lib/order-service")  # where an unprivileged server can always go
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
    """Something that the person at the keyboard can mend; the text says what and how."""


def short_hash(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]


def write_private(path: Path, text: str) -> None:
    """Replaces `path` in one step by a file that only its owner can read."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # made 0600
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    os.replace(temporary, path)


class State:
    """One state folder. Made by `create`; commands on a running stack only `read` it."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.logs = self.path / "logs"

    def create(self) -> None:
        """The folder is there afterwards, with a fresh secret for each that it had not."""
        found = {path.name for path in self.path.iterdir()} if self.path.is_dir() else set()
        if found - {KEPT_BY_FUZZ} and not self._file.exists():
            raise StackError(
                f"{self.path} is not empty and not ours: name another folder with --state DIR."
            )
        self.logs.mkdir(parents=True, exist_ok=True)
        if self.path.stat().st_uid != os.geteuid():
            raise StackError(
                f"{self.path} belongs to another user: name a folder of your own with --state DIR."
            )
        self.logs.chmod(0o700)
        if not self._file.exists():
            self._write(
                {"instance": secrets.token_hex(16), "secrets": {}, "ports": {}, "settings": {}}
            )
        generated = {name: secrets.token_urlsafe(36) for name in _PRIVATE_KEYS}
        self.update(secrets=generated | self.read()["secrets"])

    def read(self) -> dict[str, Any]:
        try:
            content: dict[str, Any] = json.loads(self._file.read_text())
        except FileNotFoundError:
            raise StackError(
                f"No stack in {self.path}: start one with `./entrypoint.sh up`, "
                "or name its folder with --state DIR."
            ) from None
        except PermissionError:
            raise StackError(
                f"{self._file} belongs to another user, who alone may use this stack."
            ) from None
        return content

    def update(self, **changed: Mapping[str, Any]) -> None:
        self._write({**self.read(), **changed})

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Held by the one `up` of this folder. Raises StackError if another holds it; the kernel
        drops it with its holder.
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
        """The folder of the servers' folders; outside of the state folder only where their user
        cannot enter that.
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
        """Removes the folder and what it keeps outside of itself, nothing else."""
        outside = self._outside
        servers = self.path / "servers"
        if servers.is_symlink() and servers.resolve() == outside:
            shutil.rmtree(outside, ignore_errors=True)
        shutil.rmtree(self.path)

    @property
    def _outside(self) -> Path:
        """By the stack's own name, not by its path: whoever deletes a clone and makes another in
        its place must not find the old servers' data, which its new passwords do not open."""
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
