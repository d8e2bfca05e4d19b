"""The shop's hours and days: the reports go by the zone SHOP_TIME_ZONE.

In another zone the same log makes other rows. So the zone is part of the version of the read
models that have hours or days, and a change of the setting asks for a replay as new code does. Each
process reads it once.
"""

import os
from datetime import UTC, date, datetime
from zlib import crc32
from zoneinfo import ZoneInfo

ZONE = ZoneInfo(os.environ.get("SHOP_TIME_ZONE") or "UTC")
_ZONES = 2_000_000  # times 1,000 fits the column


def version_here(version: int) -> int:
    """The version of a projection's code together with the zone: `version` itself in UTC."""
    if ZONE.key == "UTC":
        return version
    return (1 + crc32(ZONE.key.encode()) % _ZONES) * 1_000 + version


def day_of(at: datetime) -> date:
    return at.astimezone(ZONE).date()


def hour_of(at: datetime) -> datetime:
    """The start, in UTC, of the shop's hour: by half an hour elsewhere than UTC's in some zones."""
    return at.astimezone(ZONE).replace(minute=0, second=0, microsecond=0).astimezone(UTC)


def start_of_day(at: datetime) -> datetime:
    """The start, in UTC, of the shop's day. The next one is 23 to 25 hours later."""
    local = at.astimezone(ZONE)
    return local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0).astimezone(UTC)
