"""The processes of the service: at least one of each role."""

from collections.abc import Mapping, Sequence
from typing import Any

from projections.monitoring.checks.check import Finding, finding

ROLES = ("web", "relay", "consumer", "worker")


async def roles(processes: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """`processes`: from `heartbeat.read_all`."""
    missing = [role for role in ROLES if role not in {one["role"] for one in processes}]
    found = (
        f"No heartbeat from {', '.join(missing)}." if missing else f"{len(processes)} processes."
    )
    remedy = f"Start {', '.join(missing)}, and read their logs."
    return [finding("processes", not missing, found, "at least one of each role", remedy)]
