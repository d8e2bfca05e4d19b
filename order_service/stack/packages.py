"""Fetches Debian packages and unpacks them into a private folder.

Unpacking needs no root, installs nothing, starts no service and runs no script of a package. So it
serves root and ordinary users alike, and a second way by `apt-get install` is not needed.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from order_service.stack.progress import show_progress
from order_service.stack.state import StackError

APT_TIMEOUT_S = 600


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Lets one process at a time fill `folder`; the others wait, then find it filled."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def fill_once(folder: Path, fill: Callable[[Path], None]) -> Path:
    """Returns `folder`. If it does not exist, `fill` fills it: completely or not at all."""
    with lock(folder.parent):
        if not folder.exists():
            for abandoned in folder.parent.glob(".filling-*"):
                shutil.rmtree(abandoned)
            temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".filling-"))
            fill(temporary)
            temporary.chmod(0o755)
            temporary.rename(folder)
    return folder


def unpack(package: str, folder: Path, report: Callable[[str], None]) -> Path:
    """Unpacks into `folder` the package and those of its dependencies that this machine lacks.

    `report` gets a line for each step. Raises StackError.
    """
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise StackError("this machine has no apt-get to fetch the package with")

    def fill(target: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="order-service-apt-") as folder_name:
            downloads = Path(folder_name)
            with show_progress(f"{package}: fetching Debian packages", downloads, report):
                _download(package, downloads)
            with show_progress(f"{package}: unpacking", target, report):
                for archive in sorted(downloads.glob("*.deb")):
                    _run(["dpkg-deb", "-x", str(archive), str(target)], target)
        _relocate_erlang(target, folder)

    return fill_once(folder, fill)


def libraries(folder: Path) -> list[Path]:
    """The folders inside `folder`, an unpacked package, that hold shared libraries."""
    patterns = ("usr/lib/*-linux-*", "lib/*-linux-*", "usr/lib/*-linux-*/pulseaudio")
    found = (library for pattern in patterns for library in folder.glob(f"{pattern}/*.so*"))
    return sorted({library.parent for library in found})


def _download(package: str, folder: Path) -> None:
    """Uses the machine's package lists; if those are missing or outdated, fetches lists into
    `folder` and uses them.
    """
    try:
        _download_with(package, folder, [])
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
        _download_with(package, folder, private)


def _download_with(package: str, folder: Path, options: list[str]) -> None:
    """`options`: of apt-get."""
    missing = _missing_packages(package, folder, options)
    # Erlang works only from one folder: if a part of it is installed, unpacking just the rest
    # elsewhere would break it. So all of Erlang is fetched.
    nothing_installed = ["-o", "Dir::State::status=/dev/null"]
    missing |= {
        pin
        for pin in _missing_packages(package, folder, [*options, *nothing_installed])
        if pin.startswith("erlang-")
    }
    if not missing:
        raise StackError(f"apt-get reports {package} as installed, but its programs were not found")
    _run(["apt-get", *options, "download", *sorted(missing)], folder)


def _missing_packages(package: str, folder: Path, options: list[str]) -> set[str]:
    """The packages that installing this one would add, as `name=version`."""
    output = _run(
        ["apt-get", *options, "-s", "-q", "install", "--no-install-recommends", package], folder
    )
    added = [line.split() for line in output.splitlines() if line.startswith("Inst ")]
    return {f"{words[1]}={next(w for w in words if w.startswith('('))[1:]}" for words in added}


def _relocate_erlang(unpacked: Path, final: Path) -> None:
    """Writes the new folder into Debian's start scripts, which contain the folder as a constant."""
    erlang = unpacked / "usr/lib/erlang"
    for script in (*erlang.glob("bin/*"), *erlang.glob("erts-*/bin/*")):
        if script.is_symlink() or not script.read_bytes().startswith(b"#!"):
            continue
        text = script.read_text()
        script.write_text(
            text.replace("ROOTDIR=/usr/lib/erlang", f"ROOTDIR='{final}/usr/lib/erlang'")
        )


def _run(argv: list[str], folder: Path) -> str:
    # As root, apt would switch to its own user, which may not enter our folders.
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
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise StackError(f"`{argv[0]}` failed: {lines[-1] if lines else done.returncode}")
    return done.stdout
