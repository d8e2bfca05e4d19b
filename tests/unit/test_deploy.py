"""The files in `deploy/` agree with the metrics of the processes: PromQL is parsed."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from order_service.settings import Settings
from tests.support.servers.metrics import Family, families

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS: dict[str, Any] = yaml.safe_load((DEPLOY / "alerts.yml").read_text())
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
PROMETHEUS: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
FAMILIES = families()
ADDED = {"instance", "job"}  # by Prometheus

RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [rule["expr"] for rule in RULES] + [
    target["expr"] for panel in PANELS for target in panel["targets"]
]


def selectors(query: str) -> Iterator[tuple[Family, str, set[str]]]:
    """Every series of the query: family, suffix, and the labels that select it."""
    whole = str(promql_parser.parse(query.replace("$__rate_interval", "5m")))
    for name, chosen in re.findall(r"((?:order_service|process)_[a-z_]+)(?:\{([^}]*)\})?", whole):
        found = re.fullmatch(r"(.+?)(_bucket|_sum|_count)?", name)
        assert found is not None
        base = name if name in FAMILIES else found[1]
        assert base in FAMILIES, f"{name}: no process exposes this"
        yield FAMILIES[base], name.removeprefix(base), set(re.findall(r"(\w+)[!=]", chosen or ""))


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_uses_existing_metrics_and_labels(query: str) -> None:
    found = list(selectors(query))

    assert found
    labels = {"le", *ADDED}.union(*(family.labels for family, _, _ in found))
    for family, suffix, chosen in found:
        assert (family.kind == "histogram") == bool(suffix), family.name
        assert chosen <= {*family.labels, "le"}, family.name
    for grouping in re.findall(r"(?:by|on|group_left|without) \(([^)]*)\)", query):
        assert set(re.split(r",\s*", grouping)) <= labels, query


@pytest.mark.parametrize("query", QUERIES)
def test_counters_are_queried_by_rate_or_increase_only(query: str) -> None:
    counters = [family.name for family, _, _ in selectors(query) if family.kind != "gauge"]

    assert [n for n in counters if not re.search(rf"(rate|increase)\({n}", query)] == []


def test_alerts_differ_by_name() -> None:
    names = [rule["alert"] for rule in RULES]

    assert len(set(names)) == len(names)


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_every_alert_has_a_summary_and_a_remedy(rule: dict[str, Any]) -> None:
    assert set(rule["annotations"]) == {"summary", "do"}
    assert rule["labels"]["severity"] in {"page", "ticket"}
    labels = re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])
    known = "|".join(re.findall(r"(?:by|on) \(([^)]*)\)", rule["expr"]))
    assert [label for label in labels if not re.search(rf"\b{label}\b", known)] == []


def test_dashboard_and_alerts_use_every_metric() -> None:
    shown = {family.name for query in QUERIES for family, _, _ in selectors(query)}

    assert shown == set(FAMILIES)
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in PANELS:
        assert panel["fieldConfig"]["defaults"]["unit"]


def test_prometheus_scrapes_every_process_of_a_private_stack() -> None:
    processes = (
        "web",
        "relay",
        "consumer",
        *["worker"] * Settings.model_fields["WORKER_PROCESSES"].default,
    )
    host, _, first = Settings.model_fields["METRICS_ADDRESS"].default.rpartition(":")
    (job,) = PROMETHEUS["scrape_configs"]

    expected = [f"{host}:{int(first) + place}" for place in range(len(processes))]
    assert job["static_configs"][0]["targets"] == expected
    assert PROMETHEUS["rule_files"] == ["alerts.yml"]
