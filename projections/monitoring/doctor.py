"""doctor: every check that one command can make, and what to do where something is wrong."""

import argparse
import asyncio
import json
import os
from dataclasses import asdict
from typing import Any

from aio_pika.exceptions import AMQPError

from order_service import limits
from order_service.infra import rabbitmq
from order_service.infra.postgres import FAILURES, PROJECTOR, WEB, Role, check_role, create_engine
from order_service.infra.redis import RedisError, connect
from order_service.infra.terminal import aligned
from order_service.settings import Settings
from projections.monitoring import status
from projections.monitoring.checks.check import Finding, finding, found_by, unreachable
from projections.monitoring.checks.registry import DOCTOR


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--url", default=os.environ.get(limits.WEB_URL), help="of the web process, to be asked, too"
    )
    parser.add_argument("--json", action="store_true", help="for programs")


async def run(args: argparse.Namespace, settings: Settings) -> int:
    """0 all is as expected; 1 something is wrong."""
    found = await examine(settings, args.url)
    print(json.dumps([asdict(one) for one in found]) if args.json else _as_text(found))
    return 1 if any(one.state == "wrong" for one in found) else 0


async def examine(settings: Settings, url: str | None) -> list[Finding]:
    """All findings, of the servers first; `url` None: no web process is looked at."""
    found = await asyncio.gather(
        check_postgres(settings), check_redis(settings), check_rabbitmq(settings)
    )
    web = await found_by(DOCTOR, {"web": url}) if url else []
    return [
        *(one for of_server in found for one in of_server),
        *web,
        *await check_machine(settings),
    ]


async def check_postgres(settings: Settings) -> list[Finding]:
    """As web sees the server, and as the read side does."""
    return [
        *await _as_role(settings, WEB),
        *await _as_role(settings, PROJECTOR),
    ]


async def _as_role(settings: Settings, role: Role) -> list[Finding]:
    name = f"PostgreSQL as {role}"
    engine = create_engine(settings, role, application_name="doctor", pool_size=1)
    try:
        await check_role(engine, role)
        async with engine.connect() as connection:
            await connection.execution_options(postgresql_readonly=True)
            subjects: dict[str, Any] = {"postgresql": connection}
            if role == PROJECTOR:
                subjects = {"checkpoints": await status.read(connection)}
            found = await found_by(DOCTOR, subjects)
        return [finding(name, True, "answers", "answers", ""), *found]
    except (*FAILURES, RuntimeError) as error:
        where = f"{settings.DB_HOST}:{settings.DB_PORT}/{settings.DB_NAME}"
        remedy = (
            "Start PostgreSQL, look at DB_HOST, DB_PORT, DB_NAME, DB_USER and DB_PASSWORD, and run "
            "`./entrypoint.sh migrate`, which makes the roles."
        )
        return [unreachable(name, where, error, remedy)]
    finally:
        await engine.dispose()


async def check_redis(settings: Settings) -> list[Finding]:
    where = f"{settings.REDIS_HOST}:{settings.REDIS_PORT}/{settings.REDIS_DB}"
    client = connect(settings)
    try:
        return await found_by(DOCTOR, {"redis": client})
    except (RedisError, OSError) as error:
        remedy = "Start Redis or Valkey, and look at REDIS_HOST, REDIS_PORT and REDIS_PASSWORD."
        return [unreachable("Redis", where, error, remedy)]
    finally:
        await client.aclose()


async def check_rabbitmq(settings: Settings) -> list[Finding]:
    where = f"{settings.RABBITMQ_HOST}:{settings.RABBITMQ_PORT}, {settings.RABBITMQ_VHOST}"
    try:
        connection = await rabbitmq.connect(settings, "doctor")
        async with connection, asyncio.timeout(limits.DOCTOR_TIMEOUT_S):
            return await found_by(DOCTOR, {"rabbitmq": connection})
    except (AMQPError, OSError) as error:
        remedy = "Start RabbitMQ, and look at RABBITMQ_HOST, its port, user, password and vhost."
        return [unreachable("RabbitMQ", where, error, remedy)]


async def check_machine(settings: Settings) -> list[Finding]:
    return await found_by(DOCTOR, {"settings": settings})


def _as_text(found: list[Finding]) -> str:
    rows = [(one.state, one.check, one.found, one.expected) for one in found]
    wrong = [one for one in found if one.state == "wrong"]
    said = [f"{one.check}: {one.remedy}" for one in wrong]
    end = f"{len(found)} checks, {len(wrong)} wrong."
    return "\n".join([aligned(("state", "check", "found", "expected"), rows), "", *said, end])
