"""What was measured: figures of several rounds, their ratios, the table and the same as data."""

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
    """One quantity of one contender: a value a round, and beside it whatever else is known.

    `ratios`: by the yardstick's name, the median over the rounds of this value by the yardstick's
    in the same round: what slows a whole round down slows both.
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
        """As HEAD says."""
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
    """The smallest value that so many percent do not pass; `values` may stand in any order. Of none
    it is no number, which is neither more nor less than any other."""
    if not values:
        return math.nan
    ordered = sorted(values)
    place = -(-len(ordered) * percent // 100)  # rounded up
    return ordered[max(0, int(place) - 1)]


def number(value: float) -> str:
    """Three digits that tell something."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they must be; numbers on the right, everything else on the left."""
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
