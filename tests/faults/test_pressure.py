"""F50: processes that may open hardly a file. F53: workers flooded with control messages, and a
Flower that comes and goes. They answer, wait or end; none spins; afterwards all is as before."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psutil
import pytest
from kombu import Connection, Producer

from order_service.infra import rabbitmq
from order_service.stack.servers import free_port
from projections.worker.tasks import app
from tests.tools.faults import forked
from tests.tools.faults.house import VIEW, House, Visit, answered, placed_id

# One loop for the module, so that one visit serves all tests.
pytestmark = pytest.mark.asyncio(loop_scope="module")
FILES_MAX = 64
CROWD = 2 * FILES_MAX
LOOKS = 20
LOOK_S = 0.05
END_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1"
FLOOD = 250


@contextmanager
def files_limited(pids: list[int], files_max: int) -> Iterator[None]:
    """What is open stays open; nothing more can be opened."""
    processes = [psutil.Process(pid) for pid in pids]
    before = [process.rlimit(psutil.RLIMIT_NOFILE) for process in processes]
    for process, (_, hard) in zip(processes, before, strict=True):
        process.rlimit(psutil.RLIMIT_NOFILE, (files_max, hard))
    try:
        yield
    finally:
        for process, limits in zip(processes, before, strict=True):
            if process.is_running():
                process.rlimit(psutil.RLIMIT_NOFILE, limits)


async def spins(pids: list[int]) -> bool:
    """Whether one of these wants the processor at most times, had or not: a busy machine does not
    make a process that waits look like one that spins."""
    processes = [psutil.Process(pid) for pid in pids]
    wanting = dict.fromkeys(pids, 0)
    for _ in range(LOOKS):
        await asyncio.sleep(LOOK_S)
        for process in processes:
            wanting[process.pid] += process.status() == psutil.STATUS_RUNNING
    return max(wanting.values()) > LOOKS / 2


# --- F50 ------------------------------------------------------------------------------------------


async def test_a_crowd_that_takes_every_descriptor_is_answered_or_sent_away(
    house: House, visit: Visit
) -> None:
    order_id = await placed_id(visit.web)
    web = [house.processes["web"].pid or 0]

    with files_limited(web, FILES_MAX), ExitStack() as crowd:
        for _ in range(CROWD):
            crowd.enter_context(socket.create_connection(house.listeners["web"].getsockname()))
        spinning = await spins(web)
        known = await answered(visit.web.get(f"/orders/{order_id}/"))

    assert known in ("200", "503 dependency-unavailable")
    assert not spinning
    await visit.once_everywhere(await placed_id(visit.web), 1)


@pytest.mark.parametrize("role", ["relay", "consumer", "worker"])
async def test_a_role_that_can_open_nothing_waits_until_it_can(
    house: House, visit: Visit, role: str
) -> None:
    """Its sessions are ended, so that it needs new ones."""
    pids = house.pids(role)
    with files_limited(pids, 3):
        await visit.sql.execute(END_SESSIONS, role)
        order_id = await placed_id(visit.other)
        spinning = await spins(pids)
        shown = await visit.sql.fetchval(VIEW, order_id)

    assert house.pids(role) == pids
    assert shown is None
    assert not spinning
    await visit.once_everywhere(order_id, 1)


# --- F53 ------------------------------------------------------------------------------------------


def flood(url: str) -> None:
    """Commands to all workers as Flower sends them, and what is none."""
    with Connection(url) as connection:
        to_all = Producer(connection.channel(), app.control.mailbox.exchange)
        for number in range(FLOOD):
            app.control.broadcast(("ping", "enable_events", "nonsense")[number % 3])
            to_all.publish("{", content_type="application/json", content_encoding="utf-8")
            to_all.publish(b"\x80\x04.", content_type="application/x-python-serialize")
            to_all.publish({"method": number})


async def test_neither_flower_nor_a_flood_of_control_messages_holds_tasks_up(
    house: House, visit: Visit
) -> None:
    before = house.pids("worker")
    settings = {"FLOWER_PASSWORD": "a-long-password", "FLOWER_PORT": str(free_port())}
    flower = forked.start("flower", environment={**house.environment, **settings})
    flooding = asyncio.create_task(asyncio.to_thread(flood, rabbitmq.broker_url(house.settings)))
    placed = []
    while not flooding.done():
        placed.append(await placed_id(visit.other))
        await visit.once_everywhere(placed[-1], 1)
    forked.end(flower.pid or 0)
    flower.join()
    await flooding

    await visit.once_everywhere(await placed_id(visit.other), 1)
    assert len(placed) > 1
    assert house.pids("worker") == before
