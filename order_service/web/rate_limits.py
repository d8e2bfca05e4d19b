"""Rate limits: decided in this process, shared with the other processes through Redis.

slowapi's `Limiter` chooses strategy and storage; the storage is a dictionary. slowapi's decorators
and middlewares are not used: they run after the dependencies (a request with a wrong token would
never count), call Redis on the event loop, and answer 500 when it is down.

Windows are aligned to the clock, so every process uses the same window, and its number is part of
the Redis key. Every 100 ms a task adds this process's new counts in Redis and reads the totals; the
rest of a total is the other processes' share. So N processes together can admit too much: what the
others admit in one interval, and, in a process that had no request of a key yet, what the others
admitted until one interval after its first. While Redis is down or hangs no request waits for it,
and each process counts alone.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from hashlib import sha256
from importlib.resources import files
from ipaddress import IPv6Address, ip_address
from itertools import islice
from math import ceil
from typing import NamedTuple, cast

import limits as limits_package
from limits.storage import Storage
from slowapi import Limiter

from order_service import limits
from order_service.infra.redis import Redis, RedisError, cancellable
from order_service.settings import Settings
from order_service.telemetry.logging import reason
from order_service.telemetry.metrics import LIMITS_HIT
from order_service.web.problems.problem import Problem
from order_service.web.problems.problem_type import QUOTA_EXCEEDED

logger = logging.getLogger(__name__)

STRICT_GROUPS = {"register", "token", "refresh", "lookup"}
# Probes must not be refused; their cost has other bounds.
UNLIMITED_PATHS = {"/healthz", "/readyz", "/version"}


@dataclass(slots=True)
class Window:
    """One counter in its current window. `shared`, `unshared`: counted here, and already added in
    Redis or not yet. `others`: counted by other processes."""

    number: int
    begins_at: float
    ends_at: float
    shared: int = 0
    unshared: int = 0
    others: int = 0

    @property
    def total(self) -> int:
        return self.shared + self.unshared + self.others


class SharedWindows(Storage):
    """Counters of fixed windows, in memory; `share` exchanges them with the other processes."""

    STORAGE_SCHEME = ["windows"]  # noqa: RUF012  # the registry of `limits` wants a list

    def __init__(
        self,
        uri: str | None = None,
        wrap_exceptions: bool = False,
        now: Callable[[], float] = time.time,
        **_: float | str | bool,
    ) -> None:
        super().__init__(uri, wrap_exceptions)
        self._now = now
        self._windows: OrderedDict[str, Window] = OrderedDict()
        self._unshared: dict[str, Window] = {}
        self.counted = Window(0, 0.0, 0.0)  # the counter that the last `incr` counted

    @property
    def base_exceptions(self) -> tuple[type[Exception], ...]:
        return ()

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        now = self._now()
        number = int(now // expiry)
        window = self._windows.get(key)
        if window is None or window.number != number:
            self._windows.pop(key, None)
            ends_at = (number + 1) * expiry
            window = self._windows[key] = Window(number, ends_at - expiry, ends_at)
            if len(self._windows) > limits.RATE_KEYS_MAX:
                forgotten, _ = self._windows.popitem(last=False)
                self._unshared.pop(forgotten, None)
        window.unshared += amount
        self._unshared[key] = self.counted = window
        return window.total

    def get(self, key: str) -> int:
        window = self._windows.get(key)
        # A clock that was set back must not prolong a window that now lies in the future.
        is_present = window is not None and window.begins_at <= self._now() < window.ends_at
        return window.total if window is not None and is_present else 0

    def get_expiry(self, key: str) -> float:
        window = self._windows.get(key)
        return self._now() if window is None else window.ends_at

    def check(self) -> bool:
        return True

    def reset(self) -> int | None:
        self._windows.clear()
        self._unshared.clear()
        return None

    def clear(self, key: str) -> None:
        self._windows.pop(key, None)
        self._unshared.pop(key, None)

    async def share(self, redis: Redis) -> None:
        """Adds the counts since the last call in Redis, for a bounded number of counters."""
        unshared = islice(self._unshared.items(), limits.RATE_SHARE_KEYS_MAX)
        batch = [(key, window, window.unshared) for key, window in unshared]
        if not batch:
            return
        for key, window, count in batch:
            # Marked before the outcome is known: a hung Redis may execute the command later, and a
            # repeat would count it twice.
            window.shared += count
            window.unshared -= count
            del self._unshared[key]
        pipeline = redis.pipeline(transaction=False)
        for key, window, count in batch:
            name = f"rate:{key}:{window.number}"
            pipeline.incrby(name, count)
            pipeline.expire(name, max(1, ceil(window.ends_at - self._now())) + 5)
        totals = (await pipeline.execute(raise_on_error=False))[::2]
        for (_, window, _), total in zip(batch, totals, strict=True):
            if isinstance(total, int):  # an error if another kind of value has this name
                window.others = max(0, total - window.shared)


class Quota(NamedTuple):
    """The state of one limit, for a response. `window_s`, `reset_s`: seconds."""

    name: str
    limit: int
    window_s: int
    remaining: int
    reset_s: int

    @property
    def policy(self) -> str:
        """For RateLimit-Policy."""
        return f'"{self.name}";q={self.limit};w={self.window_s}'

    @property
    def state(self) -> str:
        """For RateLimit."""
        return f'"{self.name}";r={self.remaining};t={self.reset_s}'


def quota_values(quotas: Sequence[Quota]) -> tuple[str, str]:
    """The values of RateLimit-Policy and RateLimit."""
    return ", ".join([q.policy for q in quotas]), ", ".join([q.state for q in quotas])


class RateLimits:
    """The limits of one web process."""

    def __init__(self, settings: Settings, now: Callable[[], float] = time.time) -> None:
        slowapi = Limiter(
            key_func=str,  # required, never called
            storage_uri="windows://",
            storage_options={"now": now},  # type: ignore[dict-item]  # any keyword argument
            strategy="fixed-window",
            # Without it slowapi reads options from `.env` in the working directory; this file is
            # empty.
            config_filename=str(files("order_service") / "py.typed"),
        )
        self._limiter = slowapi.limiter
        assert isinstance(slowapi.limiter.storage, SharedWindows)
        self.windows = slowapi.limiter.storage
        self._now = now
        rate = limits_package.parse(settings.RATE_LIMIT)
        strict = type(rate)(max(1, rate.amount // limits.STRICT_RATE_DIVISOR))
        page_loads = type(rate)(rate.amount * limits.DESK_FILES_MAX, rate.multiples)
        self._rate = _with_cached_keys(rate)
        strict_names = [f"{group}-address" for group in STRICT_GROUPS]
        self._exceptions = dict.fromkeys(strict_names, _with_cached_keys(strict))
        self._exceptions["desk-address"] = _with_cached_keys(page_loads)
        self._rate_of = lru_cache(limits.API_KEYS_REMEMBERED_MAX)(_rate_of)
        self.failed_logins = FailedLogins(self.windows, now)

    def count(self, quotas: list[Quota], name: str, key: str, rate: str | None = None) -> None:
        """Counts one request against the limit of this name and adds the limit's state to `quotas`.
        `rate`: the counter's own, in place of the limit's. Raises Problem 429."""
        item = self._item(name) if rate is None else self._rate_of(rate)
        admitted = self._limiter.hit(item, name, key)
        # `get_window_stats` would look all of it up again.
        window = self.windows.counted
        left, length_s = max(0, item.amount - window.total), int(window.ends_at - window.begins_at)
        reset_s = max(1, ceil(window.ends_at - self._now()))
        quota = Quota(name, item.amount, length_s, left, reset_s)
        quotas.append(quota)
        if not admitted:
            raise quota_exceeded(name, quota.reset_s)

    def peek(self, method: str, path: str, host: str | None) -> Quota:
        """The state of the address's limit, for the response to a request that no limit counted."""
        name = f"{group_of(method, path)}-address"
        item = self._item(name)
        remaining = self._limiter.get_window_stats(item, name, address_key(host)).remaining
        window_s = item.get_expiry()
        reset_s = ceil(window_s - self._now() % window_s)
        return Quota(name, item.amount, window_s, max(0, remaining), reset_s)

    def _item(self, name: str) -> limits_package.RateLimitItem:
        return self._exceptions.get(name, self._rate)

    async def share_for_ever(self, redis: Redis) -> None:
        """The background task; runs until it is cancelled."""
        while True:
            await asyncio.sleep(limits.RATE_SHARE_INTERVAL_S)
            try:
                await cancellable(partial(self.windows.share, redis))
            except (RedisError, OSError) as error:
                logger.warning("rate limits are not shared: %s", reason(error))
                await asyncio.sleep(limits.REDIS_BREAKER_S)
            except Exception:  # a bug here must not end the sharing
                logger.exception("sharing the rate limits failed")
                await asyncio.sleep(limits.REDIS_BREAKER_S)


def _rate_of(text: str) -> limits_package.RateLimitItem:
    return _with_cached_keys(limits_package.parse(text))


def _with_cached_keys(rate: limits_package.RateLimitItem) -> limits_package.RateLimitItem:
    """The same limit with a cache of its counters' keys: a count that built the key took 4.7 us,
    1.3 of them for the counting itself."""
    key_for = lru_cache(maxsize=limits.RATE_KEYS_REMEMBERED_MAX)(rate.key_for)
    kind = type(f"Cached{type(rate).__name__}", (type(rate),), {"key_for": staticmethod(key_for)})
    return cast(limits_package.RateLimitItem, kind(rate.amount, rate.multiples))


class FailedLogins:
    """Failed logins by account, which need not exist: five a minute, and a delay that doubles with
    every failure from the fifth.

    The delay is at most a minute and a success resets it, so no account is locked out. An attempt
    counts as failed until it succeeds: of many at once at most five are tried. An address from
    which somebody has logged in to the account is known, and can be counted apart.
    """

    def __init__(self, windows: SharedWindows, now: Callable[[], float] = time.time) -> None:
        self._windows = windows
        self._now = now
        self._delays: OrderedDict[str, tuple[float, float]] = OrderedDict()  # from, until

    def attempt(self, account: str) -> None:
        """Counts one attempt. Raises Problem 429 if the account has to wait."""
        self.check(account)
        self.failed(account)

    def check(self, account: str) -> None:
        """Raises Problem 429 if the account has to wait."""
        key, now = _login_key(account), self._now()
        begins_at, ends_at = self._delays.get(key, (0.0, 0.0))
        # As for windows: a clock that was set back must not lock an account out.
        wait_s = ends_at - now if begins_at <= now else 0.0
        if self._windows.get(f"{key}/minute") >= limits.FAILED_LOGINS_PER_MINUTE:
            wait_s = max(wait_s, 60 - now % 60)
        if wait_s > 0:
            raise quota_exceeded("failed-logins", ceil(wait_s))

    def failed(self, account: str) -> None:
        """Counts one failure."""
        key, now = _login_key(account), self._now()
        self._windows.incr(f"{key}/minute", 60)
        failures = self._windows.incr(f"{key}/recent", limits.FAILED_LOGINS_REMEMBERED_MINUTES * 60)
        doublings = failures - limits.FAILED_LOGINS_PER_MINUTE
        if doublings >= 0:
            delay_s = min(2.0 ** min(doublings, 16), limits.FAILED_LOGIN_DELAY_MAX_S)
            self._delay(key, now, now + delay_s)

    def succeeded(self, account: str) -> None:
        key = _login_key(account)
        self._delays.pop(key, None)
        for name, expiry in (
            ("minute", 60),
            ("recent", limits.FAILED_LOGINS_REMEMBERED_MINUTES * 60),
        ):
            # A negative count instead of a deletion, so that the other processes get it too.
            self._windows.incr(f"{key}/{name}", expiry, -self._windows.get(f"{key}/{name}"))

    def is_known(self, account: str, address: str) -> bool:
        return self._windows.get(_known_key(account, address)) > 0

    def remember(self, account: str, address: str) -> None:
        """The address is known from now on, for FAILED_LOGINS_KNOWN_S at most."""
        if not self.is_known(account, address):
            self._windows.incr(_known_key(account, address), limits.FAILED_LOGINS_KNOWN_S)

    def _delay(self, key: str, begins_at: float, ends_at: float) -> None:
        self._delays[key] = begins_at, ends_at
        self._delays.move_to_end(key)
        if len(self._delays) > limits.RATE_KEYS_MAX:
            self._delays.popitem(last=False)


@lru_cache(maxsize=limits.RATE_KEYS_REMEMBERED_MAX)
def address_key(host: str | None) -> str:
    """The key of an address limit: an IPv4 address, or the /64 network of an IPv6 address, all of
    which belongs to one customer."""
    if host is None:
        return "unknown"
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if not isinstance(address, IPv6Address):
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{IPv6Address(int(address) >> 64 << 64)}/64"


def group_of(method: str, path: str) -> str:
    """The group of endpoints that share a limit. Never the path itself: every id would have a limit
    of its own."""
    first, _, rest = path.lstrip("/").partition("/")
    match first:
        case "register":
            return "register"
        case "token":
            return "refresh" if rest.strip("/") in ("refresh", "revoke") else "token"
        case "orders" if rest.strip("/") == "lookup":
            return "lookup"
        case "orders":
            return "orders-read" if method in ("GET", "HEAD") else "orders-write"
        case "users" | "reports" | "events":
            return "reads"
        case "desk":
            return first
        case _:
            return "other"


def quota_exceeded(policy: str, retry_after_s: int) -> Problem:
    LIMITS_HIT[policy].inc()
    return Problem(
        429,
        QUOTA_EXCEEDED,
        f"Too many requests: retry in {retry_after_s} seconds.",
        {"Retry-After": str(retry_after_s)},
        **{"violated-policies": [policy]},
    )


def _known_key(account: str, address: str) -> str:
    return f"{_login_key(f'{account} {address}')}/known"


def _login_key(account: str) -> str:
    # A digest: keeps e-mail addresses out of Redis, and makes any text a short key.
    return f"login/{sha256(account.encode()).hexdigest()[:32]}"
