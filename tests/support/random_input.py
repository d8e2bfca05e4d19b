"""Random input is the same in every run of the tests, and new in every round of `fuzz`.

Of a run, the seed is pytest's `--hypothesis-seed`. It alone decides what is tried: no example of
one run is kept for another.
"""

import hypothesis

SEED = 1  # where no other is given


def register_profiles() -> None:
    """`test` is chosen afterwards, unless `--hypothesis-profile` says `fuzz`."""
    # A busy machine is slow, and that is no mistake of what is tested.
    bounds = {
        "database": None,
        "deadline": None,
        "suppress_health_check": [hypothesis.HealthCheck.too_slow],
    }
    hypothesis.settings.register_profile("test", derandomize=True, **bounds)
    hypothesis.settings.register_profile("fuzz", print_blob=True, **bounds)
    hypothesis.settings.load_profile("test")
