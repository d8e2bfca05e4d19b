"""What a process counts, in plain numbers.

Not prometheus_client's own: its objects lock and look up a child at each call, and to import it
takes 7 MB of each process. A cached order is answered in 90 us; to count it here takes well under
one. What is counted is bounded by the labels, so these are names of ours (route templates,
never paths). Each instrument is counted in by one thread; any thread may read.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, Literal, NamedTuple

Labels = tuple[object, ...]
# Seconds: of an answer, an append, a task.
SECONDS: Final = (
    *(0.00025, 0.0005),  # a cached order's
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
# Of things that go together.
SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Sample(NamedTuple):
    """`suffix`: to the family's name. `labels`: name and value of each."""

    suffix: str
    labels: tuple[tuple[str, object], ...]
    value: float


class Family:
    """All of one name. `names`: of the labels."""

    def __init__(
        self, name: str, kind: Literal["counter", "gauge", "histogram"], meaning: str, *names: str
    ) -> None:
        self.name = name
        self.kind = kind
        self.meaning = meaning
        self.names = names

    def samples(self) -> Iterator[Sample]:
        raise NotImplementedError

    def _named(self, labels: Labels) -> tuple[tuple[str, object], ...]:
        return tuple(zip(self.names, labels, strict=True))


class Counter(Family):
    """Goes up only. `values`: by the values of its labels."""

    def __init__(self, name: str, meaning: str, *names: str) -> None:
        super().__init__(name, "counter", meaning, *names)
        self.values: dict[Labels, float] = {} if names else {(): 0}

    def count(self, *labels: object) -> None:
        self.values[labels] = self.values.get(labels, 0) + 1

    def add(self, amount: float, *labels: object) -> None:
        self.values[labels] = self.values.get(labels, 0) + amount

    def samples(self) -> Iterator[Sample]:
        for labels, value in list(self.values.items()):
            yield Sample("", self._named(labels), value)


class Histogram(Family):
    """How often a value was at most each of `bounds`. `values`: by the values of its labels, how
    many fell between two bounds, one more for those above all of them, and last their sum."""

    def __init__(self, name: str, meaning: str, bounds: tuple[float, ...], *names: str) -> None:
        super().__init__(name, "histogram", meaning, *names)
        self.bounds = bounds
        self.values: dict[Labels, list[float]] = {}
        if not names:
            self.values[()] = self._nothing()

    def observe(self, value: float, *labels: object) -> None:
        found = self.values.get(labels)
        if found is None:
            found = self.values[labels] = self._nothing()
        found[bisect_left(self.bounds, value)] += 1
        found[-1] += value

    def count(self) -> int:
        """Of all values, whatever their labels."""
        return int(sum(sum(found[:-1]) for found in list(self.values.values())))

    def _nothing(self) -> list[float]:
        return [0] * (len(self.bounds) + 2)

    def samples(self) -> Iterator[Sample]:
        for labels, found in list(self.values.items()):
            *counts, total = found
            named, so_far = self._named(labels), 0.0
            for bound, count in zip((*self.bounds, float("inf")), counts, strict=True):
                so_far += count
                yield Sample("_bucket", (*named, ("le", bound)), so_far)
            yield Sample("_sum", named, total)
            yield Sample("_count", named, so_far)


class Gauge(Family):
    """What is so now: `read` is asked whenever somebody wants to know, and tells nothing where
    there is nothing to tell."""

    def __init__(self, name: str, meaning: str, *names: str) -> None:
        super().__init__(name, "gauge", meaning, *names)
        self.read: Callable[[], Mapping[Labels, float]] = dict

    def reads(self, read: Callable[[], float]) -> None:
        """The value without labels, from now on."""
        self.read = lambda: {(): read()}

    def samples(self) -> Iterator[Sample]:
        for labels, value in self.read().items():
            yield Sample("", self._named(labels), value)


def text(families: Iterable[Family]) -> str:
    """The text format of Prometheus, version 0.0.4; without the families that say nothing."""
    lines: list[str] = []
    for family in families:
        samples = [
            f"{family.name}{suffix}{_labels(labels)} {_number(value)}"
            for suffix, labels, value in family.samples()
        ]
        if samples:
            head = (f"# HELP {family.name} {family.meaning}", f"# TYPE {family.name} {family.kind}")
            lines += (*head, *samples)
    return "".join(f"{line}\n" for line in lines)


def _labels(labels: tuple[tuple[str, object], ...]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_label(value)}"' for name, value in labels) + "}"


def _label(value: object) -> str:
    if isinstance(value, float):
        return _number(value)
    return str(value).replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if value == int(value) else repr(float(value))
