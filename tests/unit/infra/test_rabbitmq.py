import asyncio

import pytest

from order_service.infra.rabbitmq import until_first


async def test_the_first_task_to_end_ends_the_others() -> None:
    cancelled = asyncio.Event()

    async def other() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    await until_first(asyncio.sleep(0.01), other())

    assert cancelled.is_set()


async def test_the_error_of_the_first_task_is_raised() -> None:
    async def fails() -> None:
        raise ValueError("why")

    with pytest.raises(ValueError, match="why"):
        await until_first(fails(), asyncio.Event().wait())


async def test_a_cancellation_from_inside_a_task_is_an_error() -> None:
    """It does not stop the relay, which reconnects after an error."""
    closed_by_a_library: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    closed_by_a_library.cancel()

    async def waits() -> None:
        await closed_by_a_library

    with pytest.raises(ConnectionError):
        await until_first(waits(), asyncio.Event().wait())


async def test_a_cancellation_from_outside_ends_all_tasks() -> None:
    work = asyncio.ensure_future(until_first(asyncio.Event().wait()))
    await asyncio.sleep(0)
    work.cancel()

    with pytest.raises(asyncio.CancelledError):
        await work
