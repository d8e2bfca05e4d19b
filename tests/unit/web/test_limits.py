"""Rate limits: windows, groups, addresses and failed logins, with a clock that tests set."""

import pytest

from order_service.limits import RATE_KEYS_MAX
from order_service.settings import Settings
from order_service.web.problems.problem import Problem
from order_service.web.rate_limits import (
    FailedLogins,
    Quota,
    RateLimits,
    SharedWindows,
    address_key,
    group_of,
)

NOON = 1_800_000_000.0  # begins a minute and an hour


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limits(clock: Clock) -> RateLimits:
    settings = Settings(
        DB_PASSWORD="x",
        RABBITMQ_USER="x",
        RABBITMQ_PASSWORD="x",
        SECRET_KEY="0123456789abcdefghijklmnopqrstuvwxyzABCDEF",
        RATE_LIMIT="20/minute",
    )
    return RateLimits(settings, clock)


def hit(limits: RateLimits, path: str, times: int, key: str = "192.0.2.1") -> Quota:
    """So many requests of one address; the limit's state after the last."""
    quotas: list[Quota] = []
    for _ in range(times):
        limits.count(quotas, f"{group_of('GET', path)}-address", key)
    return quotas[-1]


def test_one_more_than_the_limit_is_refused_until_the_window_ends(
    limits: RateLimits, clock: Clock
) -> None:
    clock.now = NOON + 15
    hit(limits, "/orders/", 20)

    with pytest.raises(Problem) as caught:
        hit(limits, "/orders/", 1)

    assert caught.value.status == 429
    assert caught.value.headers == {"Retry-After": "45"}
    assert caught.value.members == {"violated-policies": ["orders-read-address"]}


def test_the_next_window_begins_by_the_clock(limits: RateLimits, clock: Clock) -> None:
    clock.now = NOON + 59.9
    hit(limits, "/orders/", 20)

    clock.now = NOON + 60.0
    last = hit(limits, "/orders/", 1)

    assert last.remaining == 19


def test_every_order_is_in_the_same_bucket(limits: RateLimits) -> None:
    hit(limits, "/orders/1/", 10)
    hit(limits, "/orders/2", 10)

    with pytest.raises(Problem):
        hit(limits, "/orders/3/", 1)


@pytest.mark.parametrize("path", ["/register/", "/token", "/token/refresh/", "/token/revoke"])
def test_account_endpoints_get_a_tenth(limits: RateLimits, path: str) -> None:
    hit(limits, path, 2)

    with pytest.raises(Problem):
        hit(limits, path, 1)


def test_groups_do_not_count_against_each_other(limits: RateLimits) -> None:
    hit(limits, "/token/", 2)

    assert hit(limits, "/register/", 1).remaining == 1


@pytest.mark.parametrize(
    ("client", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::99", "2001:db8:1:2::/64"),
        ("testclient", "testclient"),
    ],
)
def test_addresses_of_one_owner_share_a_counter(client: str, counted: str) -> None:
    assert address_key(client) == counted


def test_reading_and_writing_orders_are_two_groups() -> None:
    assert (group_of("GET", "/orders/1/"), group_of("PATCH", "/orders/1/")) == (
        "orders-read",
        "orders-write",
    )


def test_the_number_of_counters_is_bounded(clock: Clock) -> None:
    windows = SharedWindows(now=clock)

    for number in range(RATE_KEYS_MAX + 10):
        windows.incr(str(number), 60)

    assert (windows.get("9"), windows.get("10")) == (0, 1)


@pytest.fixture
def logins(clock: Clock) -> FailedLogins:
    return FailedLogins(SharedWindows(now=clock), clock)


def fail(logins: FailedLogins, times: int) -> None:
    for _ in range(times):
        logins.attempt("ann@example.com")


def wait_s(logins: FailedLogins) -> int:
    """The Retry-After of the next attempt."""
    with pytest.raises(Problem) as caught:
        logins.attempt("ann@example.com")
    assert caught.value.status == 429
    return int(caught.value.headers["Retry-After"])


def test_five_failures_a_minute_then_the_account_waits(logins: FailedLogins, clock: Clock) -> None:
    clock.now = NOON + 10
    fail(logins, 5)

    assert wait_s(logins) == 50


def test_another_account_does_not_wait(logins: FailedLogins) -> None:
    fail(logins, 5)

    logins.attempt("bob@example.com")


def test_the_delay_doubles_with_every_failure_up_to_a_minute(
    logins: FailedLogins, clock: Clock
) -> None:
    fail(logins, 5)
    waits = []
    for minute in range(1, 9):
        clock.now = NOON + minute * 60
        fail(logins, 1)
        waits.append(wait_s(logins))

    assert waits == [2, 4, 8, 16, 32, 60, 60, 60]


def test_no_account_is_locked_for_longer_than_a_minute(logins: FailedLogins, clock: Clock) -> None:
    for minute in range(14):
        clock.now = NOON + minute * 60
        fail(logins, 1)

    clock.now += 60
    logins.attempt("ann@example.com")


@pytest.mark.parametrize("failures", [5, 6])
def test_a_clock_that_is_set_back_locks_no_account(
    logins: FailedLogins, clock: Clock, failures: int
) -> None:
    """A minute or a delay that began an hour in the future does not count."""
    clock.now = NOON + 3_600
    fail(logins, 5)
    clock.now += 60
    fail(logins, failures - 5)

    clock.now = NOON

    fail(logins, 5)


def test_a_success_clears_the_failures(logins: FailedLogins) -> None:
    fail(logins, 5)

    logins.succeeded("ann@example.com")

    fail(logins, 5)
