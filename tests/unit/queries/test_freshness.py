"""The Prefer header (RFC 7240), and which writes a read model shows."""

import pytest

from order_service.documents.consistency_token import Token
from projections.queries.freshness import Progress, shows
from projections.routes.consistency import preferring
from tests.support.log.examples import NEW_ID


@pytest.mark.parametrize(
    ("header", "wait_s", "strict", "applied"),
    [
        ("", 2, False, ""),
        ("wait=5", 5, False, "wait=5"),
        ("wait=0", 0, False, "wait=0"),
        ("wait=3600", 10, False, "wait=10"),
        ('WAIT = "5" ; x=y, Handling=Strict', 5, True, "wait=5, handling=strict"),
        ("handling=lenient, handling=strict", 2, False, "handling=lenient"),
        ("wait=1, wait=9", 1, False, "wait=1"),
        ("wait=-1, handling=maybe, respond-async", 2, False, ""),
        ("wait=1.5", 2, False, ""),
        ("wait", 2, False, ""),
        ("wait=\u0661", 2, False, ""),
    ],
)
def test_preferences(header: str, wait_s: int, strict: bool, applied: str) -> None:
    wanted = preferring((), header)

    assert (wanted.wait_s, wanted.strict, wanted.applied) == (wait_s, strict, applied)


def test_a_read_model_shows_a_write_from_its_position_on() -> None:
    progress = Progress(3, 2, positions=(9, 4), heads=(9, 7))
    tokens = {position: Token(NEW_ID, 1, 1, position) for position in (3, 4, 5, 8)}
    caught_up = Token(NEW_ID, 1, 0, 10)

    missing = {position for position, token in tokens.items() if progress.missing([token])}

    assert missing == {5, 8}
    assert progress.missing([caught_up]) == []  # no write has this position: the log ends at 9
    assert progress.as_bytes() == b"3:9.4"
    assert [shows(progress.as_bytes(), [token]) for token in tokens.values()] == [
        True,
        True,
        False,
        False,
    ]
