"""What every process tells of itself, under the names that Prometheus' own libraries use. May
import instruments, metrics."""

import os
import resource
import time
from pathlib import Path

from order_service.telemetry.instruments import Counter, Family, Gauge
from order_service.telemetry.metrics import PROCESS

MEMORY = Gauge("process_resident_memory_bytes", "Memory in use.")
CPU = Counter("process_cpu_seconds_total", "Time on a processor.")
STARTED = Gauge("process_start_time_seconds", "When it began, in Unix time.")
DESCRIPTORS = Gauge("process_open_fds", "Open file descriptors.")
DESCRIPTORS_MAX = Gauge("process_max_fds", "How many there may be.")
FAMILIES: tuple[Family, ...] = (MEMORY, CPU, STARTED, DESCRIPTORS, DESCRIPTORS_MAX)

_PAGE = resource.getpagesize()


def tell_of(role: str) -> None:
    """This process has that role, from now on."""
    started = time.time()  # to the second or so: a process says this as it begins
    PROCESS.read = lambda: {(role,): 1}
    STARTED.reads(lambda: started)
    MEMORY.reads(memory_bytes)
    DESCRIPTORS.reads(lambda: len(os.listdir("/proc/self/fd")))
    DESCRIPTORS_MAX.reads(lambda: resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def memory_bytes() -> int:
    """Resident, of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


def look() -> None:
    """What is counted by the system is as it is now."""
    CPU.values[()] = time.process_time()
