"""F52, O6: everything starts at once on an empty machine, the brokers last. The schema is made
once, nobody serves before it, and every role finds its way by itself."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from uuid import uuid4

import httpx

from order_service.settings import Settings
from order_service.stack.servers import free_port
from tests.conftest import run_sql
from tests.support.http.accounts import PASSWORD
from tests.support.log.event_log import raw
from tests.support.servers.proxy import proxy_to
from tests.support.waiting import WAIT_S
from tests.tools.faults import forked
from tests.tools.faults.house import House, house_of, placed_id, visiting

REPLICAS = 8
RESTART_S = 0.3  # so long a supervisor leaves an ended process alone
REVISION = "SELECT version_num FROM alembic_version"


def test_everything_starts_at_once_on_an_empty_machine(
    migrated_template: Settings, tmp_path: Path
) -> None:
    settings = migrated_template.model_copy(update={"DB_NAME": f"test_{uuid4().hex[:12]}"})
    asyncio.run(run_sql(settings, f"CREATE DATABASE {settings.DB_NAME}"))
    late = {"REDIS_PORT": free_port(), "RABBITMQ_PORT": free_port()}
    hosts = dict.fromkeys(("REDIS_HOST", "RABBITMQ_HOST"), "127.0.0.1")

    with house_of(settings, tmp_path, **hosts, **{n: str(p) for n, p in late.items()}) as house:
        migrations = [
            forked.start("migrate", environment=house.environment) for _ in range(REPLICAS)
        ]
        head = asyncio.run(revision(migrated_template))
        served_at, ends = asyncio.run(come_up(house, migrations, late))

    asyncio.run(run_sql(settings, f"DROP DATABASE {settings.DB_NAME} WITH (FORCE)"))
    assert [migration.exitcode for migration in migrations] == [0] * REPLICAS
    assert served_at == head
    assert 0 not in ends  # who could not start said so


async def come_up(
    house: House, migrations: Sequence[BaseProcess], late: dict[str, int]
) -> tuple[str, set[int]]:
    """The schema that stood when the first answer was given, and what processes ended with until
    then. Afterwards an order has gone all the way."""
    served = asyncio.create_task(revision_when_first_served(house))
    ends: set[int] = set()
    async with asyncio.timeout(WAIT_S):
        while not served.done() or any(m.is_alive() for m in migrations):
            ends.update(house.restart_ended())
            await asyncio.sleep(RESTART_S)
    at = house.settings
    async with (
        proxy_to(at.REDIS_HOST, at.REDIS_PORT, late["REDIS_PORT"]),
        proxy_to(at.RABBITMQ_HOST, at.RABBITMQ_PORT, late["RABBITMQ_PORT"]),
        visiting(house, await registered(house)) as visit,
    ):
        await visit.once_everywhere(await placed_id(visit.web), 1)
    return await served, ends


async def revision_when_first_served(house: House) -> str:
    async with httpx.AsyncClient(base_url=house.url("web"), timeout=WAIT_S) as web:
        while True:
            with suppress(httpx.TransportError):  # the process ended: the next one is on its way
                await web.get("/healthz")
                return await revision(house.settings)


async def revision(settings: Settings) -> str:
    connection = await raw(settings)
    found: str = await connection.fetchval(REVISION)
    await connection.close()
    return found


async def registered(house: House) -> dict[str, str]:
    login = {"email": f"{uuid4().hex[:8]}@example.com", "password": PASSWORD}
    async with httpx.AsyncClient(base_url=house.url("other"), timeout=WAIT_S) as other:
        (await other.post("/register/", json=login)).raise_for_status()
        answer = (await other.post("/token/", json=login)).raise_for_status()
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}
