"""A Markdown page as the tests see it: its fenced blocks, with the mark before each of them.

A mark is an HTML comment, which a reader of the page does not see, directly before a block:

- `<!-- server: WHY -->`: the block starts servers. The test has its own stack running instead.
- `<!-- terminal -->`: the block runs in a terminal of its own until the page ends.
- `<!-- file: NAME -->`: the block is the content of that file.
- `<!-- shown: WHY -->`: the block is an example that nothing runs.

A `sh` block without a mark runs. A block without a language, or of `json`, that follows it is what
it prints, where `...` stands for any text and `plain` evens out what differs from run to run.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", *sorted(DOCS.rglob("*.md")))
_BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>.+?) -->\n\n?)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S
)
_VARYING = (
    (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID"),
    (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"),
    (r"\bA-\d+-[0-9A-Z]\b", "NUMBER"),
    (r"(?<=x-cache: )\w+", "CACHE"),
    (r"generation \d+", "generation N"),
    (r"(?<=: )\d+ rows", "N rows"),
)


@dataclass(frozen=True)
class Block:
    """`mark`: the comment before it, such as `file: shop.py`; empty if there is none."""

    line: int
    language: str
    mark: str
    text: str

    @property
    def kind(self) -> str:
        """Of the mark: `server`, `terminal`, `file`, `shown`, or empty."""
        return self.mark.partition(":")[0]

    @property
    def file(self) -> str:
        return self.mark.partition(": ")[2]

    @property
    def runs(self) -> bool:
        return self.language == "sh" and not self.mark


def blocks(page: Path) -> list[Block]:
    """In the order in which they stand on the page."""
    text = page.read_text()
    return [
        Block(
            text.count("\n", 0, found.start("language")) + 1,
            found["language"],
            found["mark"] or "",
            found["text"],
        )
        for found in _BLOCK.finditer(text)
    ]


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return _BLOCK.sub("", page.read_text())


def expected_outputs(found: list[Block]) -> Iterator[tuple[Block, str]]:
    """Each block that runs and whose output the page shows, with that output."""
    for block, following in pairwise(found):
        if block.runs and following.language in ("", "json") and not following.mark:
            yield block, following.text


def matches(shown: str, printed: str) -> bool:
    """Whether what a page shows is part of what was printed, but for values that vary."""
    parts = [re.escape(part.strip("\n ")) for part in plain(shown).split("...")]
    return re.search(r"\s*.*?\s*".join(parts), plain(printed), re.S) is not None


def plain(text: str) -> str:
    """The text with a fixed word for each value that differs from run to run."""
    text = text.replace("\r", "")
    for pattern, word in _VARYING:
        text = re.sub(pattern, word, text)
    return text
