"""Percentiles and series of the last hour's steps."""

from projections.monitoring.history import percentile_ms, series


def test_a_percentile_lies_between_the_bounds_of_its_requests() -> None:
    step = {"le2": 90, "le5": 9, "le15": 1}  # 0.5 to 1 ms, 5 to 10 ms, above 10 s

    assert percentile_ms(step, 0.45) == 0.75
    assert percentile_ms(step, 0.99) == 10.0
    assert percentile_ms(step, 1.0) == 10_000.0
    assert percentile_ms({}, 0.5) is None


def test_a_step_without_data_differs_from_a_step_without_requests() -> None:
    seen = {"seen": 1, "head": 17, "lag_ms": 250}
    busy = {"seen": 1, "head": 20, "lag_ms": 0, "requests": 4, "errors": 1, "reads": 2, "hits": 1}

    found = series([seen, busy, {}, seen])

    assert found.requests == [4, None, 0]
    assert found.errors == [1, None, 0]
    assert found.cache_hit_ratio == [0.5, None, None]
    assert found.lag_s == [0.0, None, 0.25]
    assert found.events == [3, None, None]
