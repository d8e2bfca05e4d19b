"""The results: figures of several rounds, their ratios, and the table."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

HEAD = (
    *("figure", "of", "unit", "median", "min", "max", "x bare", "x thin"),
    *("p50 ms", "p99 ms", "CPU s/1,000"),
)


@dataclass(frozen=True)
class Figure:
    """One quantity of one contender: a value a round, with further values of the same rounds.

    `ratios`: by the yardstick's name, the median over the rounds of this value divided by the
    yardstick's in the same round: a disturbance of a whole round slows both.
    """

    name: str
    unit: str
    values: tuple[float, ...]
    of: str = "ours"
    p50_ms: tuple[float, ...] = ()
    p99_ms: tuple[float, ...] = ()
    cpu_s_per_1000: tuple[float, ...] = ()
    cpu_s_per_1000_by_role: dict[str, float] = field(default_factory=dict)
    ratios: dict[str, float] = field(default_factory=dict)
    note: str = ""

    def row(self) -> tuple[str, ...]:
        """The cells of the columns of HEAD."""
        return (
            *(self.name, self.of, self.unit),
            *(number(value) for value in (median(self.values), min(self.values), max(self.values))),
            *(f"{self.ratios[y]:.2f}" if y in self.ratios else "" for y in ("bare", "thin")),
            *(number(median(v)) if v else "" for v in (self.p50_ms, self.p99_ms)),
            f"{median(self.cpu_s_per_1000):.2f}" if self.cpu_s_per_1000 else "",
        )

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "median": median(self.values)}


def paired(ours: Sequence[float], yardstick: Sequence[float]) -> float:
    """The median of the rounds' ratios."""
    return median(mine / other for mine, other in zip(ours, yardstick, strict=True))


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of `values`, in any order, that `percent` percent of them do not exceed. NaN if
    there are none: it compares false with every limit.
    """
    if not values:
        return math.nan
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)  # rounded up
    return ordered[max(0, int(rank) - 1)]


def number(value: float) -> str:
    """A short decimal number: about three significant digits."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their content, numbers on the right, other cells on the left."""
    lines = [tuple(head), *map(tuple, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    numeric = [
        all(not row[i] or row[i][0] in "-0123456789" for row in rows) for i in range(len(head))
    ]

    def shown(line: Sequence[str]) -> str:
        cells = zip(line, widths, numeric, strict=True)
        return "  ".join(c.rjust(w) if n else c.ljust(w) for c, w, n in cells).rstrip()

    rule = tuple("-" * width for width in widths)
    return "\n".join(map(shown, (lines[0], rule, *lines[1:])))


def report(figures: Sequence[Figure]) -> str:
    notes = [f"{f.name}: {f.note}" for f in figures if f.note]
    return "\n".join([table(HEAD, [figure.row() for figure in figures]), *dict.fromkeys(notes)])
