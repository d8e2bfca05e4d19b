"""What a shell offers after each word, as bash itself says it."""

import subprocess
from pathlib import Path

from order_service import cli
from order_service.completion import script
from order_service.stack.__main__ import CLI_WORDS, WORDS

OFFERED = """
source "$1"; shift
for line in "$@"; do
    read -ra COMP_WORDS <<< "./entrypoint.sh $line"
    [[ $line == *" " ]] && COMP_WORDS+=("")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _order_service
    echo "${COMPREPLY[*]}"
done
"""


def test_tab_offers_words_options_and_values(tmp_path: Path) -> None:
    printed = tmp_path / "completion.bash"
    printed.write_text(script("bash", tuple(WORDS)))
    lines = ("de", "dea", "orders ", "orders list --st", "create-user ada@example.com --role ")
    more = ("dead-letters show o", "orders diff A-1-2 --j", "up", "completion ")

    offered = subprocess.run(
        ["bash", "-c", OFFERED, "bash", str(printed), *lines, *more],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()

    assert offered == [
        "demo dead-letters",
        "dead-letters",
        "--help list show at diff events --state",
        "--status --state",
        "customer staff admin",
        "order_view",
        "--json",
        "up",
        "bash zsh",
    ]


def test_the_entry_point_knows_every_word_of_the_command_line() -> None:
    assert set(CLI_WORDS) == set(cli.WORDS)
