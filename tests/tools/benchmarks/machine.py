"""Describes the machine of the measurement: figures mean nothing without it."""

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import asyncpg
from redis.asyncio import Redis

from tests.support.servers.stack import ROOT


async def describe(
    database: asyncpg.Connection, redis: Redis, broker_version: str
) -> dict[str, Any]:
    server = await redis.info("server")
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _cpu_model(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_average_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "postgresql": await database.fetchval("SHOW server_version"),
        "redis": server.get("valkey_version") or server["redis_version"],
        "rabbitmq": broker_version,
        "fsync": await database.fetchval("SHOW fsync"),
        "synchronous_commit": await database.fetchval("SHOW synchronous_commit"),
        "commit": _commit(),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _commit() -> str:
    """The current commit, with a + if files differ from it."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--abbrev=10", "--exclude=*", "--dirty=+"],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:
        return "unknown"
    return done.stdout.strip() or "unknown"
