"""The documentation names only existing things, and its links have targets."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from order_service import cli, limits
from order_service.main import create_app
from order_service.settings import Settings
from order_service.stack.__main__ import CLI_WORDS, WORDS
from tests.support.documentation.page import (
    DOCS,
    PAGES,
    ROOT,
    blocks,
    expected_outputs,
    matches,
    plain,
    prose,
)

README = ROOT / "README.md"
WALKS = (README, DOCS / "tutorial.md", DOCS / "desk.md", DOCS / "integrate.md")
README_LINES_MAX = 200
STARTS_SERVERS = re.compile(r"^(\w+=\S+ )?\./entrypoint\.sh (up|test|bench|faults|fuzz)\b")
KINDS = {"", "server", "terminal", "file", "shown"}
UNITS = {"KiB": 1024, "MiB": 1024**2}
page_of = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def named(page: Path) -> list[str]:
    """The texts in backticks outside of the page's code blocks."""
    return re.findall(r"`([^`\n]+)`", prose(page))


def anchors(page: Path) -> set[str]:
    """As GitHub names headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def rows(page: str, *, heading: str) -> dict[str, str]:
    """The first two columns of the table in the section with that heading."""
    text = (DOCS / page).read_text()
    section = re.split(r"^## ", text.partition(f"\n## {heading}\n")[2], flags=re.MULTILINE)[0]
    found = re.findall(r"^\| `([^`]+)` \| (.*?) \|", section, re.MULTILINE)
    assert len(found) == len(dict(found)), "a row is repeated"
    return dict(found)


# --- the pages ------------------------------------------------------------------------------------


def test_the_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= README_LINES_MAX


def test_the_readme_lists_every_page() -> None:
    linked = set(re.findall(r"\]\(([^)#]+)\)", README.read_text()))

    pages = {str(page.relative_to(ROOT)) for page in DOCS.glob("*.md")}
    assert {link for link in linked if link.endswith(".md")} == pages | {"docs/decisions/README.md"}


def test_every_decision_is_listed() -> None:
    pages = {page.name for page in (DOCS / "decisions").glob("0*.md")}

    listed = re.findall(r"\((\d{4}-[\w-]+\.md)\)", (DOCS / "decisions/README.md").read_text())
    assert sorted(listed) == sorted(pages)
    for page in pages:
        headings = re.findall(r"^## (.+)$", (DOCS / "decisions" / page).read_text(), re.MULTILINE)
        assert headings == ["Context", "Decision", "Consequences"], page


@page_of
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@page_of
def test_every_named_file_exists(page: Path) -> None:
    made = {".local", ".venv"}  # by running it, so not in every clone
    tops = {path.name for path in ROOT.iterdir() if path.is_dir()} - made
    for name in named(page):
        if re.fullmatch(r"[\w./-]+", name) and name.split("/")[0] in tops and "/" in name:
            assert (ROOT / name).exists(), name


@page_of
def test_every_named_setting_and_limit_exists(page: Path) -> None:
    known = {*Settings.model_fields, *vars(limits), "SCHEMA_VERSION", "RECORD_EXAMPLES"}
    values = {"PARTIALLY_REFUNDED"}
    names = {name for name in named(page) if re.fullmatch(r"[A-Z]+(_[A-Z]+)+", name)}

    assert names - known - values == set()


@page_of
def test_every_named_word_exists(page: Path) -> None:
    texts = [*named(page), *(block.text for block in blocks(page))]
    words = [word for text in texts for word in re.findall(r"\./entrypoint\.sh ([a-z-]+)", text)]

    assert set(words) <= {*WORDS, *CLI_WORDS}


# --- tables against the code ----------------------------------------------------------------------


def test_the_words_are_those_of_the_command_line() -> None:
    documented = set(rows("operate.md", heading="Words"))

    assert documented == {*WORDS, *CLI_WORDS}
    assert set(CLI_WORDS) == set(cli.WORDS)


def test_the_settings_are_those_of_the_code_with_their_defaults() -> None:
    tables = [
        rows("settings.md", heading=heading)
        for heading in ("Servers", "The service", "Processes and telemetry")
    ]
    documented = {name: value for table in tables for name, value in table.items()}

    assert set(documented) == set(Settings.model_fields)
    for name, text in documented.items():
        assert default_of(name, text) == text, name


def default_of(name: str, text: str) -> str:
    """The setting's default as the table writes it; a duration may be written in several ways."""
    field = Settings.model_fields[name]
    if field.is_required():
        return "-"
    default = field.default
    if isinstance(default, timedelta):
        same = TypeAdapter(timedelta).validate_python(text) == default
        return text if same else str(default)
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, tuple):
        return ",".join(default) or "empty"
    return "empty" if default in (None, "") else str(default)


def test_the_limits_are_those_of_the_code() -> None:
    documented = rows("settings.md", heading="Limits")

    assert {name: amount(value) for name, value in documented.items()} == {
        name: getattr(limits, name) for name in documented
    }


def amount(value: str) -> float:
    number, _, unit = value.replace(",", "").partition(" ")
    return float(number) * UNITS.get(unit, 1)


def test_the_operations_are_those_of_the_contract() -> None:
    settings = Settings.model_validate(
        {
            "DB_PASSWORD": "none",
            "RABBITMQ_USER": "none",
            "RABBITMQ_PASSWORD": "none",
            "SECRET_KEY": "Zq3vT8wLr6YpXs1NcKd5HbJm0GfAe2Ui",
        }
    )
    paths = create_app(settings).openapi()["paths"]
    contract = {f"{method.upper()} {path}" for path, found in paths.items() for method in found}
    pattern = re.compile(r"(?:GET|POST|PUT|PATCH|DELETE) /[\w/{}-]*")

    for page in PAGES:
        documented = {name for name in named(page) if pattern.fullmatch(name)}
        assert documented <= contract | {"GET /metrics"}, page
    in_table = {name for name in named(DOCS / "http.md") if pattern.fullmatch(name)}
    returns = {name for name in contract if "/returns/{return_id}/" in name}
    assert contract - returns - in_table == set()


# --- marks of blocks, which the end-to-end tests use ----------------------------------------------


@page_of
def test_marks_are_known_and_only_server_starts_are_left_out_of_walks(page: Path) -> None:
    for block in blocks(page):
        assert block.kind in KINDS, block.mark
        if page in WALKS and block.language == "sh" and block.kind == "server":
            assert all(STARTS_SERVERS.match(line) for line in block.text.splitlines()), block.text
        if page in (README, DOCS / "tutorial.md", DOCS / "desk.md"):
            assert block.kind in ("", "server", "terminal"), block.mark
        if block.language == "sh" and page not in WALKS:
            assert block.mark, f"{page.name}, line {block.line}: nothing runs this block"


def test_blocks_are_found_with_their_marks_and_outputs(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# Page\n\n<!-- server: there is one -->\n```sh\n./entrypoint.sh up\n```\n\n"
        "```sh\necho one\n```\n```\none\n```\n\n<!-- file: two.py -->\n```python\nprint(2)\n```\n"
    )

    found = blocks(page)

    assert [(block.line, block.language, block.kind, block.runs) for block in found] == [
        (4, "sh", "server", False),
        (8, "sh", "", True),
        (11, "", "", False),
        (16, "python", "file", False),
    ]
    assert [(block.text, text) for block, text in expected_outputs(found)] == [
        ("echo one\n", "one\n")
    ]
    assert "echo" not in prose(page)


@pytest.mark.parametrize(
    ("shown_text", "printed", "same"),
    [
        ("one\n...\nthree\n", "one\ntwo\nthree\n", True),
        ("one\nthree\n", "one\ntwo\nthree\n", False),
        ("one\n...\nfour\n", "one\ntwo\nthree\n", False),
        (
            '{"id":"5d341507-0f58-475b-9b93-9ec7302808d9"}',
            '{"id":"39c58e27-95c5-4943-ac11-38e90088d8af"}',
            True,
        ),
        ('{"total":"9.99", ...}', '{"total":"9.98","version":1}', False),
        ('[{"n":"A-7-5", ... "version":7, ...}]', '[{"n":"A-12-X","version":7,"a":1}]', True),
    ],
)
def test_the_comparison_ignores_varying_values(shown_text: str, printed: str, same: bool) -> None:
    assert matches(shown_text, printed) is same


def test_plain_text_contains_no_varying_values() -> None:
    text = "A-17-4 at 2026-12-01T03:49:32.993096Z, x-cache: miss, generation 12\r\n"

    assert plain(text) == "NUMBER at TIME, x-cache: CACHE, generation N\n"
