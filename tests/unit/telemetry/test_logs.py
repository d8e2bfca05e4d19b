"""The shape of a log line."""

import json
import logging
import sys
from uuid import UUID

import pytest

from order_service.telemetry.logging import REQUEST_ID, TRACEPARENT, USER_ID, Line

HOSTILE = 'a\r\nINFO all is well\x1b[2J\u2028\x00\u202e"é'


def record(message: str, *arguments: object, failed: bool = False) -> logging.LogRecord:
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        error = sys.exc_info() if failed else None
    return logging.LogRecord("order_service.x", logging.INFO, "", 0, message, arguments, error)


@pytest.mark.parametrize("terminal", [False, True])
def test_nothing_in_a_message_ends_the_line_or_speaks_to_a_terminal(
    terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)

    line = Line().format(record("said %s", HOSTILE))

    assert line.isascii()
    assert line.isprintable()


def test_a_line_says_when_what_and_for_whom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    request, user = REQUEST_ID.set("r-1234567"), USER_ID.set(UUID(int=1))
    trace = TRACEPARENT.set(f"00-{'ab' * 16}-{'cd' * 8}-01")
    written = record("said %s", HOSTILE, failed=True)
    written.created = 1_700_000_000.25

    said = json.loads(Line().format(written))

    REQUEST_ID.reset(request)
    USER_ID.reset(user)
    TRACEPARENT.reset(trace)
    assert said["message"] == f"said {HOSTILE}"
    assert said["at"] == "2023-11-14T22:13:20.250Z"
    assert (said["level"], said["logger"]) == ("INFO", "order_service.x")
    assert (said["request_id"], said["user_id"]) == ("r-1234567", str(UUID(int=1)))
    assert said["trace_id"] == "ab" * 16
    assert said["exception"].startswith("Traceback")
