"""The list of checks, and what they find in what was read."""

from typing import Any

import pytest

from projections.monitoring.checks import lag, processes
from projections.monitoring.checks.registry import CHECKS, DOCTOR, HEALTH, READYZ, START
from projections.monitoring.checks.servers import Answer, Clock, answers, clocks


def row(name: str, **facts: Any) -> dict[str, Any]:
    """A checkpoint of `status`, all well unless said otherwise."""
    return {
        "name": name,
        "lag_events": 0,
        "lag_s": 0.0,
        "parked": 0,
        "replay_needed": False,
    } | facts


def test_every_check_is_run_and_the_names_that_clients_read_are_kept() -> None:
    assert set(CHECKS) == {*START, *READYZ, *HEALTH, *DOCTOR}
    assert {check.readyz for check in READYZ} == {"database", "append", "broker", "cache", "lag"}
    assert [check.health for check in HEALTH] == [
        *("postgresql", "redis", "rabbitmq", "clocks", "relay", "read models", "processes")
    ]


@pytest.mark.parametrize(
    ("facts", "state", "found"),
    [
        ({}, "ok", "0 events behind, lag 0.0 s."),
        (
            {"lag_events": 1_200, "lag_s": 10.0},
            "ok",
            "1,200 events behind, lag 10.0 s.",
        ),
        (
            {"lag_events": 1, "lag_s": 10.1},
            "wrong",
            "1 events behind, lag 10.1 s.",
        ),
        ({"parked": 2}, "wrong", "0 events behind, lag 0.0 s. 2 orders parked."),
        (
            {"replay_needed": True},
            "wrong",
            "0 events behind, lag 0.0 s. Replay needed: b.",
        ),
    ],
)
async def test_read_models_are_well_unless_late_parked_or_of_another_version(
    facts: dict[str, Any], state: str, found: str
) -> None:
    [seen] = await lag.read_models([row("relay", lag_s=99.0), row("a"), row("b", **facts)])

    assert (seen.state, seen.found) == (state, found)


async def test_the_lag_of_the_relay_is_that_of_its_checkpoints() -> None:
    [seen] = await lag.relay([row("relay", lag_events=3), row("relay", lag_events=4), row("a")])

    assert (seen.state, seen.found) == ("ok", "7 events behind, lag 0.0 s.")


async def test_doctor_has_one_finding_for_each_read_model() -> None:
    found = await lag.checkpoints([row("relay"), row("a", parked=1), row("b")])

    assert [one.check for one in found if one.state == "wrong"] == ["a parked streams"]
    assert [one.check for one in found][:2] == ["relay lag", "a lag"]


async def test_clocks_are_those_that_could_be_read() -> None:
    [off] = await clocks([Clock("PostgreSQL", 10.0, 12.5, 11.0), Clock("Redis", 10.0, 10.5, 11.0)])
    [unknown] = await clocks([])

    assert off.state == "wrong"
    assert off.found == "Ahead of this process: PostgreSQL +2.000 s, Redis +0.000 s."
    assert (unknown.state, unknown.found) == ("ok", "Ahead of this process: unknown.")


async def test_a_server_that_does_not_answer_is_named_with_the_kind_of_error() -> None:
    [away] = await answers(Answer("redis", "TimeoutError", 2_000.0))
    [there] = await answers(Answer("redis", "", 0.4))

    assert (away.state, away.found) == ("wrong", "Does not answer: TimeoutError.")
    assert (there.state, there.found) == ("ok", "Answers.")


async def test_every_role_is_there() -> None:
    [some] = await processes.roles([{"role": "web"}, {"role": "worker"}])
    [all_] = await processes.roles([{"role": role} for role in processes.ROLES])

    assert (some.state, some.found) == ("wrong", "No heartbeat from relay, consumer.")
    assert (all_.state, all_.found) == ("ok", "4 processes.")
