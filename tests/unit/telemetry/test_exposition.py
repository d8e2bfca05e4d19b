"""The exposition of metrics, parsed by Prometheus' own Python library."""

import re

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families

from order_service.telemetry.exposition import exposition
from order_service.telemetry.metrics import Children, Observable, observation_count
from tests.support.servers.metrics import families

FAMILIES = families()


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> CollectorRegistry:
    """A registry with the metrics of this test only."""
    empty = CollectorRegistry()
    monkeypatch.setattr("order_service.telemetry.metrics.REGISTRY", empty)
    monkeypatch.setattr("order_service.telemetry.exposition.REGISTRY", empty)
    return empty


async def read() -> dict[tuple[str, tuple[str, ...]], float]:
    """All samples of this process, by name and label values."""
    found = text_string_to_metric_families((await exposition()).decode())
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in found
        for sample in family.samples
    }


async def test_a_counter_counts_by_its_labels() -> None:
    by_two = Children(Counter, "reads_total", "Reads.", "what", "cache")
    by_two["order", "hit"].inc()
    by_two["order", "hit"].inc()
    by_two["list", "miss"].inc(5)
    Children(Counter, "tasks_total", "Tasks.", "task")["advance"].inc()

    assert await read() == {
        ("reads_total", ("hit", "order")): 2,
        ("reads_total", ("miss", "list")): 5,
        ("tasks_total", ("advance",)): 1,
    }


async def test_a_histogram_has_cumulative_buckets_a_sum_and_a_count() -> None:
    histogram = Children(Histogram, "took_seconds", "Time.", "task", buckets=(0.5, 1.0))
    for value in (0.25, 0.5, 0.75, 4.0):
        histogram["a"].observe(value)
    histogram["b"].observe(0.1)

    found = await read()
    assert {labels: value for labels, value in found.items() if "a" in labels[1]} == {
        ("took_seconds_bucket", ("0.5", "a")): 2,
        ("took_seconds_bucket", ("1.0", "a")): 3,
        ("took_seconds_bucket", ("+Inf", "a")): 4,
        ("took_seconds_sum", ("a",)): 5.5,
        ("took_seconds_count", ("a",)): 4,
    }
    assert observation_count(histogram.parent) == 5


async def test_a_gauge_shows_the_value_of_its_function_and_is_absent_without_one() -> None:
    known = Observable(GaugeMetricFamily, "open", "Open.")
    Observable(GaugeMetricFamily, "lag", "Lag.", "name")
    known.reads(lambda: 7)

    assert await read() == {("open", ()): 7}
    assert b"lag" not in await exposition()


async def test_control_characters_in_a_label_are_escaped() -> None:
    Children(Counter, "reads_total", "Reads.", "what")['a"b\\c\nd'].inc()

    assert await read() == {("reads_total", ('a"b\\c\nd',)): 1}


async def test_a_counter_without_labels_is_exposed_from_zero(
    registry: CollectorRegistry,
) -> None:
    """Without the zero, the first event after a start is no increase, and no alert sees it."""
    Counter("replays_total", "Replays.", registry=registry)

    assert await read() == {("replays_total", ()): 0}


def test_metric_names_follow_the_rules_of_prometheus() -> None:
    assert "order_service_http_request_seconds" in FAMILIES
    for family in FAMILIES.values():
        assert re.fullmatch(r"(order_service|process)_[a-z_]+", family.name)
        assert family.name.endswith("_total") == (family.kind == "counter"), family.name
