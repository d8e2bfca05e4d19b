"""The pool of hashing threads, and what may become a password."""

import asyncio
from collections.abc import Iterator

import pytest
from argon2 import PasswordHasher

from order_service.accounts.passwords import Passwords, check_new
from order_service.errors import InvalidRequest, Unavailable
from order_service.limits import HASH_QUEUE_MAX, HASH_THREADS


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    made = Passwords()
    yield made
    made.close()


async def test_a_password_is_verified_exactly_as_given(passwords: Passwords) -> None:
    stored = await passwords.hash(" Größe 🖊️ ")

    assert await passwords.verify(stored, " Größe 🖊️ ")
    assert not await passwords.verify(stored, "Größe 🖊️")


async def test_no_user_and_a_broken_hash_are_just_wrong(passwords: Passwords) -> None:
    assert not await passwords.verify(None, "anything")
    assert not await passwords.verify("no hash at all", "anything")


async def test_more_than_the_queue_holds_is_refused_at_once(passwords: Passwords) -> None:
    calls = [passwords.hash("x") for _ in range(HASH_THREADS + HASH_QUEUE_MAX + 5)]

    outcomes = await asyncio.gather(*calls, return_exceptions=True)

    refused = [o for o in outcomes if isinstance(o, BaseException)]
    assert [(type(o), o.code) for o in refused if isinstance(o, Unavailable)] == [
        (Unavailable, "overloaded")
    ] * 5
    assert len(refused) == 5


async def test_clients_that_go_away_leave_no_place_taken(passwords: Passwords) -> None:
    tasks = [asyncio.create_task(passwords.hash("x")) for _ in range(HASH_THREADS + HASH_QUEUE_MAX)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    assert await passwords.verify(await passwords.hash("y"), "y")


def test_a_hash_of_other_parameters_is_made_anew(passwords: Passwords) -> None:
    weaker = PasswordHasher(time_cost=1, memory_cost=8_192, parallelism=1).hash("x")

    assert passwords.needs_rehash(weaker)


@pytest.mark.parametrize(
    "password", ["1234567", "Password1", "aaaaaaaaa", "abababababab", "é" * 513]
)
def test_what_is_too_short_common_or_long_is_refused(password: str) -> None:
    with pytest.raises(InvalidRequest):
        check_new(password)


@pytest.mark.parametrize("password", ["gjwkznrq", "no digit needed", "ü" * 7 + "xyz"])
def test_no_composition_is_demanded(password: str) -> None:
    check_new(password)
