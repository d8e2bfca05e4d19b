"""Where a process serves its metrics, and how it treats other requests and idle clients."""

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
async def serving_metrics(port: int) -> AsyncIterator[str]:
    """The address of a process that serves its metrics on the first free port from `port` on."""
    settings = Settings(METRICS_ADDRESS=f"127.0.0.1:{port}")  # type: ignore[call-arg]
    async with exposed(settings, "web"):
        yield f"http://127.0.0.1:{port}"


async def response_to(port: int, request: bytes) -> bytes:
    """All bytes received until the connection is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        async with asyncio.timeout(2 * limits.METRICS_TIMEOUT_S):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


async def test_metrics_are_served_on_loopback_only_by_default() -> None:
    assert Settings.model_fields["METRICS_ADDRESS"].default.startswith("127.0.0.1:")
    port = free_port()
    async with serving_metrics(port) as url, httpx.AsyncClient() as client:
        found = await client.get(f"{url}/metrics")
        with pytest.raises(httpx.ConnectError):  # another address of this machine
            await client.get(f"http://127.0.0.2:{port}/metrics")

    assert found.status_code == 200
    assert 'order_service_process{role="web"} 1' in found.text
    for secret in ("DB_PASSWORD", "RABBITMQ_PASSWORD", "SECRET_KEY"):
        assert os.environ[secret] not in found.text


async def test_each_process_takes_the_next_free_port() -> None:
    port = free_port()
    async with serving_metrics(port), serving_metrics(port), httpx.AsyncClient() as client:
        responses = [await client.get(f"http://127.0.0.1:{n}/metrics") for n in (port, port + 1)]

    assert [answer.status_code for answer in responses] == [200, 200]


async def test_other_requests_get_no_metrics() -> None:
    port = free_port()
    async with serving_metrics(port):
        for request in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"POST /metrics HTTP/1.1\r\n\r\n",
            b"GET /metrics/../etc HTTP/1.1\r\n\r\n",
            b"\r\n\r\n",
            b"\x16\x03\x01" + os.urandom(64) + b"\r\n\r\n",
            b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 2 * limits.METRICS_HEAD_BYTES_MAX,
        ):
            answer = await response_to(port, request)
            assert b"order_service" not in answer, request[:20]
        assert b"200 OK" in await response_to(port, b"GET /metrics?now HTTP/1.1\r\nHost: x\r\n\r\n")


async def test_idle_connections_are_bounded_in_number_and_time() -> None:
    port = free_port()
    async with serving_metrics(port):
        silent = [asyncio.create_task(response_to(port, b"GET")) for _ in range(20)]
        await asyncio.wait(silent[limits.METRICS_CONNECTIONS_MAX :])
        still_open = [task for task in silent if not task.done()]
        await asyncio.wait(silent)  # until their deadline
        answer = await response_to(port, b"GET /metrics HTTP/1.1\r\n\r\n")

    assert len(still_open) == limits.METRICS_CONNECTIONS_MAX
    assert b"200 OK" in answer


@pytest.mark.parametrize("address", ["9464", "127.0.0.1:", ":9464", "a b:1"])
def test_an_invalid_address_is_refused_at_the_start(address: str) -> None:
    with pytest.raises(ValueError, match="METRICS_ADDRESS"):
        Settings(METRICS_ADDRESS=address)  # type: ignore[call-arg]
