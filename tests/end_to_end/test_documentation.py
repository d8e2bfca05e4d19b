"""Every shell block of the pages that lead a reader through the service, run as it stands."""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.documentation.page import DOCS, ROOT, blocks, expected_outputs, matches
from tests.support.documentation.session import clone, run
from tests.support.servers.stack import Stack, new_stack

README = ROOT / "README.md"
INTEGRATE = DOCS / "integrate.md"
NODE = shutil.which("node")


@pytest.fixture(scope="module")
def fresh_stack() -> Iterator[Stack]:
    """A whole service that nothing else uses, as `up` leaves it, but for its rate limit: the pages
    are read by people, who take longer."""
    with new_stack(RATE_LIMIT="1000000/minute") as stack, stack.up():
        yield stack


@pytest.mark.parametrize(
    "page", [README, DOCS / "tutorial.md", DOCS / "desk.md"], ids=lambda page: page.name
)
def test_every_block_runs_and_prints_what_the_page_shows(
    page: Path, fresh_stack: Stack, tmp_path: Path
) -> None:
    check(page, fresh_stack, tmp_path, without=())


def test_the_code_that_integrates_runs_and_prints_what_the_page_shows(
    fresh_stack: Stack, tmp_path: Path
) -> None:
    check(INTEGRATE, fresh_stack, tmp_path, without=() if NODE else ("node ",))


@pytest.mark.skipif(NODE is None, reason="this machine has no Node")
def test_the_code_for_node_is_javascript(tmp_path: Path) -> None:
    scripts = [block for block in blocks(INTEGRATE) if block.file.endswith(".mjs")]
    for script in scripts:
        (tmp_path / script.file).write_text(script.text)

    checked = {
        script.file: subprocess.run(
            [str(NODE), "--check", script.file], cwd=tmp_path, capture_output=True, text=True
        ).stderr
        for script in scripts
    }

    assert checked == {"shop.mjs": "", "consume.mjs": ""}


def check(page: Path, stack: Stack, folder: Path, *, without: tuple[str, ...]) -> None:
    """Runs the page's blocks but those whose text begins with one of `without`, and compares what
    they print."""
    found = [
        replace(block, mark="shown") if block.runs and block.text.startswith(without) else block
        for block in blocks(page)
    ]
    clone(folder, stack)

    printed = run(found, folder, stack)

    expected = list(expected_outputs(found))
    assert expected
    for block, shown in expected:
        assert matches(shown, printed[block.line]), (
            f"{page.name}, line {block.line}: the page shows\n{shown}\nand the block printed\n"
            f"{printed[block.line]}"
        )
