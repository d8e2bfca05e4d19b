"""Hours and days of the shop, across changes of its clocks."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from projections.read_models import shop_time


@pytest.fixture
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shop_time, "ZONE", ZoneInfo(request.param))


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-{text}").replace(tzinfo=UTC)


@pytest.mark.parametrize("zone", ["America/New_York"], indirect=True)
@pytest.mark.usefixtures("zone")
@pytest.mark.parametrize(
    ("instant", "day", "starts"),
    [
        ("03-02 04:30", date(2026, 3, 1), "03-01 05:00"),  # 23:30 there
        ("03-02 05:00", date(2026, 3, 2), "03-02 05:00"),
        ("03-09 03:59", date(2026, 3, 8), "03-08 05:00"),  # a day of 23 hours
        ("03-09 04:00", date(2026, 3, 9), "03-09 04:00"),
        ("11-02 04:59", date(2026, 11, 1), "11-01 04:00"),  # a day of 25 hours
        ("11-02 05:00", date(2026, 11, 2), "11-02 05:00"),
    ],
)
def test_an_instant_lies_in_the_shop_s_day(instant: str, day: date, starts: str) -> None:
    assert shop_time.day_of(at(instant)) == day
    assert shop_time.start_of_day(at(instant)) == at(starts)


@pytest.mark.parametrize(
    ("zone", "instant", "starts"),
    [
        ("UTC", "03-01 12:59", "03-01 12:00"),
        ("Asia/Kolkata", "03-01 12:29", "03-01 11:30"),
        ("Asia/Kathmandu", "03-01 12:15", "03-01 12:15"),
        ("America/New_York", "11-01 05:30", "11-01 05:00"),  # 1:30, the first time
        ("America/New_York", "11-01 06:30", "11-01 06:00"),  # 1:30, the second time
    ],
    indirect=["zone"],
)
@pytest.mark.usefixtures("zone")
def test_an_hour_begins_where_the_shop_s_clock_shows_it(instant: str, starts: str) -> None:
    assert shop_time.hour_of(at(instant)) == at(starts)


@pytest.mark.parametrize("zone", ["Australia/Lord_Howe", "Europe/Berlin"], indirect=True)
@pytest.mark.usefixtures("zone")
def test_hours_never_go_back(zone: None) -> None:
    instants = [at("01-01 00:00") + n * timedelta(minutes=15) for n in range(4 * 24 * 365)]
    hours = [shop_time.hour_of(instant) for instant in instants]

    assert hours == sorted(hours)
    assert all(
        timedelta(0) <= i - h < timedelta(hours=2) for i, h in zip(instants, hours, strict=True)
    )


def test_another_zone_is_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shop_time.version_here(2) == 2
    versions = set()
    for zone in ("UTC", "Europe/Berlin", "Asia/Tokyo"):
        monkeypatch.setattr(shop_time, "ZONE", ZoneInfo(zone))
        versions |= {shop_time.version_here(2), shop_time.version_here(3)}

    assert len(versions) == 6
    assert max(versions) < 2**31
