"""What is counted, as Prometheus reads it: the reader here is its own Python library's."""

import re

from prometheus_client.parser import text_string_to_metric_families

from order_service.telemetry.instruments import Counter, Gauge, Histogram, text
from order_service.telemetry.metrics import FAMILIES


def read(*families: Counter | Gauge | Histogram) -> dict[tuple[str, tuple[str, ...]], float]:
    """By name and the values of the labels."""
    found = text_string_to_metric_families(text(families))
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in found
        for sample in family.samples
    }


def test_a_counter_counts_by_its_labels() -> None:
    counter = Counter("reads_total", "Reads.", "cache")
    counter.count("hit")
    counter.count("hit")
    counter.add(5, "miss")

    assert read(counter) == {("reads_total", ("hit",)): 2, ("reads_total", ("miss",)): 5}


def test_a_histogram_tells_how_many_were_at_most_each_bound_and_their_sum() -> None:
    histogram = Histogram("took_seconds", "Time.", (0.5, 1.0), "task")
    for value in (0.25, 0.5, 0.75, 4.0):
        histogram.observe(value, "a")

    assert read(histogram) == {
        ("took_seconds_bucket", ("a", "0.5")): 2,
        ("took_seconds_bucket", ("a", "1")): 3,
        ("took_seconds_bucket", ("a", "+Inf")): 4,
        ("took_seconds_sum", ("a",)): 5.5,
        ("took_seconds_count", ("a",)): 4,
    }


def test_a_gauge_is_what_it_reads_and_absent_where_it_reads_nothing() -> None:
    known, unknown = Gauge("open", "Open."), Gauge("lag", "Lag.", "name")
    known.reads(lambda: 7)

    assert read(known, unknown) == {("open", ()): 7}


def test_no_label_can_end_a_line_or_a_value() -> None:
    counter = Counter("reads_total", "Reads.", "what")
    counter.count('a"b\\c\nd')

    assert read(counter) == {("reads_total", ('a"b\\c\nd',)): 1}


def test_what_has_no_labels_is_told_before_it_was_ever_counted() -> None:
    """Else the first event after a start is no increase, and no alert sees it."""
    assert read(Counter("replays_total", "Replays.")) == {("replays_total", ()): 0}


def test_names_are_ours_unique_and_as_prometheus_wants_them() -> None:
    names = [family.name for family in FAMILIES]

    assert len(set(names)) == len(names)
    assert [name for name in names if not re.fullmatch(r"order_service_[a-z_]+", name)] == []
    counters = {family.name for family in FAMILIES if family.kind == "counter"}
    assert {name for name in names if name.endswith("_total")} == counters
