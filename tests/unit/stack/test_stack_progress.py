"""What a long step of the stack prints."""

import re
import threading
from pathlib import Path

import pytest

from order_service.stack.progress import show_progress, size_bytes


def test_a_long_step_shows_its_progress_and_its_result(tmp_path: Path) -> None:
    lines: list[str] = []
    reported = threading.Event()

    def report(line: str) -> None:
        lines.append(line)
        reported.set()

    with show_progress("PostgreSQL: fetching", tmp_path, report, interval_s=0.001):
        (tmp_path / "one").write_bytes(bytes(1_500_000))
        reported.clear()
        assert reported.wait(10)

    assert re.fullmatch(r"  PostgreSQL: fetching \.\.\. +\d+\.\d s +\d\.\d MB on disk", lines[0])
    assert re.fullmatch(r"PostgreSQL: fetching +\d+\.\d s +1\.5 MB on disk", lines[-1])


def test_a_failed_step_prints_no_result(tmp_path: Path) -> None:
    lines: list[str] = []

    with pytest.raises(OSError, match="full"), show_progress("unpacking", tmp_path, lines.append):
        raise OSError("full")

    assert lines == []


def test_a_folder_is_as_large_as_all_files_in_it(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner/a").write_bytes(bytes(10))
    (tmp_path / "b").write_bytes(bytes(5))
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")

    assert size_bytes(tmp_path) == 15 + (tmp_path / "gone").lstat().st_size
