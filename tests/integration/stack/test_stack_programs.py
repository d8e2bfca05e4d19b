"""Where programs are looked for, in which order, and what is said when there are none."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from order_service.stack import packages
from order_service.stack.programs import POSTGRESQL, REDIS, find, on_machine, postgresql_major
from order_service.stack.state import ROOT, StackError

WORDS = (
    "up",
    "ps",
    "env",
    "logs",
    "reset",
    "test",
    "bench",
    "help",
    "web",
    "replay",
    "dead-letters",
)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user may enter, the servers' user too."""
    path = Path(tempfile.mkdtemp(prefix="order-service-programs-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def install(folder: Path, version: str) -> Path:
    """A PostgreSQL that only knows its version."""
    folder.mkdir(parents=True)
    for name in ("postgres", "initdb"):
        (folder / name).write_text(f"#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n")
        (folder / name).chmod(0o755)
    return folder


def test_path_comes_before_the_usual_folders_and_there_the_newest_first(folder: Path) -> None:
    usual = [install(folder / f"usual/{version}/bin", f"{version}.1") for version in (9, 17, 16)]
    linked = folder / "path"
    linked.mkdir()
    real = install(folder / "real/bin", "15.2")
    (linked / "postgres").symlink_to(real / "postgres")
    (linked / "initdb").symlink_to(real / "initdb")
    wanted = replace(POSTGRESQL, usual=(f"{folder}/usual/*/bin",))

    found = [programs.folder for programs in on_machine(wanted, [str(linked)])]

    assert found == [real, usual[1], usual[2], usual[0]]


def test_half_an_installation_is_passed_over(folder: Path) -> None:
    (install(folder / "bin", "17.1") / "initdb").unlink()

    assert list(on_machine(replace(POSTGRESQL, usual=()), [str(folder / "bin")])) == []


def test_a_folder_in_path_that_cannot_be_looked_into_is_passed_over(folder: Path) -> None:
    """Here one with a name that no system takes; for an ordinary user, root's own folders are."""
    there = install(folder / "bin", "17.1")

    found = list(on_machine(replace(POSTGRESQL, usual=()), ["/" + "x" * 5_000, str(there)]))

    assert [programs.folder for programs in found] == [there]


def test_versions_that_are_too_old_give_way_to_the_wheel(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(install(folder / "bin", "14.9")))

    found = find(replace(POSTGRESQL, usual=()), print)

    assert postgresql_major(found) >= 18
    assert "embedded" in str(found.folder)


def test_what_cannot_be_had_ends_in_one_message_that_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setenv("PATH", str(folder))
    nowhere = replace(REDIS, usual=(), wheel=None, package="no-such-redis")

    with pytest.raises(StackError) as error:
        find(nowhere, print)

    assert "Redis is missing: no valkey-server or redis-server on PATH" in str(error.value)
    assert "apt-get install no-such-redis" in str(error.value)
    assert "REDIS_HOST" in str(error.value)
    assert "docker compose up --build" in str(error.value)


def test_a_folder_is_filled_whole_or_not_at_all_and_once(folder: Path) -> None:
    target = folder / "cache/thing"

    def fail_half_way(unfinished: Path) -> None:
        (unfinished / "half").touch()
        raise StackError("no network")

    with pytest.raises(StackError):
        packages.fill_once(target, fail_half_way)
    assert not target.exists()

    packages.fill_once(target, lambda unfinished: (unfinished / "whole").touch())
    packages.fill_once(target, fail_half_way)  # not called any more

    assert [path.name for path in target.iterdir()] == ["whole"]
    assert sorted(path.name for path in target.parent.iterdir()) == [".lock", "thing"]


@pytest.mark.parametrize("arguments", [(), ("fly",)])
def test_an_unknown_word_is_an_error_that_lists_them(arguments: tuple[str, ...]) -> None:
    done = subprocess.run([ROOT / "entrypoint.sh", *arguments], capture_output=True, text=True)

    assert done.returncode == 2
    assert all(f" {word}" in done.stderr for word in WORDS)


def test_help_explains_every_word() -> None:
    done = subprocess.run([ROOT / "entrypoint.sh", "help"], capture_output=True, text=True)

    assert done.returncode == 0
    assert all(word in done.stdout for word in WORDS)


def test_a_command_without_a_stack_says_how_to_start_one(tmp_path: Path) -> None:
    done = subprocess.run(
        [ROOT / "entrypoint.sh", "ps", "--state", tmp_path / "none"], capture_output=True, text=True
    )

    assert done.returncode == 1
    assert "./entrypoint.sh up" in done.stderr
