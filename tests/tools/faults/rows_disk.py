"""Full disks of PostgreSQL: F14 and F15. The full disk is a small tmpfs; where the bench may not
mount one, it leaves these rows out.
"""

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
from tests.tools.faults.holding import wait_for_postgres
from tests.tools.faults.rows import Inject, row

FREE_BYTES = 64_000_000  # on a small disk, after the data has moved there
PANIC_S = 30.0
CAP_SYS_ADMIN = 1 << 21
GROWING_TABLES = """
    SELECT 'events' AS name UNION ALL
    SELECT inhrelid::regclass::text FROM pg_inherits
    WHERE inhparent = 'read_models.order_view'::regclass
"""


def mount_row(name: str, title: str) -> Callable[[Inject], Inject]:
    """Registers a row only if this process may mount file systems."""
    return row(name, title) if can_mount() else lambda inject: inject


def can_mount() -> bool:
    status = Path("/proc/self/status").read_text()
    [effective] = re.findall(r"^CapEff:\s*(\w+)$", status, re.MULTILINE)
    return bool(int(effective, 16) & CAP_SYS_ADMIN)


@mount_row("F14", "PostgreSQL's data disk is full")
async def full_data_disk(bench: Bench) -> None:
    """The log and order_view are on the full disk: writes fail, reads do not."""
    await wait_for_postgres(bench)
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


@mount_row("F15", "The disk of PostgreSQL's write-ahead log is full")
async def full_log_disk(bench: Bench) -> None:
    """The server panics, and again at each start, until the disk has space."""
    await wait_for_postgres(bench)
    wal = Path(psutil.Process(bench.pid("postgres")).cwd()) / "pg_wal"
    size = (await bench.sql("SELECT sum(size)::bigint AS bytes FROM pg_ls_waldir()"))[0]["bytes"]
    with small_disk(bench, size + FREE_BYTES) as disk:
        async with moved(bench, wal, disk / "pg_wal"):
            with filled(disk):
                await panic(bench)
                await bench.hold()
            await wait_for_postgres(bench)


async def panic(bench: Bench) -> None:
    """Requests new segments until the server ends."""
    server = psutil.Process(bench.pid("postgres"))
    async with asyncio.timeout(PANIC_S):
        while server.is_running():
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                await bench.sql("SELECT pg_switch_wal(), pg_logical_emit_message(false, '', '')")


@asynccontextmanager
async def moved(bench: Bench, folder: Path, elsewhere: Path) -> AsyncIterator[None]:
    """Inside the block a folder of PostgreSQL is elsewhere, behind a link."""
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
    """Inside the block PostgreSQL is stopped, cleanly; afterwards it answers again."""
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
    await wait_for_postgres(bench)


@contextmanager
def small_disk(bench: Bench, size: int) -> Iterator[Path]:
    """An empty file system of `size` bytes that PostgreSQL can write to."""
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
    """Inside the block no byte of the disk is free."""
    status = os.statvfs(disk)
    filler = disk / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, status.f_bavail * status.f_frsize)
    try:
        yield
    finally:
        filler.unlink()
