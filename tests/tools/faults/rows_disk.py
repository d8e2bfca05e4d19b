"""PostgreSQL's disks are full: F14 and F15. The small disk is a tmpfs of our own; where we may not
mount one, there are no such rows."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import asyncpg
import psutil

from tests.support.waiting import eventually
from tests.tools.faults.bench import Bench
from tests.tools.faults.holding import postgres_answers
from tests.tools.faults.rows import Inject, row

FREE_BYTES = 64_000_000  # on a small disk, beside what is moved there
PANIC_S = 30.0
CAP_SYS_ADMIN = 1 << 21
GROWING_TABLES = """
    SELECT 'events' AS name UNION ALL
    SELECT inhrelid::regclass::text FROM pg_inherits
    WHERE inhparent = 'read_models.order_view'::regclass
"""


def row_if_we_may_mount(name: str, title: str) -> Callable[[Inject], Inject]:
    return row(name, title) if we_may_mount() else lambda inject: inject


def we_may_mount() -> bool:
    status = Path("/proc/self/status").read_text()
    [effective] = re.findall(r"^CapEff:\s*(\w+)$", status, re.MULTILINE)
    return bool(int(effective, 16) & CAP_SYS_ADMIN)


@row_if_we_may_mount("F14", "PostgreSQL's data disk is full")
async def full_data_disk(bench: Bench) -> None:
    """The log and the orders' read model lie on it; writing fails, reading does not."""
    await postgres_answers(bench)
    size = (await bench.sql("SELECT pg_database_size(current_database()) AS bytes"))[0]["bytes"]
    with small_disk(bench, size + FREE_BYTES) as disk:
        await bench.sql(f"CREATE TABLESPACE small LOCATION '{disk}'")
        try:
            await move_tables(bench, "small")
            with filled(disk):
                await bench.hold()
        finally:
            await move_tables(bench, "pg_default")
            await bench.sql("DROP TABLESPACE small")


async def move_tables(bench: Bench, tablespace: str) -> None:
    for table in await bench.sql(GROWING_TABLES):
        await bench.sql(f"ALTER TABLE {table['name']} SET TABLESPACE {tablespace}")


@row_if_we_may_mount("F15", "The disk of PostgreSQL's write-ahead log is full")
async def full_log_disk(bench: Bench) -> None:
    """The server panics, and again at each start, until there is space."""
    await postgres_answers(bench)
    wal = Path(psutil.Process(bench.pid("postgres")).cwd()) / "pg_wal"
    size = (await bench.sql("SELECT sum(size)::bigint AS bytes FROM pg_ls_waldir()"))[0]["bytes"]
    with small_disk(bench, size + FREE_BYTES) as disk:
        async with moved(bench, wal, disk / "pg_wal"):
            with filled(disk):
                await panic(bench)
                await bench.hold()
            await postgres_answers(bench)


async def panic(bench: Bench) -> None:
    """New segments are wanted until the server dies of it."""
    server = psutil.Process(bench.pid("postgres"))
    async with asyncio.timeout(PANIC_S):
        while server.is_running():
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                await bench.sql("SELECT pg_switch_wal(), pg_logical_emit_message(false, '', '')")


@asynccontextmanager
async def moved(bench: Bench, folder: Path, elsewhere: Path) -> AsyncIterator[None]:
    """A folder of PostgreSQL's lies elsewhere inside the block."""
    async with postgres_down(bench):
        await asyncio.to_thread(move, folder, elsewhere)
    try:
        yield
    finally:
        async with postgres_down(bench):
            await asyncio.to_thread(move_back, folder, elsewhere)


def move(folder: Path, elsewhere: Path) -> None:
    subprocess.run(["cp", "-a", folder, elsewhere], check=True)
    shutil.rmtree(folder)
    folder.symlink_to(elsewhere)


def move_back(folder: Path, elsewhere: Path) -> None:
    folder.unlink()
    subprocess.run(["cp", "-a", elsewhere, folder], check=True)


@asynccontextmanager
async def postgres_down(bench: Bench) -> AsyncIterator[None]:
    """Orderly stopped, and not started again before the end of the block; answers after it."""
    server = psutil.Process(bench.pid("postgres"))
    bench.signal("up", signal.SIGSTOP)
    try:
        server.send_signal(signal.SIGINT)

        async def has_ended() -> bool:
            return bool(server.status() == psutil.STATUS_ZOMBIE)

        await eventually(has_ended)
        yield
    finally:
        bench.signal("up", signal.SIGCONT)
    await postgres_answers(bench)


@contextmanager
def small_disk(bench: Bench, size: int) -> Iterator[Path]:
    """An empty file system of that size, which PostgreSQL may write to."""
    user = psutil.Process(bench.pid("postgres")).uids().real
    with tempfile.TemporaryDirectory(prefix="order-service-disk-") as folder:
        options = f"size={size},uid={user},mode=0700"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def filled(disk: Path) -> Iterator[None]:
    """No byte is free."""
    found = os.statvfs(disk)
    filler = disk / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, found.f_bavail * found.f_frsize)
    try:
        yield
    finally:
        filler.unlink()
