"""A change of SHOP_TIME_ZONE asks for a replay; after it, reports go by the new days."""

import asyncio
import os
import sys
from datetime import date
from zoneinfo import ZoneInfo

import httpx

from order_service.settings import Settings
from tests.conftest import ROOT
from tests.support.http.accounts import Account
from tests.support.http.queries import get
from tests.support.log.examples import PLACED
from tests.support.read_side.read_side import ReadSide
from tests.support.waiting import WAIT_S

FIRST, LAST = "Pacific/Kiritimati", "Pacific/Pago_Pago"  # 25 hours apart: never the same day
SALES = ("sales_by_day", "sales_by_hour")
NEEDED = [f"Replay needed: run `./entrypoint.sh replay {name}`." for name in SALES]
DAYS = (
    "SELECT s.day FROM read_models.sales_by_day s JOIN read_models m ON m.name = 'sales_by_day' "
    "AND m.live_generation = s.generation"
)


async def word(settings: Settings, zone: str, *argv: str) -> tuple[int | None, str]:
    """Exit code and output of one of the service's words, in a zone."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "order_service.cli", *argv),
        cwd=ROOT,
        env={**os.environ, "DB_NAME": settings.DB_NAME, "SHOP_TIME_ZONE": zone},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), WAIT_S)
    return process.returncode, output.decode()


async def test_a_change_of_the_zone_asks_for_a_replay(
    settings: Settings, read_side: ReadSide, staff: Account, web: httpx.AsyncClient
) -> None:
    await read_side.given(PLACED)
    await read_side.advance()
    [(placed_at,)] = await read_side.rows("SELECT recorded_at FROM events")
    _, unchanged = await word(settings, "UTC", "status")
    days: dict[str, list[tuple[date]]] = {}

    for zone in (FIRST, LAST):
        _, before = await word(settings, zone, "status")
        code, said = await word(settings, zone, "replay", *SALES)
        _, after = await word(settings, zone, "status")

        assert [line for line in NEEDED if line in before] == NEEDED
        assert code == 0, said
        assert not [line for line in NEEDED if line in after]
        days[zone] = await read_side.rows(DAYS)

    refused = await get(web, staff, "/reports/sales/?from=2026-01-01&to=2026-01-02")

    assert not [line for line in NEEDED if line in unchanged]
    assert days == {
        zone: [(placed_at.astimezone(ZoneInfo(zone)).date(),)] for zone in (FIRST, LAST)
    }
    assert days[FIRST] != days[LAST]
    # This process, in UTC, has code for other rows.
    assert refused.json()["type"] == "/problems/projection-lagging"
