"""Faults of the processes web, relay, consumer and worker: killed, paused, short of CPU."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM

import httpx
import psutil

from order_service import limits
from order_service.stack.processes import start_time
from tests.support.servers.stack import ROOT
from tests.tools.faults.bench import SETTINGS, Bench
from tests.tools.faults.rows import row

BETWEEN_KILLS_S = 0.5
REPLIES_LOST_S = 0.2  # then the connections are cut
ABANDONED_SHARE = 0.2  # of the requests
STOP_LIMIT_S = 30.0  # of an orderly stop
PROGRESS_LIMIT_S = 30.0
PARKING_LIMIT_S = 60.0
FLOOD_EVENTS_PER_S = 2_000  # a second of the hold
RELAY_GROWTH_MB_MAX = 64.0
CROWDED_ROLES = ("web", "relay", "consumer", "worker")
_RELAYED = "SELECT sum(position)::bigint FROM checkpoints WHERE name = 'relay'"
_STORED = "SELECT sum(position)::bigint FROM partitions"
_HOLD = "SELECT FROM read_models.order_view WHERE order_id = $1 FOR UPDATE"
_PARKED = "SELECT FROM dead_letters WHERE stream_id = $1 AND name = 'order_view'"
_WORKER_WAITS = """
SELECT FROM pg_stat_activity WHERE application_name = 'worker' AND wait_event_type = 'Lock'
"""
_END_WAITS = _WORKER_WAITS.replace("SELECT", "SELECT pg_terminate_backend(pid)")
_SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'order-service-%'"


def _web_workers(bench: Bench) -> list[int]:
    """The pids of the web workers, without the helper process that Python starts beside them."""
    found = []
    for pid in bench.children("web"):
        with suppress(psutil.NoSuchProcess):
            if "spawn_main" in " ".join(psutil.Process(pid).cmdline()):
                found.append(pid)
    return found


@contextmanager
def _busy_neighbours(core: int) -> Iterator[None]:
    """Two programs that use all of that core."""
    program = f"import os\nos.sched_setaffinity(0, {{{core}}})\nwhile True: pass"
    neighbours = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(2)]
    try:
        yield
    finally:
        for neighbour in neighbours:
            neighbour.kill()
            neighbour.wait()


async def _until_gone(pids: list[int], limit_s: float) -> None:
    async with asyncio.timeout(limit_s):
        while any(start_time(pid) for pid in pids):
            await asyncio.sleep(BETWEEN_KILLS_S / 10)


async def _until_relayed(bench: Bench) -> None:
    """Waits until the relays have published all that is stored now."""
    [[head]] = await bench.sql(_STORED)
    async with asyncio.timeout(PROGRESS_LIMIT_S):
        while (await bench.sql(_RELAYED))[0][0] < head:
            await asyncio.sleep(BETWEEN_KILLS_S / 10)


# --- web ------------------------------------------------------------------------------------------


@row("F01", "Web workers are killed")
async def web_worker_killed(bench: Bench) -> None:
    until_s = time.monotonic() + bench.hold_s
    while time.monotonic() < until_s:
        os.kill(bench.rng.choice(_web_workers(bench)), SIGKILL)
        await bench.hold(BETWEEN_KILLS_S)
        await _web_answers(bench)


async def _web_answers(bench: Bench) -> None:
    """Waits until a web worker answers: killed faster than they start, none could."""
    async with asyncio.timeout(PROGRESS_LIMIT_S), bench.stack.client() as client:
        while True:
            with suppress(httpx.TransportError):
                await client.get("/healthz")
                return
            await asyncio.sleep(BETWEEN_KILLS_S / 10)


@row("F02", "The parent of the web workers is killed")
async def web_parent_killed(bench: Bench) -> None:
    orphans = bench.children("web")
    await bench.kill("web")
    assert not any(start_time(pid) for pid in orphans), "workers have survived their parent"
    await bench.hold()


@row("F03", "All web processes are paused", silence=True)
async def web_paused(bench: Bench) -> None:
    bench.signal_all("web", SIGSTOP)
    try:
        await bench.hold()
    finally:
        bench.signal_all("web", SIGCONT)


@row("F04", "Web workers are stopped, one by one", load="L2")
async def web_rolling_stop(bench: Bench) -> None:
    attempts = bench.journal.attempts
    began = len(attempts)
    for worker in _web_workers(bench):
        os.kill(worker, SIGTERM)
        await _until_gone([worker], STOP_LIMIT_S)
        async with asyncio.timeout(STOP_LIMIT_S):
            while len(_web_workers(bench)) < int(SETTINGS["WEB_WORKERS"]):
                await asyncio.sleep(BETWEEN_KILLS_S / 10)
        await bench.hold()
    refused = [a for a in attempts[began:] if a.status >= 500]
    assert not refused, f"{len(refused)} requests were refused: {refused[0]}"


@row("F05", "Clients disconnect before the answer")
async def clients_give_up(bench: Bench) -> None:
    bench.shop.abandoned_share = ABANDONED_SHARE
    try:
        await bench.hold()
    finally:
        bench.shop.abandoned_share = 0.0
    [[sessions]] = await bench.sql(_SESSIONS)
    # Each worker has a pool and one session for appends.
    assert sessions <= int(SETTINGS["WEB_WORKERS"]) * (limits.POOL_SIZE + 1), f"{sessions} sessions"


@row("F06", "Answers to clients are lost")
async def replies_lost(bench: Bench) -> None:
    for _ in range(1 + int(bench.hold_s / BETWEEN_KILLS_S)):
        bench.web.drop_replies()
        await bench.hold(REPLIES_LOST_S)
        bench.web.cut()
        bench.web.heal()
        await bench.hold(BETWEEN_KILLS_S - REPLIES_LOST_S)


# --- relay ----------------------------------------------------------------------------------------


@contextmanager
def _more_relays(bench: Bench, number: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Starts more relays, as the stack does; kills them at the end."""
    environment = psutil.Process(bench.pid("relay")).environ()
    argv = [sys.executable, "-m", "order_service.cli", "relay"]
    with (bench.stack.state / "logs" / "more-relays.log").open("ab") as log:
        relays = [
            subprocess.Popen(argv, cwd=ROOT, env=environment, stdout=log, stderr=log)
            for _ in range(number)
        ]
    try:
        yield relays
    finally:
        for relay in relays:
            relay.kill()
            relay.wait()


@row("F20", "The relay is killed, again and again")
async def relay_killed(bench: Bench) -> None:
    for _ in range(1 + int(bench.hold_s / 3)):
        await bench.hold(min(bench.hold_s, bench.rng.uniform(0, 3)))
        await bench.kill("relay")


@row("F21", "Three relays, and the leader's session is ended")
async def three_relays(bench: Bench) -> None:
    with _more_relays(bench, 2):
        for _ in range(2):
            await bench.hold(bench.hold_s / 2)
            await bench.sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'relay'"
            )
        await _until_relayed(bench)


@row("F22", "The leading relay is paused while another stands by")
async def leader_paused(bench: Bench) -> None:
    with _more_relays(bench, 1):
        bench.signal("relay", SIGSTOP)
        try:
            await bench.hold()
            await _until_relayed(bench)  # by the other one
        finally:
            bench.signal("relay", SIGCONT)
        await bench.hold(limits.RELAY_LEASE_S)


@row("F23", "The relay finds a long backlog")
async def relay_flooded(bench: Bench) -> None:
    relay = psutil.Process(bench.pid("relay"))
    before_mb = relay.memory_info().rss / 2**20
    bench.signal("relay", SIGSTOP)
    try:
        await bench.add_events(int(bench.hold_s * FLOOD_EVENTS_PER_S))
    finally:
        bench.signal("relay", SIGCONT)
    peak_mb = before_mb
    [[head]] = await bench.sql(_STORED)
    async with asyncio.timeout(PROGRESS_LIMIT_S + bench.hold_s):
        while (await bench.sql(_RELAYED))[0][0] < head:
            peak_mb = max(peak_mb, relay.memory_info().rss / 2**20)
    assert peak_mb - before_mb < RELAY_GROWTH_MB_MAX, f"from {before_mb} to {peak_mb} MB"


# --- consumer and worker --------------------------------------------------------------------------


@row("F43", "The consumer is paused, then killed")
async def consumer_killed(bench: Bench) -> None:
    bench.signal("consumer", SIGSTOP)
    await bench.hold(bench.hold_s / 2)
    await bench.kill("consumer")
    await bench.hold(bench.hold_s / 2)


@row("F44", "Worker processes are killed")
async def worker_child_killed(bench: Bench) -> None:
    for _ in range(1 + int(bench.hold_s / BETWEEN_KILLS_S)):
        if children := bench.children("worker"):
            os.kill(bench.rng.choice(children), SIGKILL)
        await bench.hold(BETWEEN_KILLS_S)


@row("F44-memory", "Worker processes get no more memory")
async def worker_out_of_memory(bench: Bench) -> None:
    starved = bench.children("worker")
    for pid in starved:
        process = psutil.Process(pid)
        process.rlimit(psutil.RLIMIT_AS, (process.memory_info().vms,) * 2)
    try:
        await bench.hold()
    finally:
        for pid in starved:
            with suppress(ProcessLookupError):  # it has ended already
                os.kill(pid, SIGKILL)


@row("F45", "The parent of the worker processes is killed")
async def worker_parent_killed(bench: Bench) -> None:
    orphans = bench.children("worker")
    await bench.kill("worker")
    assert not any(start_time(pid) for pid in orphans), "children have survived their parent"
    await bench.hold()


@row("F46", "An order kills every worker process that reads it")
async def worker_crash_loop(bench: Bench) -> None:
    """Locks the order's row and kills each worker process that waits for it, as if the event had
    done it. So the order is parked, and all others are projected; a retry applies it.
    """
    customer = bench.rng.choice(bench.shop.customers)
    order = customer.orders[-1]
    customer.orders = [order]  # so that its changes are soon and frequent
    async with bench.session() as holder, holder.transaction():
        async with asyncio.timeout(PARKING_LIMIT_S):
            while not await holder.fetch(_HOLD, order.id):  # it may be too new to have a row
                await asyncio.sleep(BETWEEN_KILLS_S / 10)
            while not await bench.sql(_PARKED, order.id):
                if await bench.sql(_WORKER_WAITS):
                    for pid in bench.children("worker"):
                        os.kill(pid, SIGKILL)
                    await bench.sql(_END_WAITS)  # a waiting session outlives its killed client
                await asyncio.sleep(BETWEEN_KILLS_S / 10)
    retried = await asyncio.to_thread(bench.stack.run, "dead-letters", "retry-all")
    assert retried.returncode == 0, retried.stdout + retried.stderr


# --- all of them ----------------------------------------------------------------------------------


@row("F51", "All roles share one core with two busy programs")
async def cores_taken(bench: Bench) -> None:
    pids = [pid for role in CROWDED_ROLES for pid in (bench.pid(role), *bench.children(role))]
    before = os.sched_getaffinity(0)
    core = min(before)
    try:
        with _busy_neighbours(core):
            for pid in pids:
                os.sched_setaffinity(pid, {core})
            await bench.hold()
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.sched_setaffinity(pid, before)


@row("F54", "Every read model is rebuilt while relay and workers are killed", load="L1")
async def replayed(bench: Bench) -> None:
    replaying = asyncio.create_task(asyncio.to_thread(bench.stack.run, "replay", "--all"))
    while not replaying.done():
        if children := bench.children("worker"):
            os.kill(bench.rng.choice(children), SIGKILL)
        bench.signal("relay", SIGKILL)
        await asyncio.wait({replaying}, timeout=BETWEEN_KILLS_S * 4)
    done = replaying.result()
    assert done.returncode == 0, done.stdout + done.stderr
