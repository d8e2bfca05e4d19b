"""The bench's own tools do what the rows rely on: the proxy's modes, the journal, the schedule."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import pytest

from tests.support.servers.proxy import Proxy, proxy_to
from tests.support.waiting import WAIT_S
from tests.tools.faults.journal import Attempt, Command, Journal
from tests.tools.faults.rows_everything import schedule

PASSES_NOT_S = 0.1
USER = UUID(int=1)
Echo = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    """In front of a server that says again what it hears."""

    echoing = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        echoing.append(asyncio.current_task())
        with suppress(ConnectionResetError):
            while heard := await reader.read(1_000):
                writer.write(heard)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with proxy_to("127.0.0.1", server.sockets[0].getsockname()[1]) as proxy:
        yield proxy
    server.close()
    await asyncio.wait_for(asyncio.gather(*echoing), WAIT_S)


@pytest.fixture
async def echo(proxy: Proxy) -> AsyncIterator[Echo]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    yield reader, writer
    writer.close()


async def said_again(echo: Echo, text: bytes, limit_s: float = WAIT_S) -> bytes:
    """Nothing if no answer comes in time."""
    reader, writer = echo
    writer.write(text)
    try:
        return await asyncio.wait_for(reader.read(1_000), limit_s)
    except TimeoutError:
        return b"nothing"


async def test_a_black_hole_keeps_what_it_is_given_until_it_is_healed(
    proxy: Proxy, echo: Echo
) -> None:
    proxy.black_hole()
    assert await said_again(echo, b"one", PASSES_NOT_S) == b"nothing"

    proxy.heal()
    assert await said_again(echo, b"") == b"one"


async def test_a_reset_ends_connections_and_refuses_new_ones(proxy: Proxy, echo: Echo) -> None:
    assert await said_again(echo, b"one") == b"one"
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        await said_again(echo, b"two")
    new = await asyncio.open_connection("127.0.0.1", proxy.port)
    with pytest.raises(ConnectionResetError):
        await said_again(new, b"three")
    new[1].close()

    proxy.heal()
    new = await asyncio.open_connection("127.0.0.1", proxy.port)
    assert await said_again(new, b"four") == b"four"
    new[1].close()


async def test_a_connection_is_cut_after_so_many_bytes_of_reply(proxy: Proxy, echo: Echo) -> None:
    proxy.cut_after(4)
    assert await said_again(echo, b"four") == b"four"
    with pytest.raises(ConnectionResetError):
        await said_again(echo, b"more")


async def test_dropped_replies_are_lost_for_good(proxy: Proxy, echo: Echo) -> None:
    proxy.drop_replies()
    assert await said_again(echo, b"one", PASSES_NOT_S) == b"nothing"
    assert proxy.swallowed.is_set()

    proxy.heal()
    assert await said_again(echo, b"two") == b"two"


async def test_what_is_delayed_or_throttled_comes_later(proxy: Proxy, echo: Echo) -> None:
    proxy.delay(60.0)
    assert await said_again(echo, b"one", PASSES_NOT_S) == b"nothing"
    proxy.heal()
    assert await said_again(echo, b"") == b"one"

    proxy.throttle(0.1)
    assert await said_again(echo, b"two", PASSES_NOT_S) == b"nothing"
    proxy.heal()
    assert await said_again(echo, b"") == b"two"


async def test_the_journal_has_an_attempt_before_it_is_sent_and_its_outcome_after(
    tmp_path: Path,
) -> None:
    journal = Journal(tmp_path / "journal.jsonl")

    number = await journal.begin(Attempt(USER, "note", "POST", "/", USER, key="a"))
    [begun] = map(json.loads, journal.path.read_bytes().splitlines())
    journal.attempts[number].outcome = "ok"
    await journal.end(number)
    [_, ended] = map(json.loads, journal.path.read_bytes().splitlines())
    await journal.close()

    assert (begun["number"], begun["key"], begun["outcome"]) == (number, "a", "unknown")
    assert (ended["number"], ended["outcome"]) == (number, "ok")


def test_a_refusal_does_not_settle_what_may_still_arrive() -> None:
    first = Attempt(USER, "note", "POST", "/", USER, key="a")
    refused = Attempt(USER, "note", "POST", "/", USER, key="a", outcome="fail")
    granted = Attempt(USER, "note", "POST", "/", USER, key="a", outcome="ok")

    assert Command([first, refused]).outcome == "unknown"
    assert Command([refused]).outcome == "fail"
    assert Command([first, refused, granted]).outcome == "ok"


def test_a_schedule_follows_from_its_seed() -> None:
    names = ["F01", "F07", "F24"]

    drawn = schedule(random.Random("1"), names, 60)

    assert drawn == schedule(random.Random("1"), names, 60)
    assert drawn != schedule(random.Random("2"), names, 60)
    assert [pick.at_s for pick in drawn] == [0, 10, 20, 30, 40, 50]
