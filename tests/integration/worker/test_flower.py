"""Flower as we start it: protected by a password that other users cannot read, and read-only."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from order_service.errors import OrderServiceError
from order_service.settings import Settings
from order_service.stack.servers import free_port
from projections.worker import flower
from tests.conftest import ROOT
from tests.support.waiting import WAIT_S, eventually

PASSWORD = "a:long password"


@pytest.fixture(scope="module")
def running(migrated_template: Settings) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Flower's process and address."""
    port = free_port()
    settings = migrated_template.model_copy(
        update={"FLOWER_PASSWORD": PASSWORD, "FLOWER_PORT": port}
    )
    environment = {**os.environ, **flower.environment(settings)}
    argv = [sys.executable, "-m", *flower.argv(settings)]
    process = subprocess.Popen(argv, cwd=ROOT, env=environment)
    yield process, f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(WAIT_S)


@pytest.fixture
async def page(running: tuple[subprocess.Popen[bytes], str]) -> str:
    async def is_up() -> bool:
        async with httpx.AsyncClient() as client:
            try:
                return (await client.get(f"{running[1]}/healthcheck")).status_code == 200
            except httpx.TransportError:
                return False

    await eventually(is_up)
    return running[1]


@pytest.mark.parametrize("path", ["/", "/workers", "/tasks", "/broker", "/api/tasks"])
async def test_every_page_requires_the_password(page: str, path: str) -> None:
    async with httpx.AsyncClient(base_url=page) as client:
        anonymous = await client.get(path)
        wrong = await client.get(path, auth=("operator", "a"))
        operator = await client.get(path, auth=("operator", PASSWORD))

    assert (anonymous.status_code, wrong.status_code) == (401, 401)
    assert operator.status_code == 200


async def test_flower_is_read_only(page: str) -> None:
    async with httpx.AsyncClient(base_url=page, auth=("operator", PASSWORD)) as client:
        answer = await client.post("/api/worker/shutdown/celery@anywhere")

    assert answer.status_code == 403


async def test_the_password_is_not_in_the_command_line(
    running: tuple[subprocess.Popen[bytes], str], page: str
) -> None:
    del page
    command_line = await asyncio.to_thread(Path(f"/proc/{running[0].pid}/cmdline").read_bytes)

    assert b"flower" in command_line
    assert b"long password" not in command_line


@pytest.mark.parametrize(
    ("user", "password"), [("operator", ""), ("operator", "half,half"), ("o,p", "x"), ("o:p", "x")]
)
def test_flower_does_not_start_with_an_unsafe_login(
    migrated_template: Settings, user: str, password: str
) -> None:
    settings = migrated_template.model_copy(
        update={"FLOWER_USER": user, "FLOWER_PASSWORD": password}
    )

    with pytest.raises(OrderServiceError, match="FLOWER_"):
        flower.environment(settings)
