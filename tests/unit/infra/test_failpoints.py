"""Failpoints are off by default, and refused outside tests."""

import re
from pathlib import Path
from typing import get_args

import pytest

from order_service.infra import failpoints
from order_service.infra.failpoints import FailpointReached, Window, make_reach

ROOT = Path(__file__).parents[3]
CALL = re.compile(r'failpoints\.reach\("(.*)"\)')


def on(folder: Path) -> dict[str, str]:
    return {"FAILPOINTS": str(folder), "FAILPOINTS_IN_TESTS": "yes"}


async def test_failpoints_are_off_by_default(tmp_path: Path) -> None:
    (tmp_path / "relay-read").write_text("raise")

    await make_reach({"FAILPOINTS_IN_TESTS": "yes"})("relay-read")

    assert make_reach({}) is failpoints.reach


@pytest.mark.parametrize("more", [{}, {"FAILPOINTS_IN_TESTS": ""}, {"FAILPOINTS_IN_TESTS": "no"}])
def test_no_process_starts_with_failpoints_outside_tests(more: dict[str, str]) -> None:
    with pytest.raises(SystemExit, match="unset it"):
        make_reach({"FAILPOINTS": "anything"} | more)


async def test_a_failpoint_acts_once(tmp_path: Path) -> None:
    reach = make_reach(on(tmp_path))
    (tmp_path / "relay-read").write_text("raise")

    await reach("relay-moved")
    with pytest.raises(FailpointReached, match="relay-read"):
        await reach("relay-read")
    await reach("relay-read")


async def test_an_unknown_action_raises(tmp_path: Path) -> None:
    (tmp_path / "relay-read").write_text("explode")

    with pytest.raises(ValueError, match="explode"):
        await make_reach(on(tmp_path))("relay-read")


def test_the_code_and_the_tests_have_the_same_failpoints() -> None:
    sources = [*ROOT.glob("order_service/**/*.py"), *ROOT.glob("projections/**/*.py")]
    found = {name for source in sources for name in CALL.findall(source.read_text())}
    tested = (ROOT / "tests/faults/test_crash_windows.py").read_text()

    assert found == set(get_args(Window))
    assert all(f'"{window}"' in tested for window in found)
