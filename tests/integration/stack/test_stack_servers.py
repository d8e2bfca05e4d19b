"""The private servers: on loopback, behind passwords, durable, and gone when they are stopped."""

import asyncio
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import amqp
import asyncpg
import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError
from redis.retry import Retry

from order_service.stack import servers
from order_service.stack import state as state_folder
from order_service.stack.processes import end_leftovers, marked, set_niceness, spawn, stop
from order_service.stack.programs import POSTGRESQL, RABBITMQ, REDIS, find
from order_service.stack.servers import (
    Server,
    choose_ports,
    free_port,
    hold,
    is_free,
    postgres,
    rabbitmq,
    redis,
)
from order_service.stack.state import StackError, State
from order_service.stack.supervisor import START_LIMIT_S
from tests.support.waiting import WAIT_S, eventually


@pytest.fixture(scope="module")
def state() -> Iterator[State]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        state = State(Path(folder) / "state")
        state.create()
        yield state
        state.wipe()


@pytest.fixture(scope="module")
def running(state: State) -> Iterator[dict[str, Server]]:
    """All three (with RabbitMQ's port mapper), started once for this file."""
    ports, secrets = choose_ports(state), state.read()["secrets"]
    servers = (
        *rabbitmq(state, find(RABBITMQ, print), ports, secrets["RABBITMQ_PASSWORD"]),
        redis(state, find(REDIS, print), ports["redis"], secrets["REDIS_PASSWORD"]),
        postgres(state, find(POSTGRESQL, print), ports["postgres"], secrets["DB_PASSWORD"]),
    )
    processes = {}
    try:
        for server in servers:
            name = server.command.name
            processes[name] = spawn(server.command, state.logs / name), server.command.stop_signal
            if name == "epmd":
                asyncio.run(eventually(server.ready, limit_s=START_LIMIT_S))
        for server in servers:
            asyncio.run(eventually(server.ready, limit_s=START_LIMIT_S))
            set_niceness(processes[server.command.name][0], server.command.niceness)
        yield {server.command.name: server for server in servers}
    finally:
        stop(processes, WAIT_S)
        assert end_leftovers(state.read()["instance"]) == 0


def listening(pids: list[int]) -> set[str]:
    """The local addresses, as /proc writes them, on which these processes listen."""
    inodes = set()
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                target = os.readlink(descriptor)
                if target.startswith("socket:["):
                    inodes.add(target[8:-1])
    lines = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    return {line[1].partition(":")[0] for line in lines if line[3] == "0A" and line[9] in inodes}


def test_all_of_them_listen_on_loopback_only(state: State, running: dict[str, Server]) -> None:
    assert len(running) == 4

    addresses = listening(marked(state.read()["instance"]))

    assert addresses <= {"0100007F", "00000000000000000000000001000000"}
    assert "0100007F" in addresses


def test_the_broker_lets_those_who_answer_go_first(
    state: State, running: dict[str, Server]
) -> None:
    niceness = {name: server.command.niceness for name, server in running.items()}
    assert niceness == {"rabbitmq": 19, "epmd": 0, "redis": 0, "postgres": 0}

    nodes = [
        pid
        for pid in marked(state.read()["instance"])
        if b"beam" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]

    assert nodes
    for pid in nodes:
        assert os.getpriority(os.PRIO_PROCESS, pid) == 19
        session = Path(f"/proc/{pid}/autogroup")
        # Without this one the line above is of no effect, where the kernel groups by session.
        assert not session.exists() or session.read_text().endswith(" nice 19\n")


def test_passwords_are_in_no_argument_list(state: State, running: dict[str, Server]) -> None:
    secrets = [s.encode() for s in state.read()["secrets"].values()]

    lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in marked(state.read()["instance"])]

    assert len(lines) >= len(running)
    assert not any(secret in line for secret in secrets for line in lines)


async def test_postgresql_is_durable_and_asks_for_the_password(
    state: State, running: dict[str, Server]
) -> None:
    address: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": running["postgres"].command.port,
        "user": "order_user",
        "database": "order_db",
    }
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(**address, password="wrong")

    connection = await asyncpg.connect(**address, password=state.read()["secrets"]["DB_PASSWORD"])
    durable = [
        await connection.fetchval(f"SHOW {name}")
        for name in ("fsync", "synchronous_commit", "full_page_writes", "data_checksums")
    ]
    await connection.close()

    assert durable == ["on", "on", "on", "on"]


def test_redis_asks_for_the_password_and_keeps_nothing(
    state: State, running: dict[str, Server]
) -> None:
    port = running["redis"].command.port or 0
    password = state.read()["secrets"]["REDIS_PASSWORD"]
    stranger = Redis(port=port, password="wrong", protocol=2, retry=Retry(NoBackoff(), 0))
    with stranger, pytest.raises(AuthenticationError):
        stranger.ping()

    with Redis(port=port, password=password, protocol=2, decode_responses=True) as client:
        kept = client.config_get("*")

        for words in ("MODULE LIST", "REPLICAOF NO ONE", "SAVE", "ACL LIST", "MONITOR"):
            with pytest.raises(NoPermissionError):
                client.execute_command(*words.split())
    assert (kept["save"], kept["appendonly"]) == ("", "no")
    assert (kept["maxmemory"], kept["maxmemory-policy"]) == (str(256 << 20), "allkeys-lru")


def test_rabbitmq_knows_no_guest_and_gives_our_user_only_what_is_ours(
    state: State, running: dict[str, Server]
) -> None:
    host = f"127.0.0.1:{running['rabbitmq'].command.port}"
    with pytest.raises(amqp.AccessRefused):
        amqp.Connection(host, "guest", "guest", virtual_host="/").connect()

    password = state.read()["secrets"]["RABBITMQ_PASSWORD"]
    with amqp.Connection(
        host, "order_service", password, virtual_host="order_service"
    ) as connection:
        connection.channel().exchange_declare("orders.events", "topic", durable=True)
        for refused in (
            lambda: connection.channel().queue_declare("other"),
            lambda: connection.channel().exchange_declare("other", "topic"),
            lambda: connection.channel().queue_bind("orders.tasks", "amq.topic"),
        ):
            connection.channel().queue_declare("orders.tasks")
            with pytest.raises(amqp.AccessRefused):
                refused()


def test_a_taken_port_is_chosen_anew_and_the_others_stay(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    state.create()
    before = choose_ports(state)

    async def choose_while_taken() -> dict[str, int]:
        async with await asyncio.start_server(lambda *_: None, "127.0.0.1", before["redis"]):
            return choose_ports(state)

    after = asyncio.run(choose_while_taken())

    assert after["redis"] != before["redis"]
    assert {**after, "redis": 0} == {**before, "redis": 0}
    assert len(set(after.values())) == len(after)


def test_a_held_port_is_for_its_server_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two stacks that start at once: RabbitMQ's port is chosen seconds before it listens there."""
    port = free_port()
    monkeypatch.setattr(servers, "PORTS_FROM", range(port, port + 1))

    with hold(port):
        with pytest.raises(StackError, match="none is free"):
            free_port()
        assert is_free(port)
        with socket.create_server(("127.0.0.1", port)):  # as servers ask for it
            assert not is_free(port)

    assert free_port() == port


def test_a_folder_made_anew_does_not_find_the_servers_of_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever deletes a clone has no chance to wipe what its servers keep elsewhere."""
    monkeypatch.setattr(state_folder, "OUTSIDE", tmp_path / "outside")  # the real one is root's
    tmp_path.chmod(0o700)  # nobody else enters it, so the servers' folders are outside
    first = State(tmp_path / "state")
    first.create()
    left_behind = first.servers(must_be_reachable=True)
    shutil.rmtree(first.path)

    second = State(tmp_path / "state")
    second.create()
    found = second.servers(must_be_reachable=True)
    second.wipe()

    assert found != left_behind
    assert (found.exists(), left_behind.exists()) == (False, True)
