"""`./entrypoint.sh fuzz`: its arguments, its seeds, and what it prints of a failure."""

from itertools import islice

import pytest

from order_service.stack.fuzz import SEED_MAX, failed_test, how_to_repeat, parse, seeds_from


def test_minutes_and_seed_are_taken_as_given() -> None:
    given = parse(["--minutes", "0.5", "--seed", "4294967295"])

    assert (given.minutes, given.seed) == (0.5, 4294967295)


def test_a_fresh_seed_is_drawn_where_none_is_given() -> None:
    first, second = parse([]), parse([])

    assert (first.minutes, second.minutes) == (10, 10)
    assert first.seed != second.seed
    assert 0 <= first.seed <= SEED_MAX


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--minutes", "0"], "expected more than 0, at most 1440"),
        (["--minutes", "1441"], "expected more than 0, at most 1440"),
        (["--minutes", "nan"], "expected more than 0, at most 1440"),
        (["--minutes", "soon"], "argument --minutes: invalid"),
        (["--seed", "-1"], "expected 0 to 4294967295"),
        (["--seed", "4294967296"], "expected 0 to 4294967295"),
        (["--seed", "x"], "argument --seed: invalid"),
        (["tests/unit"], "unrecognized arguments: tests/unit"),
    ],
)
def test_invalid_arguments_are_refused(
    wrong: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        parse(wrong)

    assert refused.value.code == 2
    assert said in capsys.readouterr().err


def test_each_round_has_the_next_seed_and_the_last_is_followed_by_the_first() -> None:
    assert [*islice(seeds_from(SEED_MAX - 1), 3)] == [SEED_MAX - 1, SEED_MAX, 0]


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("FAILED tests/unit/test_a.py::test_b\n", "tests/unit/test_a.py::test_b"),
        ("ERROR tests/unit/test_a.py - ImportError\n", "tests/unit/test_a.py"),
        ("E       FAILED is not at the start\n", ""),
        ("12 passed in 3.00s\n", ""),
    ],
)
def test_the_failed_test_is_read_from_the_summary(line: str, named: str) -> None:
    assert failed_test(line) == named


def test_a_failure_is_printed_with_the_commands_that_repeat_it() -> None:
    assert how_to_repeat(7, "tests/unit/test_a.py::test_b").splitlines() == [
        "fuzz: failed with seed 7: tests/unit/test_a.py::test_b",
        "  its output       .local/fuzz/failed-7.txt",
        "  repeat the round ./entrypoint.sh fuzz --seed 7 --minutes 1",
        "  repeat the test  ./entrypoint.sh test --hypothesis-profile=fuzz --hypothesis-seed=7 "
        "'tests/unit/test_a.py::test_b'",
    ]
