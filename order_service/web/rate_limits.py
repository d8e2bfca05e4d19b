"""Rate limits: decided in this process, shared through Redis in the background.

slowapi's `Limiter` chooses strategy and storage; its decorators and middlewares are not used, since
they run after the dependencies (a request refused for its token would never count), speak to Redis
on the event loop and answer 500 when it is down. Instead `admit` (address) and `admit_user` ask the
limiter at their place in the order of evaluation, and the storage is a dictionary.

Windows are aligned to the clock, so every process means the same one and its number is part of the
Redis key. Every 100 ms a task tells Redis what was counted here and learns the total; what is not
ours is the others' share. So N processes together can admit too much: what the others admit in one
interval, and what a process that had none of a key's requests admits until an interval after the
first one. While Redis is down or hung nobody waits for it, and each process goes on alone.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from hashlib import sha256
from importlib.resources import files
from ipaddress import IPv6Address, ip_address
from itertools import islice
from math import ceil
from typing import NamedTuple, cast
from uuid import UUID

import limits as limits_package
from limits.storage import Storage
from slowapi import Limiter
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from order_service import limits
from order_service.infra.redis import Redis, RedisError, cancellable
from order_service.settings import Settings
from order_service.telemetry.logging import reason
from order_service.telemetry.metrics import LIMITS_HIT
from order_service.web.concurrency import Work
from order_service.web.json_body import check_media_type
from order_service.web.problems.problem import Problem
from order_service.web.problems.problem_type import QUOTA_EXCEEDED

logger = logging.getLogger(__name__)
Endpoint = Callable[[Request], Awaitable[Response]]

_STRICT_NAMES = {"register-address", "token-address", "refresh-address"}
# Probes must not be refused; what they cost is bounded otherwise.
UNLIMITED_PATHS = {"/healthz", "/readyz", "/version"}


@dataclass(slots=True)
class Window:
    """One counter in its present window. `told`, `untold`: counted here, and already told to Redis
    or not yet."""

    number: int
    begins_at: float
    ends_at: float
    told: int = 0
    untold: int = 0
    others: int = 0

    @property
    def total(self) -> int:
        return self.told + self.untold + self.others


class SharedWindows(Storage):
    """Counters for fixed windows, in memory; `share` brings them together with the other
    processes'."""

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
        self._untold: dict[str, Window] = {}
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
                self._untold.pop(forgotten, None)
        window.untold += amount
        self._untold[key] = self.counted = window
        return window.total

    def get(self, key: str) -> int:
        window = self._windows.get(key)
        # A clock that was set back must not prolong a window that lies ahead of it now.
        is_present = window is not None and window.begins_at <= self._now() < window.ends_at
        return window.total if window is not None and is_present else 0

    def get_expiry(self, key: str) -> float:
        window = self._windows.get(key)
        return self._now() if window is None else window.ends_at

    def check(self) -> bool:
        return True

    def reset(self) -> int | None:
        self._windows.clear()
        self._untold.clear()
        return None

    def clear(self, key: str) -> None:
        self._windows.pop(key, None)
        self._untold.pop(key, None)

    async def share(self, redis: Redis) -> None:
        """Tells Redis what was counted since the last call, a bounded number of counters at a
        time."""
        batch = [
            (k, w, w.untold) for k, w in islice(self._untold.items(), limits.RATE_SHARE_KEYS_MAX)
        ]
        if not batch:
            return
        for key, window, count in batch:
            # Told before it is certain: a hung Redis may well execute it later, and telling it
            # again would count it twice.
            window.told += count
            window.untold -= count
            del self._untold[key]
        pipeline = redis.pipeline(transaction=False)
        for key, window, count in batch:
            name = f"rate:{key}:{window.number}"
            pipeline.incrby(name, count)
            pipeline.expire(name, max(1, ceil(window.ends_at - self._now())) + 5)
        totals = (await pipeline.execute(raise_on_error=False))[::2]
        for (_, window, _), total in zip(batch, totals, strict=True):
            if isinstance(total, int):  # not so where a foreign value stands under the name
                window.others = max(0, total - window.told)


class Quota(NamedTuple):
    """What a response says about one limit. `window_s`, `reset_s` in seconds."""

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


class Limits:
    """The limits of one web process."""

    def __init__(self, settings: Settings, now: Callable[[], float] = time.time) -> None:
        slowapi = Limiter(
            key_func=address_of,
            storage_uri="windows://",
            storage_options={"now": now},  # type: ignore[dict-item]  # any keyword argument
            strategy="fixed-window",
            # Else it reads its own options from a `.env` in the working directory; this file is
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
        self._rate = _remembering(rate)
        self._others = dict.fromkeys(_STRICT_NAMES, _remembering(strict))
        self._others["desk-address"] = _remembering(page_loads)
        self.failed_logins = FailedLogins(self.windows, now)

    def hit(self, connection: HTTPConnection, scope: str, key: str) -> None:
        """Counts the request against one limit. Raises Problem 429."""
        group = group_of(connection.scope["method"], connection.scope["path"])
        self.count(connection.scope["state"]["quotas"], f"{group}-{scope}", key)

    def count(self, quotas: list[Quota], name: str, key: str) -> None:
        """Counts one request against the limit of this name, and notes in `quotas` how it stands.
        Raises Problem 429."""
        item = self._item(name)
        admitted = self._limiter.hit(item, name, key)
        # Not asked by `get_window_stats`, which would look it all up again.
        window = self.windows.counted
        left, length_s = max(0, item.amount - window.total), int(window.ends_at - window.begins_at)
        reset_s = max(1, ceil(window.ends_at - self._now()))
        quota = Quota(name, item.amount, length_s, left, reset_s)
        quotas.append(quota)
        if not admitted:
            raise quota_exceeded(name, quota.reset_s)

    def peek(self, method: str, path: str, host: str | None) -> Quota:
        """Where the caller's address stands, for an answer that was given before anything was
        counted."""
        name = f"{group_of(method, path)}-address"
        item = self._item(name)
        remaining = self._limiter.get_window_stats(item, name, limited(host)).remaining
        window_s = item.get_expiry()
        reset_s = ceil(window_s - self._now() % window_s)
        return Quota(name, item.amount, window_s, max(0, remaining), reset_s)

    def _item(self, name: str) -> limits_package.RateLimitItem:
        return self._others.get(name, self._rate)

    async def share_for_ever(self, redis: Redis) -> None:
        """The background task; ends by cancellation only."""
        while True:
            await asyncio.sleep(limits.RATE_SHARE_INTERVAL_S)
            try:
                await cancellable(partial(self.windows.share, redis))
            except (RedisError, OSError) as error:
                logger.warning("rate limits are not shared: %s", reason(error))
                await asyncio.sleep(limits.REDIS_BREAKER_S)
            except Exception:  # a mistake here must not end the sharing for good
                logger.exception("sharing the rate limits failed")
                await asyncio.sleep(limits.REDIS_BREAKER_S)


def _remembering(rate: limits_package.RateLimitItem) -> limits_package.RateLimitItem:
    """The same limit, whose counters' keys are not made anew for every request: of a hit's 4.7 us
    the counting takes 1.3."""
    key_for = lru_cache(maxsize=limits.RATE_KEYS_REMEMBERED_MAX)(rate.key_for)
    kind = type(
        f"Remembering{type(rate).__name__}", (type(rate),), {"key_for": staticmethod(key_for)}
    )
    return cast(limits_package.RateLimitItem, kind(rate.amount, rate.multiples))


class FailedLogins:
    """Failures by account, whether or not it exists: five a minute, and from the fifth on a delay
    that doubles.

    The delay ends at a minute and a success clears everything, so nobody is locked out. An attempt
    counts as failed until it has succeeded: of many at once no more than five are tried.
    """

    def __init__(self, windows: SharedWindows, now: Callable[[], float] = time.time) -> None:
        self._windows = windows
        self._now = now
        self._delays: OrderedDict[str, tuple[float, float]] = OrderedDict()  # from, until

    def attempt(self, account: str) -> None:
        """Counts one attempt. Raises Problem 429 when it comes too early."""
        key, now = _login_key(account), self._now()
        begins_at, ends_at = self._delays.get(key, (0.0, 0.0))
        # As for windows: a clock that was set back must not lock anybody out.
        wait_s = ends_at - now if begins_at <= now else 0.0
        if self._windows.get(f"{key}/minute") >= limits.FAILED_LOGINS_PER_MINUTE:
            wait_s = max(wait_s, 60 - now % 60)
        if wait_s > 0:
            raise quota_exceeded("failed-logins", ceil(wait_s))
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
            # Taken back by a negative count rather than deleted, so that the other processes learn
            # of it.
            self._windows.incr(f"{key}/{name}", expiry, -self._windows.get(f"{key}/{name}"))

    def _delay(self, key: str, begins_at: float, ends_at: float) -> None:
        self._delays[key] = begins_at, ends_at
        self._delays.move_to_end(key)
        if len(self._delays) > limits.RATE_KEYS_MAX:
            self._delays.popitem(last=False)


async def admit(request: Request) -> None:
    """Runs before every route: media type, the address's limit, and whether there is room for one
    more request. From then on it is at work, until it is answered (`middleware.Edge`)."""
    check_media_type(request)
    if request.scope["path"] in UNLIMITED_PATHS:
        return
    limits_of(request).hit(request, "address", address_of(request))
    work: Work = request.app.state.work
    in_work = work.of(group_of(request.scope["method"], request.scope["path"]))
    in_work.check()
    in_work.enter()
    request.scope["state"]["in_work"] = in_work


def admitted(endpoint: Endpoint) -> Endpoint:
    """For `add_route`, which knows no dependencies: counted and limited as all others are."""

    async def admitting(request: Request) -> Response:
        await admit(request)
        return await endpoint(request)

    return admitting


def admit_user(connection: HTTPConnection, user_id: UUID) -> None:
    limits_of(connection).hit(connection, "user", user_id.hex)


def limits_of(connection: HTTPConnection) -> Limits:
    found = connection.app.state.limits
    assert isinstance(found, Limits)
    return found


def address_of(request: HTTPConnection) -> str:
    """Whom an address limit counts: an IPv4 address, or the /64 that one IPv6 customer has to
    himself."""
    return limited(request.client.host if request.client else None)


@lru_cache(maxsize=limits.RATE_KEYS_REMEMBERED_MAX)
def limited(host: str | None) -> str:
    """As `address_of`."""
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
    """The bucket of an endpoint; never the path itself, else every id would have a bucket of its
    own."""
    first, _, rest = path.lstrip("/").partition("/")
    match first:
        case "register":
            return "register"
        case "token":
            return "refresh" if rest.strip("/") in ("refresh", "revoke") else "token"
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


def _login_key(account: str) -> str:
    # A digest: addresses of people have no place in Redis' keys, and any text becomes a short key.
    return f"login/{sha256(account.encode()).hexdigest()[:32]}"
