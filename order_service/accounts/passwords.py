"""Passwords: the rule for new ones, and Argon2id hashes in a thread pool of their own.

A hash takes 19 MiB and some 40 ms of one core. On the event loop it would stop every request; in
the default pool of forty threads a storm of logins would take all memory. So this pool has few
threads and a bounded queue, and raises 503 when the queue is full.
"""

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from importlib.resources import files
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from order_service import limits
from order_service.errors import InvalidRequest, Unavailable

# The 3,000 most common passwords (zxcvbn's list, MIT), those of at least eight characters, in lower
# case.
_COMMON = frozenset(files(__package__).joinpath("common_passwords.txt").read_text().split())
_hasher = PasswordHasher(
    time_cost=limits.ARGON2_PASSES, memory_cost=limits.ARGON2_MEMORY_KIB, parallelism=1
)
T = TypeVar("T")


def check_new(password: str) -> None:
    """Raises InvalidRequest `weak-password` if it is too weak; the text never contains it."""
    if len(password) < limits.PASSWORD_LENGTH_MIN:
        reason = f"It needs at least {limits.PASSWORD_LENGTH_MIN} characters."
    elif len(password.encode()) > limits.PASSWORD_BYTES_MAX:
        reason = f"It may have at most {limits.PASSWORD_BYTES_MAX} bytes."
    elif password.lower() in _COMMON or len(set(password)) < 3:
        reason = "It is easy to guess: choose a less common one."
    else:
        return
    raise InvalidRequest("weak-password", reason)


def hash_now(password: str) -> str:
    """The Argon2id hash, computed in the calling thread: for the command line."""
    return _hasher.hash(password)


@cache
def _stand_in() -> str:
    """Verified for an unknown user, so that the response takes as long as for a wrong password."""
    return hash_now(secrets.token_urlsafe())


class Passwords:
    """Hashes and verifies in `HASH_THREADS` threads; at most `HASH_QUEUE_MAX` calls wait. Raises
    Unavailable above that."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(limits.HASH_THREADS, thread_name_prefix="argon2")
        self._pending = 0
        self._stand_in = _stand_in()

    async def hash(self, password: str) -> str:
        return await self._run(lambda: _hasher.hash(password))

    async def verify(self, stored_hash: str | None, password: str) -> bool:
        """Whether `password` has the hash `stored_hash`. None (no such user) gives False after the
        same time."""
        verified = await self._run(lambda: _verify(stored_hash or self._stand_in, password))
        return verified and stored_hash is not None

    def needs_rehash(self, stored_hash: str) -> bool:
        return _hasher.check_needs_rehash(stored_hash)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[[], T]) -> T:
        if self._pending >= limits.HASH_THREADS + limits.HASH_QUEUE_MAX:
            raise Unavailable("overloaded", "Too many logins are in progress: retry in a moment.")
        self._pending += 1
        loop = asyncio.get_running_loop()
        future = self._pool.submit(work)
        # Counted until the thread is done, even if the client goes away before: the work goes on
        # without it.
        future.add_done_callback(lambda done: self._finished(loop, done))
        return await asyncio.wrap_future(future)

    def _finished(self, loop: asyncio.AbstractEventLoop, _: Future[T]) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._release)

    def _release(self) -> None:
        self._pending -= 1


def _verify(stored_hash: str, password: str) -> bool:
    try:
        return _hasher.verify(stored_hash, password)
    except (Argon2Error, InvalidHashError):
        return False
