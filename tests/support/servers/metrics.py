"""The metrics that the processes of a running stack expose, read with Prometheus's parser."""

import json
import re
from collections import defaultdict
from dataclasses import dataclass, field

import httpx
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from order_service.telemetry import metrics as counted
from tests.support.servers.stack import Stack
from tests.support.waiting import WAIT_S

_LISTENING = re.compile(r"Serving metrics at (http://\S+)")
_ROLES = ("web", "relay", "consumer", "worker")


@dataclass(frozen=True)
class Family:
    """A metric family. `labels`: the names of its labels."""

    name: str
    kind: str
    labels: tuple[str, ...]


def families() -> dict[str, Family]:
    """All families that the processes may expose, by name."""
    labelled = [
        one
        for one in vars(counted).values()
        if isinstance(one, counted.Children | counted.Observable)
    ]
    labels = {family.name: one.labels for one in labelled for family in one.describe()}
    return {
        name: Family(name, family.type, labels.get(family.name, ()))
        for family in counted.REGISTRY.collect()
        for name in [_name(family)]
    }


def _name(family: Metric) -> str:
    return f"{family.name}_total" if family.type == "counter" else family.name


@dataclass
class Metrics:
    """The metrics of all processes. `roles`: the role of each address."""

    text: str = ""
    families: set[str] = field(default_factory=set)
    roles: list[str] = field(default_factory=list)
    _values: dict[str, list[tuple[dict[str, str], float]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def add(self, text: str) -> None:
        self.text += text
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self.families.add(_name(family))
                self._values[sample.name].append((sample.labels, sample.value))
                if sample.name == "order_service_process":
                    self.roles.append(sample.labels["role"])

    def of(self, name: str, /, **labels: str) -> float:
        """The sum of all samples of this name that have these labels; -1 if there is none."""
        found = [v for given, v in self._values[name] if labels.items() <= given.items()]
        return sum(found) if found else -1.0


async def read_metrics(stack: Stack) -> Metrics:
    """The metrics of every running process whose log names its address."""
    metrics, logs = Metrics(), stack.logs()
    async with httpx.AsyncClient(timeout=WAIT_S) as client:
        for address in sorted({a for role in _ROLES for a in _addresses(logs[role])}):
            try:
                answer = await client.get(address)
            except httpx.ConnectError:  # the process was replaced
                continue
            assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
            metrics.add(answer.text)
    return metrics


def _addresses(log: str) -> list[str]:
    lines = (json.loads(line)["message"] for line in log.splitlines())
    return [found[1] for line in lines if (found := _LISTENING.fullmatch(line))]
