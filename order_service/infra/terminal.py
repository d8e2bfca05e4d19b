"""Tables for people at a terminal. Pure; imports nothing of ours."""

from collections.abc import Iterable, Sequence


def aligned(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """One line a row, cells below their heads; columns of nothing but numbers to the right. What is
    None is shown as `-`, and no cell can end its line or speak to the terminal."""
    found = [list(row) for row in rows]
    texts = [list(heads), *([_text(cell) for cell in row] for row in found)]
    columns = range(len(heads))
    widths = [max(len(line[i]) for line in texts) for i in columns]
    numbers = [all(isinstance(row[i], int | float | None) for row in found) for i in columns]
    return "\n".join(
        "  ".join(
            line[i].rjust(widths[i]) if numbers[i] else line[i].ljust(widths[i]) for i in columns
        ).rstrip()
        for line in texts
    )


def _text(cell: object) -> str:
    if cell is None:
        return "-"
    text = str(cell)
    return text if text.isprintable() else text.encode("unicode_escape").decode()
