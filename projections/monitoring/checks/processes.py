"""The processes of the service: one of each role at least."""

from collections.abc import Mapping, Sequence
from typing import Any

from projections.monitoring.checks.check import Finding, finding

ROLES = ("web", "relay", "consumer", "worker")


async def roles(processes: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """`processes`: as `heartbeat.read_all` has them."""
    missing = [role for role in ROLES if role not in {one["role"] for one in processes}]
    found = f"Not seen: {', '.join(missing)}." if missing else f"{len(processes)} seen."
    remedy = f"Start {', '.join(missing)}, and look at what they log."
    return [finding("processes", not missing, found, "one of each role", remedy)]
