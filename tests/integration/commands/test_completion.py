"""What a shell offers after each word, as bash itself says it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from order_service import cli
from order_service.stack.__main__ import CLI_WORDS, WORDS
from tests.conftest import ROOT

# Asks the function that the script registers, as bash does on Tab.
OFFERED = """
source "$1"; shift
registered=$(complete -p entrypoint.sh)
[[ $registered =~ -F\\ ([^ ]+) ]] && function=${BASH_REMATCH[1]}
for line in "$@"; do
    read -ra COMP_WORDS <<< "./entrypoint.sh $line"
    [[ $line == *" " ]] && COMP_WORDS+=("")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    "$function"
    echo "${COMPREPLY[*]}"
done
"""


def printed(shell: str) -> str:
    """As `entrypoint.sh` prints it: without settings, and without anything that listens."""
    return subprocess.run(
        [sys.executable, "-m", "order_service.stack", "completion", shell],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    script = tmp_path_factory.mktemp("completion") / "completion.bash"
    script.write_text(printed("bash"))
    return script


def offered(script: Path, line: str) -> set[str]:
    asked = ["bash", "-c", OFFERED, "bash", str(script), line]
    answer = subprocess.run(asked, capture_output=True, text=True, check=True, cwd=ROOT)
    return set(answer.stdout.split())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("de", {"demo", "dead-letters"}),
        ("dea", {"dead-letters"}),
        ("orders ", {"list", "show", "at", "diff", "events"}),
        ("orders -", {"-h", "--help", "--state"}),
        ("orders list --st", {"--status", "--state"}),
        ("orders diff A-1-2 --j", {"--json"}),
        ("create-user ada@example.com --role ", {"customer", "staff", "admin"}),
        ("dead-letters show o", {"order_view"}),
        ("up", {"up"}),
        ("up --", {"--help", "--port", "--state"}),
        ("logs -", {"-h", "--help", "-f", "--follow", "--state"}),
        ("test --", {"--help"}),
        ("test tests/uni", {"tests/unit"}),
        ("status --state order_serv", {"order_service"}),
        ("completion ", {"bash", "zsh"}),
    ],
)
def test_tab_offers_words_options_and_values(script: Path, line: str, words: set[str]) -> None:
    assert offered(script, line) == words


def test_tab_offers_every_word(script: Path) -> None:
    assert offered(script, " ") == {*CLI_WORDS, *WORDS}


def test_zsh_reads_its_script(tmp_path: Path) -> None:
    script = printed("zsh")

    assert script.startswith("#compdef entrypoint.sh\n")
    assert [word for word in (*CLI_WORDS, *WORDS) if f"    {word}:'" not in script] == []
    if zsh := shutil.which("zsh"):  # where there is one
        (tmp_path / "_entrypoint.sh").write_text(script)
        assert subprocess.run([zsh, "-n", str(tmp_path / "_entrypoint.sh")]).returncode == 0


def test_a_shell_that_is_unknown_is_refused() -> None:
    refused = subprocess.run(
        [sys.executable, "-m", "order_service.stack", "completion", "fish"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    assert refused.returncode == 2
    assert "choose from" in refused.stderr


def test_the_entry_point_knows_every_word_of_the_command_line() -> None:
    assert set(CLI_WORDS) == set(cli.WORDS)
