"""Where a process tells its metrics, to whom, and what it does about those who ask for more."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from order_service import limits
from order_service.settings import Settings
from order_service.stack.servers import free_port
from order_service.telemetry.exposition import exposed


@asynccontextmanager
async def telling(port: int) -> AsyncIterator[str]:
    """A process of ours that tells its metrics from this port on."""
    settings = Settings(METRICS_ADDRESS=f"127.0.0.1:{port}")  # type: ignore[call-arg]
    async with exposed(settings, "web"):
        yield f"http://127.0.0.1:{port}"


async def asked(port: int, request: bytes) -> bytes:
    """All that comes back until the connection is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        async with asyncio.timeout(2 * limits.METRICS_TIMEOUT_S):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


async def test_it_is_told_on_loopback_only_unless_the_operator_says_otherwise() -> None:
    assert Settings.model_fields["METRICS_ADDRESS"].default.startswith("127.0.0.1:")
    port = free_port()
    async with telling(port) as url, httpx.AsyncClient() as client:
        found = await client.get(f"{url}/metrics")
        with pytest.raises(httpx.ConnectError):  # an address of this machine's, but not that one
            await client.get(f"http://127.0.0.2:{port}/metrics")

    assert found.status_code == 200
    assert 'order_service_process{role="web"} 1' in found.text
    for secret in ("DB_PASSWORD", "RABBITMQ_PASSWORD", "SECRET_KEY"):
        assert os.environ[secret] not in found.text


async def test_each_process_takes_the_next_free_port() -> None:
    port = free_port()
    async with telling(port), telling(port), httpx.AsyncClient() as client:
        told = [await client.get(f"http://127.0.0.1:{n}/metrics") for n in (port, port + 1)]

    assert [answer.status_code for answer in told] == [200, 200]


async def test_what_is_no_request_for_metrics_is_answered_with_nothing_of_them() -> None:
    port = free_port()
    async with telling(port):
        for request in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"POST /metrics HTTP/1.1\r\n\r\n",
            b"GET /metrics/../etc HTTP/1.1\r\n\r\n",
            b"\r\n\r\n",
            b"\x16\x03\x01" + os.urandom(64) + b"\r\n\r\n",
            b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 2 * limits.METRICS_HEAD_BYTES_MAX,
        ):
            answer = await asked(port, request)
            assert b"order_service" not in answer, request[:20]
        assert b"200 OK" in await asked(port, b"GET /metrics?now HTTP/1.1\r\nHost: x\r\n\r\n")


async def test_those_who_say_nothing_are_few_and_keep_nobody_off_for_long() -> None:
    port = free_port()
    async with telling(port):
        silent = [asyncio.create_task(asked(port, b"GET")) for _ in range(20)]
        await asyncio.wait(silent[limits.METRICS_CONNECTIONS_MAX :])
        still_open = [task for task in silent if not task.done()]
        await asyncio.wait(silent)  # by their deadline
        answer = await asked(port, b"GET /metrics HTTP/1.1\r\n\r\n")

    assert len(still_open) == limits.METRICS_CONNECTIONS_MAX
    assert b"200 OK" in answer


@pytest.mark.parametrize("address", ["9464", "127.0.0.1:", ":9464", "a b:1"])
def test_an_address_that_is_none_is_refused_at_the_start(address: str) -> None:
    with pytest.raises(ValueError, match="METRICS_ADDRESS"):
        Settings(METRICS_ADDRESS=address)  # type: ignore[call-arg]
