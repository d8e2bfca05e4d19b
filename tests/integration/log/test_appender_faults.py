"""The appender while the database is slow, silent or locked: waits are bounded, and P1 holds."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service import limits
from order_service.domain.parts import OrderLine
from order_service.errors import InvalidRequest, RuleViolation, Unavailable
from order_service.ids import uuid7
from order_service.limits import EVENT_BYTES_MAX
from order_service.log.append import Append
from order_service.log.event_log import EventLog
from order_service.log.fold import FoldedOrder
from order_service.settings import Settings
from tests.conftest import run_sql
from tests.support.log.event_log import (
    assert_dense,
    changed,
    holding,
    new_order,
    on_partition,
    opened,
    opened_through_proxy,
    placed,
)
from tests.support.log.examples import BY_USER, CAPTURED, PAID, USER, placing, to_status
from tests.support.values import replace
from tests.support.waiting import WAIT_S


@pytest.fixture
def patient_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database without short time-outs, so that the bound under test ends each wait."""
    monkeypatch.setattr(limits, "APPEND_STATEMENT_TIMEOUT_MS", 120_000)
    monkeypatch.setattr(limits, "LOCK_TIMEOUT_MS", 120_000)
    monkeypatch.setattr(limits, "DRIVER_TIMEOUT_S", 120)


async def code_of(outcome: object) -> str:
    try:
        await outcome  # type: ignore[misc]  # any awaitable
    except Unavailable as error:
        return error.code
    return "stored"


async def test_the_appender_survives_a_queue_whose_commands_all_timed_out(
    settings: Settings, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is silent for longer than commands wait, so all queued commands time out."""
    async with holding(settings, 1):
        monkeypatch.setattr(limits, "APPEND_WAIT_S", 0.2)
        in_flight = asyncio.create_task(log.append(new_order(on_partition(1))))
        await asyncio.sleep(0.05)

        with pytest.raises(Unavailable) as queued:
            await log.append(new_order(on_partition(1)))
        with pytest.raises(Unavailable) as sent:
            await in_flight

    monkeypatch.undo()
    await log.append(new_order(on_partition(1)))
    assert (queued.value.code, sent.value.code) == ("dependency-unavailable", "outcome-unknown")


async def test_a_refused_second_attempt_leaves_the_first_ones_outcome_unknown(
    settings: Settings, web_engine: AsyncEngine
) -> None:
    """The first attempt was stored and its reply lost. "Cannot store" would make the client place a
    second order."""
    async with opened_through_proxy(settings) as (log, proxy):
        await log.append(new_order(on_partition(1)))
        proxy.replies = False
        lost = asyncio.create_task(log.append(new_order(on_partition(1))))
        await proxy.swallowed.wait()
        async with holding(settings, 1):
            proxy.replies = True
            proxy.cut()

            assert await code_of(lost) == "outcome-unknown"
    await assert_dense(web_engine, events=2)


async def test_an_append_on_a_terminated_session_is_sent_again(
    settings: Settings, web_engine: AsyncEngine
) -> None:
    """After PostgreSQL's last message and before the connection's end the driver reports neither
    success nor a lost connection, but that another operation is in progress."""
    async with (
        without_end_of_connection(settings) as through,
        opened(through) as log,
    ):
        await log.append(new_order())
        await run_sql(settings, END_APPENDERS, settings.DB_NAME)
        await log.append(new_order())
    await assert_dense(web_engine, events=2)


async def test_a_refusal_is_logged_with_postgresqls_message(
    settings: Settings, log: EventLog, caplog: pytest.LogCaptureFixture
) -> None:
    await run_sql(settings, "REVOKE EXECUTE ON FUNCTION append FROM order_web", settings.DB_NAME)

    assert await code_of(log.append(new_order())) == "dependency-unavailable"
    assert [one.getMessage() for one in caplog.records if "append" in one.getMessage()] == [
        "PostgreSQL refused an append: InsufficientPrivilegeError: permission denied for function "
        "append"
    ]


TERMINATE = b"X\0\0\0\4"  # a client's last message
END_APPENDERS = (
    "SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity "
    "WHERE application_name = 'test-append' AND datname = current_database()"
)


@asynccontextmanager
async def without_end_of_connection(settings: Settings) -> AsyncIterator[Settings]:
    """Settings of a proxy to PostgreSQL that does not forward the server's end of a connection."""

    async def pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while piece := await source.read(65_536):
            sink.write(piece)
            if piece.endswith(TERMINATE):
                break

    async def serve(client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        server, ask = await asyncio.open_connection(settings.DB_HOST, settings.DB_PORT)
        answers = asyncio.create_task(pass_on(server, answer))
        with suppress(ConnectionError):
            await pass_on(client, ask)
        ask.close()
        answer.close()
        await asyncio.wait({answers})

    listener = await asyncio.start_server(serve, "127.0.0.1")
    port = listener.sockets[0].getsockname()[1]
    async with listener:
        yield settings.model_copy(update={"DB_HOST": "127.0.0.1", "DB_PORT": port})


async def test_a_locked_partition_does_not_fail_the_rest_of_a_batch(
    settings: Settings, log: EventLog, web_engine: AsyncEngine
) -> None:
    """R6: appends to the other partitions succeed."""
    async with holding(settings, 1):
        codes = await asyncio.gather(
            *(code_of(log.append(new_order(on_partition(n)))) for n in range(4))
        )

    assert codes == ["stored", "dependency-unavailable", "stored", "stored"]
    await assert_dense(web_engine, events=3)


async def test_closing_waits_for_appends_in_flight(settings: Settings) -> None:
    """The command of a disconnected client is still sent, and the cache is refreshed."""
    refreshed: list[FoldedOrder] = []

    async def refresh(orders: Sequence[FoldedOrder]) -> None:
        refreshed.extend(orders)

    async with opened(settings) as log:
        before = await log.append(new_order(on_partition(1)))
    async with holding(settings, 1) as held, opened(settings, refresh) as log:
        append = asyncio.create_task(
            log.append(Append(before.id, before, (CAPTURED, PAID), BY_USER))
        )
        await asyncio.sleep(0.05)
        append.cancel()
        asyncio.get_running_loop().call_later(0.3, held.terminate)

    assert len(refreshed) == 1


async def test_commands_wait_for_the_stream_lock_within_a_bound(
    settings: Settings, patient_database: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id = on_partition(1)
    async with opened(settings) as log:
        await placed(log, order_id, placing(), BY_USER)
        monkeypatch.setattr(limits, "APPEND_WAIT_S", 0.2)
        monkeypatch.setattr(limits, "STREAM_LOCK_WAIT_S", 0.2)

        async with holding(settings, 1), asyncio.timeout(WAIT_S):
            codes = await asyncio.gather(
                *(code_of(changed(log, order_id, to_status("PAID"), BY_USER)) for _ in range(20))
            )

    assert set(codes) <= {"outcome-unknown", "overloaded", "dependency-unavailable"}


async def test_appends_wait_in_a_bounded_queue(
    settings: Settings, patient_database: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "APPEND_WAIT_S", 0.2)
    monkeypatch.setattr(limits, "APPEND_QUEUE_MAX", 2)

    async with opened(settings) as log, holding(settings, 1), asyncio.timeout(WAIT_S):
        codes = await asyncio.gather(
            *(code_of(log.append(new_order(on_partition(1)))) for _ in range(3))
        )

    assert codes.count("overloaded") == 1


async def test_reads_of_a_hung_database_all_end_within_one_bound(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each batch waits for the one before it, but no read waits longer than LOAD_WAIT_S."""
    monkeypatch.setattr(limits, "LOAD_WAIT_S", 0.2)
    async with opened_through_proxy(settings) as (log, proxy):
        proxy.replies = False
        reads = [asyncio.create_task(log.read(uuid7())) for _ in range(3)]
        await proxy.swallowed.wait()
        reads += [asyncio.create_task(log.read(uuid7())) for _ in range(3)]
        ended, waiting = await asyncio.wait(reads, timeout=limits.DRIVER_TIMEOUT_S)
        proxy.heal()
        proxy.cut()

    assert not waiting
    assert {type(read.exception()) for read in ended} == {TimeoutError}


async def test_an_event_is_bounded_in_bytes_not_in_characters(log: EventLog) -> None:
    text = "漢" * 255
    line = OrderLine(1, "PEN", text, 1, 1, {f"{number}": text for number in range(6)})
    lines = tuple(replace(line, line_id=number) for number in range(1, 201))
    assert 200 * 7 * len(text) < EVENT_BYTES_MAX < 200 * 7 * len(text.encode())

    with pytest.raises(InvalidRequest) as caught:
        await placed(log, uuid7(), placing(*lines), BY_USER)

    assert caught.value.code == "content-too-large"


async def test_a_repeat_is_found_before_authorization_even_with_an_outdated_memory(
    settings: Settings, log: EventLog
) -> None:
    """Step 7 comes before step 8: another process executed the command, and this one has an older
    version of the order in memory."""
    order_id = uuid7()
    keyed = replace(BY_USER, actor_id=USER, key="key-1", fingerprint="print-1")
    await placed(log, order_id, placing(), BY_USER)
    async with opened(settings) as other:
        await changed(other, order_id, to_status("PAID"), keyed)

    def refuse() -> None:
        raise RuleViolation("forbidden", "No.")

    again = await changed(log, order_id, to_status("PAID"), keyed, authorize=refuse)

    assert again.replayed
