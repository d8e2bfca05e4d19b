"""The benchmarks' arithmetic: parsing of /proc and of wrk's output, ratios and tables."""

import math

import pytest

from tests.tools.benchmarks.figures import Figure, number, paired, percentile, report, table
from tests.tools.benchmarks.processes import parse_peak, parse_stat, role_of
from tests.tools.benchmarks.wrk import Answers, Expected, Load, Request, parse

STAT = (
    "4242 (a (b) c) S 17 4242 4242 0 -1 4194560 100 200 0 0 "
    "150 50 30 20 20 0 3 0 999 1000000 500 18446744073709551615"
)
PRINTED = """Running 3s test @ http://127.0.0.1:8000
  1 threads and 64 connections
right=3000 marked=29 wrong=0 refused=4 seconds=2.500000
p50_us=1500 p99_us=4000 max_us=9000 errors=0
example=
"""


def test_the_cpu_time_of_a_process_includes_its_ended_children() -> None:
    process = parse_stat(STAT)

    assert process.parent == 17
    assert process.cpu_s == 2.5  # 250 ticks, of which there are 100 a second on Linux


def test_a_process_belongs_to_the_nearest_ancestor_that_has_a_role() -> None:
    parents = {30: 20, 20: 10, 10: 1, 40: 1}

    found = {pid: role_of(pid, parents, {10: "up", 20: "worker"}) for pid in (30, 20, 10, 40)}

    assert found == {30: "worker", 20: "worker", 10: "up", 40: None}


def test_peak_memory_is_read_in_megabytes() -> None:
    assert parse_peak("Name:\tpython\nVmHWM:\t   10240 kB\nVmRSS:\t 5120 kB\n") == 10
    assert parse_peak("Name:\tzombie\n") == 0


def test_the_output_of_wrk_is_parsed() -> None:
    answers = parse(PRINTED)

    assert answers == Answers(3000, 29, 0, 4, 2.5, 1.5, 4.0, 9.0, 0, "")
    assert answers.rate == 1200


def test_a_wrong_answer_is_shown() -> None:
    wrong = PRINTED.replace("wrong=0", "wrong=1").replace("example=", 'example=500 {"a": 1}')

    assert parse(wrong).example == '500 {"a": 1}'


def test_a_run_that_did_not_measure_is_an_error() -> None:
    with pytest.raises(ValueError, match="unable to connect"):
        parse("unable to connect to 127.0.0.1:8000 Connection refused\n")


def test_a_load_is_written_as_a_lua_table() -> None:
    request = Request("POST", ("/orders/", "/b/"), {"X": 'a"b'}, b'{"n":1}\n', once=True)

    text = Load((request,), {201: Expected(contains=b"\xc3\xa4")}, rate=50).as_lua()

    assert text == (
        'return {["requests"]={{["method"]="POST",["paths"]={"/orders/",\n"/b/"},'
        '["headers"]={["X"]="a\\034b"},["body"]="{\\034n\\034:1}\\010",["once"]=true}},'
        '["expected"]={[201]={["equals"]=nil,["contains"]="\\195\\164",["header"]=nil,'
        '["value"]=nil}},["rate"]=50}\n'
    )


def test_ratios_are_those_of_one_round() -> None:
    assert paired([100, 10, 300], [50, 10, 100]) == 2  # 2, 1 and 3: not the medians' 100 / 50


def test_a_percentile_is_a_value_that_was_measured() -> None:
    hundred = list(range(100, 0, -1))

    assert [percentile(hundred, p) for p in (0, 50, 99, 100)] == [1, 50, 99, 100]
    assert percentile([7.5], 99) == 7.5
    assert math.isnan(percentile([], 99))


def test_numbers_are_short() -> None:
    assert [number(n) for n in (12345.6, 45.67, 1.234)] == ["12,346", "45.7", "1.23"]


def test_a_table_aligns_numbers_on_the_right() -> None:
    shown = table(("name", "n"), [("a", "1"), ("bcdef", "1,234")])

    assert shown.splitlines() == [
        "name       n",
        "-----  -----",
        "a          1",
        "bcdef  1,234",
    ]


def test_a_report_holds_medians_ratios_and_notes() -> None:
    figure = Figure(
        *("get-hit", "requests/s", (300.0, 100.0, 200.0)),
        p50_ms=(1.0, 3.0, 2.0),
        ratios={"bare": 1.25},
        note="as seen",
    )

    lines = report([figure]).splitlines()

    assert lines[2].split()[3:] == ["200", "100", "300", "1.25", "2.00"]
    assert lines[3] == "get-hit: as seen"
