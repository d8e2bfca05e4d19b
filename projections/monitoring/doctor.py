"""doctor: runs every check once and prints what is wrong and what to do."""

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
from projections.monitoring.checks.check import Finding, finding, run_checks, unreachable
from projections.monitoring.checks.registry import DOCTOR


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--url",
        default=os.environ.get(limits.WEB_URL),
        help="address of the web process, to check it too",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


async def run(args: argparse.Namespace, settings: Settings) -> int:
    """0: all is as expected; 1: something is wrong."""
    found = await examine(settings, args.url)
    print(json.dumps([asdict(one) for one in found]) if args.json else _as_text(found))
    return 1 if any(one.state == "wrong" for one in found) else 0


async def examine(settings: Settings, url: str | None) -> list[Finding]:
    """All findings, those of the servers first. `url` None: the web process is not checked."""
    found = await asyncio.gather(
        check_postgres(settings), check_redis(settings), check_rabbitmq(settings)
    )
    web = await run_checks(DOCTOR, {"web": url}) if url else []
    return [
        *(one for of_server in found for one in of_server),
        *web,
        *await check_machine(settings),
    ]


async def check_postgres(settings: Settings) -> list[Finding]:
    """The checks of the server with the database role of web, then with that of the read side."""
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
            found = await run_checks(DOCTOR, subjects)
        if role == WEB:
            async with engine.connect() as connection:  # not read-only
                found += await run_checks(DOCTOR, {"append": connection})
        return [finding(name, True, "answers", "answers", ""), *found]
    except (*FAILURES, RuntimeError) as error:
        where = f"{settings.DB_HOST}:{settings.DB_PORT}/{settings.DB_NAME}"
        remedy = (
            "Start PostgreSQL, check DB_HOST, DB_PORT, DB_NAME, DB_USER and DB_PASSWORD, and run "
            "`./entrypoint.sh migrate`, which creates the roles."
        )
        return [unreachable(name, where, error, remedy)]
    finally:
        await engine.dispose()


async def check_redis(settings: Settings) -> list[Finding]:
    where = f"{settings.REDIS_HOST}:{settings.REDIS_PORT}/{settings.REDIS_DB}"
    client = connect(settings)
    try:
        return await run_checks(DOCTOR, {"redis": client})
    except (RedisError, OSError) as error:
        remedy = "Start Redis or Valkey, and check REDIS_HOST, REDIS_PORT and REDIS_PASSWORD."
        return [unreachable("Redis", where, error, remedy)]
    finally:
        await client.aclose()


async def check_rabbitmq(settings: Settings) -> list[Finding]:
    where = f"{settings.RABBITMQ_HOST}:{settings.RABBITMQ_PORT}, {settings.RABBITMQ_VHOST}"
    try:
        connection = await rabbitmq.connect(settings, "doctor")
        async with connection, asyncio.timeout(limits.DOCTOR_TIMEOUT_S):
            return await run_checks(DOCTOR, {"rabbitmq": connection})
    except (AMQPError, OSError) as error:
        remedy = "Start RabbitMQ, and check RABBITMQ_HOST, its port, user, password and vhost."
        return [unreachable("RabbitMQ", where, error, remedy)]


async def check_machine(settings: Settings) -> list[Finding]:
    return await run_checks(DOCTOR, {"settings": settings})


def _as_text(found: list[Finding]) -> str:
    rows = [(one.state, one.check, one.found, one.expected) for one in found]
    wrong = [one for one in found if one.state == "wrong"]
    remedies = [f"{one.check}: {one.remedy}" for one in wrong]
    end = f"{len(found)} checks, {len(wrong)} wrong."
    return "\n".join([aligned(("state", "check", "found", "expected"), rows), "", *remedies, end])
