"""`doctor`: no finding for a healthy server, and one for each fault that it checks."""

import asyncio
from pathlib import Path

import pytest
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from order_service.infra import rabbitmq as broker
from order_service.infra.redis import connect
from order_service.settings import Settings
from projections.monitoring import doctor
from projections.monitoring.checks.check import Finding
from projections.read_models.registry import PROJECTIONS
from tests.conftest import run_sql
from tests.support.log.examples import PLACED
from tests.support.log.given_log import POISON
from tests.support.read_side.read_side import ReadSide
from tests.support.servers.command_line import run_word
from tests.support.servers.private_redis import PrivateRedis


def wrong(found: list[Finding]) -> set[str]:
    return {one.check for one in found if one.state == "wrong"}


async def test_doctor_finds_each_fault_of_postgresql(
    settings: Settings, read_side: ReadSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    healthy = await doctor.check_postgres(settings)
    await read_side.given(PLACED, POISON)
    await read_side.advance()
    monkeypatch.setattr("order_service.limits.LAG_MAX_S", 0.0)  # the relay is not running
    monkeypatch.setattr("order_service.limits.DOCTOR_FULL", 0.0)
    name = settings.DB_NAME
    await run_sql(settings, f"ALTER DATABASE {name} SET synchronous_commit = off")
    await run_sql(settings, "UPDATE alembic_version SET version_num = '0001'", name)
    await run_sql(settings, "UPDATE read_models SET projection_version = 99", name)
    faulty = await doctor.check_postgres(settings)
    unreachable = await doctor.check_postgres(settings.model_copy(update={"DB_PORT": 1}))

    assert wrong(healthy) == set()
    assert wrong(faulty) == {
        *("PostgreSQL connections", "PostgreSQL synchronous_commit", "schema revision"),
        "relay lag",
        *(f"{model} version" for model in PROJECTIONS),
        *(f"{model} parked streams" for model in PROJECTIONS),
    }
    assert wrong(unreachable) == {"PostgreSQL as order_web", "PostgreSQL as order_projector"}


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        (
            "ALTER DATABASE {} SET default_transaction_read_only = on",
            "cannot execute SELECT FOR NO KEY UPDATE in a read-only transaction",
        ),
        (
            "REVOKE EXECUTE ON FUNCTION append FROM order_web",
            "permission denied for function append",
        ),
    ],
)
async def test_doctor_finds_a_log_that_takes_no_append(
    settings: Settings, fault: str, found: str
) -> None:
    await run_sql(settings, fault.format(settings.DB_NAME), settings.DB_NAME)

    faulty = [one for one in await doctor.check_postgres(settings) if one.state == "wrong"]

    assert [one.check for one in faulty] == ["append"]
    assert found in faulty[0].found
    assert "read-only" in faulty[0].remedy


async def test_doctor_finds_each_fault_of_redis(tmp_path: Path) -> None:
    server = PrivateRedis(tmp_path)
    settings = server.settings()
    client = connect(settings)
    try:
        await client.config_set("maxmemory", "64mb")
        await client.config_set("maxmemory-policy", "allkeys-lru")
        healthy = await doctor.check_redis(settings)
        for name, value in (
            *(("maxmemory", "0"), ("maxmemory-policy", "noeviction")),
            *(("appendonly", "yes"), ("save", "60 1")),
        ):
            await client.config_set(name, value)
        faulty = await doctor.check_redis(settings)
        await client.execute_command("ACL", "SETUSER", "default", "-config")
        unseen = await doctor.check_redis(settings)
    finally:
        await client.aclose()
        server.kill()
    unreachable = await doctor.check_redis(settings)

    assert wrong(healthy) == set()
    assert wrong(faulty) == {
        *("Redis memory", "Redis eviction", "Redis append-only file", "Redis snapshots")
    }
    assert [one.check for one in unseen if one.state == "unseen"] == ["Redis snapshots"]
    assert wrong(unreachable) == {"Redis"}


async def test_doctor_finds_each_fault_of_rabbitmq(rabbitmq_channel: AbstractChannel) -> None:
    settings = Settings()  # type: ignore[call-arg]
    messages: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
    missing = await doctor.check_rabbitmq(settings)
    hints = await broker.declare(rabbitmq_channel)
    tasks = await rabbitmq_channel.get_queue(broker.TASK_QUEUE)
    unread = await doctor.check_rabbitmq(settings)
    for queue in (hints, tasks):
        await queue.consume(messages.put)
    healthy = await doctor.check_rabbitmq(settings)
    await rabbitmq_channel.queue_delete(broker.TASK_QUEUE)
    await rabbitmq_channel.declare_queue(broker.TASK_QUEUE, durable=False)
    different = await doctor.check_rabbitmq(settings)
    unreachable = await doctor.check_rabbitmq(settings.model_copy(update={"RABBITMQ_PORT": 1}))

    hint, task = (f"queue {name}" for name in (broker.HINT_QUEUE, broker.TASK_QUEUE))
    assert wrong(missing) == {f"exchange {broker.EVENTS_EXCHANGE}", hint, task}
    assert wrong(unread) == {f"{hint} is read", f"{task} is read"}
    assert wrong(healthy) == set()
    assert wrong(different) == {task}
    assert "PRECONDITION_FAILED" in next(one.found for one in different if one.check == task)
    assert wrong(unreachable) == {"RabbitMQ"}


@pytest.fixture
def rabbitmq_channel(rabbitmq: AbstractChannel) -> AbstractChannel:
    """The fixture `rabbitmq` under a name that no imported module has."""
    return rabbitmq


async def test_doctor_finds_faults_of_the_machine_and_prints_all_remedies(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings()  # type: ignore[call-arg]
    monkeypatch.setattr("order_service.limits.DOCTOR_DISK_BYTES", 2**80)
    monkeypatch.setattr("order_service.limits.CONNECTIONS_MAX", 2**40)
    nowhere = {"DB_PORT": 1, "REDIS_PORT": 1, "RABBITMQ_PORT": 1, "FLOWER_PASSWORD": ""}

    found = await doctor.check_machine(settings.model_copy(update=nowhere))
    code = await run_word(
        doctor, settings.model_copy(update=nowhere), "--url", "http://127.0.0.1:1"
    )

    assert {f"disk of {Path.cwd()}", "FLOWER_PASSWORD"} <= wrong(found)
    assert code == 1
    output = capsys.readouterr().out
    assert "web: Check that web runs" in output
    assert "wrong  FLOWER_PASSWORD" in output
