"""The pool of hashing threads, and the rules for new passwords."""

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


async def test_a_missing_user_and_a_broken_hash_do_not_verify(passwords: Passwords) -> None:
    assert not await passwords.verify(None, "anything")
    assert not await passwords.verify("no hash at all", "anything")


async def test_a_hash_beyond_the_queue_is_refused_at_once(passwords: Passwords) -> None:
    calls = [passwords.hash("x") for _ in range(HASH_THREADS + HASH_QUEUE_MAX + 5)]

    outcomes = await asyncio.gather(*calls, return_exceptions=True)

    refused = [o for o in outcomes if isinstance(o, BaseException)]
    assert [(type(o), o.code) for o in refused if isinstance(o, Unavailable)] == [
        (Unavailable, "overloaded")
    ] * 5
    assert len(refused) == 5


async def test_cancelled_requests_free_their_places_in_the_queue(passwords: Passwords) -> None:
    tasks = [asyncio.create_task(passwords.hash("x")) for _ in range(HASH_THREADS + HASH_QUEUE_MAX)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    assert await passwords.verify(await passwords.hash("y"), "y")


def test_a_hash_with_other_parameters_needs_a_rehash(passwords: Passwords) -> None:
    weaker = PasswordHasher(time_cost=1, memory_cost=8_192, parallelism=1).hash("x")

    assert passwords.needs_rehash(weaker)


@pytest.mark.parametrize(
    "password", ["1234567", "Password1", "aaaaaaaaa", "abababababab", "é" * 513]
)
def test_a_password_that_is_too_short_common_or_long_is_refused(password: str) -> None:
    with pytest.raises(InvalidRequest):
        check_new(password)


@pytest.mark.parametrize("password", ["gjwkznrq", "no digit needed", "ü" * 7 + "xyz"])
def test_a_password_needs_no_certain_kinds_of_characters(password: str) -> None:
    check_new(password)
