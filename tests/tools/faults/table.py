"""The results of the runs as a table."""

from collections.abc import Sequence

from tests.tools.faults.engine import Result

_HEADS = (
    *("row", "runs", "acknowledged", "unknown", "lost", "doubled", "stale reads"),
    *("recovery s", "", "fault"),
)


def table(results: Sequence[Result]) -> str:
    lines = [_HEADS, *map(_cells, results)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADS))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in (0, 8, 9) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _cells(result: Result) -> tuple[str, ...]:
    numbers = (
        *(result.runs, result.acknowledged, result.unknown),
        *(result.lost, result.doubled, result.stale),
    )
    recovered, verdict = f"{result.recovery_s:.1f}", "BROKEN" if result.broken else "ok"
    return (result.row, *map(str, numbers), recovered, verdict, result.title)
