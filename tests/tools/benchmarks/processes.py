"""Reads CPU seconds and peak memory of the stack's processes from /proc, by role."""

import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
SUPERVISOR = "up"


@dataclass(frozen=True)
class Process:
    """`cpu_s`: of the process and of its children that have ended and were reaped."""

    parent: int
    cpu_s: float


@dataclass
class Usage:
    """By role: CPU seconds since the start; peak resident memory of each process, in MB."""

    cpu_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    peaks_mb: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


def parse_stat(text: str) -> Process:
    """Parses /proc/PID/stat; the name in it, in brackets, may hold any characters."""
    fields = text.rpartition(")")[2].split()
    return Process(int(fields[1]), sum(map(int, fields[11:15])) / _TICKS_PER_S)


def parse_peak(status: str) -> float:
    """MB of VmHWM in /proc/PID/status; 0 for a process without memory (a zombie)."""
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def role_of(pid: int, parents: Mapping[int, int], roots: Mapping[int, str]) -> str | None:
    """The role of the process or of its nearest ancestor that has one. `roots`: roles by pid."""
    while pid:
        if pid in roots:
            return roots[pid]
        pid = parents.get(pid, 0)
    return None


def usage(roots: Mapping[int, str]) -> Usage:
    """The usage of each role: its process and all descendants. Of `up` only its own process."""
    running = _running()
    parents = {pid: process.parent for pid, process in running.items()}
    found = Usage()
    for pid, process in running.items():
        role = role_of(pid, parents, roots)
        if role is not None and (role != SUPERVISOR or pid in roots):
            found.cpu_s[role] += process.cpu_s
            found.peaks_mb[role].append(_peak(pid))
    return found


def _running() -> dict[int, Process]:
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                found[int(folder.name)] = parse_stat((folder / "stat").read_text())
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has ended meanwhile
    return found


def _peak(pid: int) -> float:
    try:
        return parse_peak(Path(f"/proc/{pid}/status").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
