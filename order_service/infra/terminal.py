"""Plain text tables for terminals."""

from collections.abc import Iterable, Sequence


def aligned(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """The table as text, one line per row, with aligned columns; columns of numbers are
    right-aligned. None is shown as `-`. Control characters are escaped: a cell cannot break its
    line or send commands to the terminal."""
    cells = [list(row) for row in rows]
    texts = [list(heads), *([printable(cell) for cell in row] for row in cells)]
    columns = range(len(heads))
    widths = [max(len(line[i]) for line in texts) for i in columns]
    numbers = [all(isinstance(row[i], int | float | None) for row in cells) for i in columns]
    return "\n".join(
        "  ".join(
            line[i].rjust(widths[i]) if numbers[i] else line[i].ljust(widths[i]) for i in columns
        ).rstrip()
        for line in texts
    )


def printable(cell: object) -> str:
    """The cell as text that cannot command a terminal or break its line."""
    if cell is None:
        return "-"
    text = str(cell)
    return text if text.isprintable() else text.encode("unicode_escape").decode()
