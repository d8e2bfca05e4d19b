"""Redis: version, clock, memory limit, eviction, and no persistence, as befits a cache."""

import time
from collections.abc import Mapping
from typing import Any

from order_service.infra.redis import Redis, ResponseError
from projections.monitoring.checks.check import Finding, finding, unseen, version_of
from projections.monitoring.checks.servers import Clock, agreement

VERSION_MIN = (6, 0)
_PERSISTENCE = "none: a cache restored from disk could serve old orders"


async def pings(redis: Redis) -> list[Finding]:
    await redis.ping()
    return []


async def read_clock(redis: Redis) -> Clock:
    before = time.time()
    seconds, micros = await redis.time()
    return Clock("Redis", before, seconds + micros / 1e6, time.time())


async def server(redis: Redis) -> list[Finding]:
    info: Mapping[str, Any] = await redis.info()
    version = str(info.get("redis_version", "?"))
    return [
        finding(
            "Redis version",
            version_of(version) >= VERSION_MIN,
            version,
            f"{'.'.join(map(str, VERSION_MIN))} or newer",
            f"Install Redis {'.'.join(map(str, VERSION_MIN))} or newer, or Valkey.",
        ),
        agreement(await read_clock(redis)),
        _memory(info),
        finding(
            "Redis eviction",
            str(info.get("maxmemory_policy", "")).startswith("allkeys-"),
            info.get("maxmemory_policy"),
            "allkeys-lru or another allkeys- policy",
            "Set maxmemory-policy allkeys-lru: otherwise a full cache refuses new entries.",
        ),
        finding(
            "Redis append-only file",
            not info.get("aof_enabled"),
            "on" if info.get("aof_enabled") else "off",
            "off",
            f"Set appendonly no. Expected persistence is {_PERSISTENCE}.",
        ),
        await _snapshots(redis),
    ]


def _memory(info: Mapping[str, Any]) -> Finding:
    most = int(info.get("maxmemory", 0))
    used = int(info.get("used_memory", 0))
    limit = f"{most / 2**20:,.0f} MiB" if most else "no limit"
    return finding(
        "Redis memory",
        most > 0,
        f"{used / 2**20:,.0f} MiB of {limit}",
        "a limit",
        "Set maxmemory, such as 256mb: otherwise the cache fills the machine's memory.",
    )


async def _snapshots(redis: Redis) -> Finding:
    name, expected = "Redis snapshots", "off"
    try:
        configured = await redis.config_get("save")
    except ResponseError:
        return unseen(name, "this account may not use CONFIG", expected)
    save = configured.get("save", "")
    remedy = f'Set save "". Expected persistence is {_PERSISTENCE}.'
    return finding(name, not save, save or "off", expected, remedy)
