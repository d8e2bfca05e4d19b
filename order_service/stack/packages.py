"""Debian packages unpacked into a folder of ours.

Unpacking needs no root, installs nothing, starts no service and runs no script of a package, so it
serves root and ordinary user alike, and there is no second way by `apt-get install`.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from order_service.stack.progress import shown
from order_service.stack.state import StackError

APT_TIMEOUT_S = 600


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process at a time fills `folder`; the others wait and find it filled."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def filled(folder: Path, fill: Callable[[Path], None]) -> Path:
    """`folder`, filled by `fill` unless it is there: whole or not at all."""
    with locked(folder.parent):
        if not folder.exists():
            for abandoned in folder.parent.glob(".filling-*"):
                shutil.rmtree(abandoned)
            temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".filling-"))
            fill(temporary)
            temporary.chmod(0o755)
            temporary.rename(folder)
    return folder


def unpack(package: str, folder: Path, report: Callable[[str], None]) -> Path:
    """`folder` holds the package and the packages that it needs and this machine lacks. Raises
    StackError. `report` gets a line for each step.
    """
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise StackError("this machine has no apt-get to fetch it with")

    def fill(target: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="order-service-apt-") as folder_name:
            downloads = Path(folder_name)
            with shown(f"{package}: fetching Debian packages", downloads, report):
                _download(package, downloads)
            with shown(f"{package}: unpacking", target, report):
                for archive in sorted(downloads.glob("*.deb")):
                    _run(["dpkg-deb", "-x", str(archive), str(target)], target)
        _relocate_erlang(target, folder)

    return filled(folder, fill)


def libraries(folder: Path) -> list[Path]:
    """The folders of shared libraries inside an unpacked one."""
    patterns = ("usr/lib/*-linux-*", "lib/*-linux-*", "usr/lib/*-linux-*/pulseaudio")
    found = (library for pattern in patterns for library in folder.glob(f"{pattern}/*.so*"))
    return sorted({library.parent for library in found})


def _download(package: str, folder: Path) -> None:
    """By the machine's own package lists; if it has none, or outdated ones, by lists fetched into
    `folder`.
    """
    try:
        _download_by(package, folder, [])
    except StackError:
        state, cache = folder / "state", folder / "cache"
        for part in (state / "lists/partial", cache / "archives/partial"):
            part.mkdir(parents=True)
        options = [
            f"Dir::State={state}",
            f"Dir::Cache={cache}",
            "Dir::State::status=/var/lib/dpkg/status",
            "Acquire::Languages=none",
        ]
        private = [word for option in options for word in ("-o", option)]
        _run(["apt-get", *private, "update"], folder)
        _download_by(package, folder, private)


def _download_by(package: str, folder: Path, options: list[str]) -> None:
    lacking = _closure(package, folder, options)
    # Erlang only works in one piece: if some of it is installed, the rest must not be unpacked
    # somewhere else.
    nothing_installed = ["-o", "Dir::State::status=/dev/null"]
    lacking |= {
        pin
        for pin in _closure(package, folder, [*options, *nothing_installed])
        if pin.startswith("erlang-")
    }
    if not lacking:
        raise StackError(
            f"apt-get says that {package} is installed, but its programs were not found"
        )
    _run(["apt-get", *options, "download", *sorted(lacking)], folder)


def _closure(package: str, folder: Path, options: list[str]) -> set[str]:
    """What installing the package would add, as `name=version`."""
    said = _run(
        ["apt-get", *options, "-s", "-q", "install", "--no-install-recommends", package], folder
    )
    added = [line.split() for line in said.splitlines() if line.startswith("Inst ")]
    return {f"{words[1]}={next(w for w in words if w.startswith('('))[1:]}" for words in added}


def _relocate_erlang(unpacked: Path, final: Path) -> None:
    """Debian's start scripts name their folder outright, so they are told the new one."""
    erlang = unpacked / "usr/lib/erlang"
    for script in (*erlang.glob("bin/*"), *erlang.glob("erts-*/bin/*")):
        if script.is_symlink() or not script.read_bytes().startswith(b"#!"):
            continue
        text = script.read_text()
        script.write_text(
            text.replace("ROOTDIR=/usr/lib/erlang", f"ROOTDIR='{final}/usr/lib/erlang'")
        )


def _run(argv: list[str], folder: Path) -> str:
    # As root, apt would drop to a user of its own, which may not enter our folders.
    options = ["-o", "APT::Sandbox::User=root"] if argv[0] == "apt-get" else []
    try:
        done = subprocess.run(
            [argv[0], *options, *argv[1:]],
            cwd=folder,
            check=False,
            env={**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
            capture_output=True,
            text=True,
            timeout=APT_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise StackError(f"`{argv[0]}` took longer than {APT_TIMEOUT_S} s") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise StackError(f"`{argv[0]}` failed: {said[-1] if said else done.returncode}")
    return done.stdout
