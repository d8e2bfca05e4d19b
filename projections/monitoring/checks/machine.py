"""This machine: Python, disk space, open files; and the web process at an address."""

import asyncio
import resource
import shutil
import sys
import tempfile
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

from order_service import limits
from order_service.settings import Settings
from projections.monitoring.checks.check import Finding, finding, unreachable

PYTHON_MIN = (3, 11)


async def machine(settings: Settings) -> list[Finding]:
    return [
        finding(
            "Python",
            sys.version_info >= PYTHON_MIN,
            sys.version.split()[0],
            f"{'.'.join(map(str, PYTHON_MIN))} or newer",
            f"Install Python {'.'.join(map(str, PYTHON_MIN))} or newer.",
        ),
        _open_files(),
        *[_disk(path) for path in dict.fromkeys((Path.cwd(), Path(tempfile.gettempdir())))],
        finding(
            "FLOWER_PASSWORD",
            bool(settings.FLOWER_PASSWORD),
            "set" if settings.FLOWER_PASSWORD else "not set",
            "set",
            "Set FLOWER_PASSWORD: Flower does not start without it.",
        ),
        *open_settings(settings),
    ]


def open_settings(settings: Settings) -> list[Finding]:
    """The settings by which owners set prices or payments: right where they are the shop's own
    accounts, and named so that an open one is seen."""
    found = []
    if settings.CUSTOMER_PRICES == "accept":
        opened = "accept: customers set prices, discounts and taxes"
        found.append(
            Finding("CUSTOMER_PRICES", "ok", opened, "refuse where owners are end customers")
        )
    if "PAID" in settings.SELF_SERVICE_TRANSITIONS:
        opened = f"{','.join(settings.SELF_SERVICE_TRANSITIONS)}: owners set orders to PAID"
        found.append(
            Finding("SELF_SERVICE_TRANSITIONS", "ok", opened, "CANCELED where owners are customers")
        )
    return found


def _open_files() -> Finding:
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = limits.CONNECTIONS_MAX + limits.DESCRIPTORS_KEPT
    return finding(
        "open files",
        most == resource.RLIM_INFINITY or most >= wanted,
        f"{most:,} a process" if most != resource.RLIM_INFINITY else "no limit",
        f"{wanted:,} or more",
        f"Raise the limit (ulimit -n, LimitNOFILE): web then accepts {limits.CONNECTIONS_MAX:,} "
        "connections, now fewer.",
    )


def _disk(path: Path) -> Finding:
    usage = shutil.disk_usage(path)
    return finding(
        f"disk of {path}",
        usage.free >= max(limits.DOCTOR_DISK_BYTES, usage.total * limits.DOCTOR_DISK_SHARE),
        f"{usage.free / 2**30:,.1f} GiB free of {usage.total / 2**30:,.1f}",
        f"{limits.DOCTOR_DISK_SHARE:.0%} and {limits.DOCTOR_DISK_BYTES / 2**30:g} GiB free",
        "Free disk space: PostgreSQL and RabbitMQ stop when they cannot write.",
    )


async def web(url: str) -> list[Finding]:
    """Whether the web process at that address is ready."""
    return [await asyncio.to_thread(_web, url)]


def _web(url: str) -> Finding:
    where = f"{url.rstrip('/')}/readyz"
    remedy = "Check that web runs, and read its log; pass another address with --url."
    if not url.startswith(("http://", "https://")):
        return finding("web", False, url, "http://HOST:PORT", remedy)
    try:
        with urlopen(where, timeout=limits.DOCTOR_TIMEOUT_S) as answer:  # noqa: S310  # checked above
            found = f"{answer.status}"
    except HTTPError as error:
        with error:
            found = f"{error.code} {error.read(limits.HEAD_BYTES_MAX).decode(errors='replace')}"
    except (OSError, HTTPException) as error:
        return unreachable("web", where, error, remedy)
    return finding("web", found == "200", found, "200", remedy)
