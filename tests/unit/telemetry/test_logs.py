"""The format of log lines."""

import json
import logging
import sys
from uuid import UUID

import asyncpg
import pytest
from redis.exceptions import ResponseError
from sqlalchemy.exc import DBAPIError

from order_service import limits
from order_service.accounts.api_keys import new_key
from order_service.telemetry.logging import REQUEST_ID, TRACEPARENT, USER_ID, Line, reason

HOSTILE = 'a\r\nINFO all is well\x1b[2J\u2028\x00\u202e"é'


def record(message: str, *arguments: object, failed: bool = False) -> logging.LogRecord:
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        error = sys.exc_info() if failed else None
    return logging.LogRecord("order_service.x", logging.INFO, "", 0, message, arguments, error)


@pytest.mark.parametrize("terminal", [False, True])
def test_control_characters_in_a_log_message_are_escaped(
    terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)

    line = Line().format(record("said %s", HOSTILE))

    assert line.isascii()
    assert line.isprintable()


def test_no_line_shows_the_secret_of_an_api_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    key = new_key(UUID(int=1))
    try:
        raise ValueError(key)
    except ValueError:
        error = sys.exc_info()
    written = logging.LogRecord("order_service.x", logging.INFO, "", 0, "no %s", (key,), error)

    line = Line().format(written)

    assert key[:37] in line
    assert key[37:] not in line
    assert json.loads(line)["message"] == f"no {key[:37]}***"


def test_a_log_line_has_time_level_message_request_user_and_trace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    request, user = REQUEST_ID.set("r-1234567"), USER_ID.set(UUID(int=1))
    trace = TRACEPARENT.set(f"00-{'ab' * 16}-{'cd' * 8}-01")
    written = record("said %s", HOSTILE, failed=True)
    written.created = 1_700_000_000.25

    fields = json.loads(Line().format(written))

    REQUEST_ID.reset(request)
    USER_ID.reset(user)
    TRACEPARENT.reset(trace)
    assert fields["message"] == f"said {HOSTILE}"
    assert fields["at"] == "2023-11-14T22:13:20.250Z"
    assert (fields["level"], fields["logger"]) == ("INFO", "order_service.x")
    assert (fields["request_id"], fields["user_id"]) == ("r-1234567", str(UUID(int=1)))
    assert fields["trace_id"] == "ab" * 16
    assert fields["exception"].startswith("Traceback")


def of_postgres(sqlstate: str, message: str, detail: str = "") -> Exception:
    """An error as the driver raises it."""
    fields = {"S": "ERROR", "C": sqlstate, "M": message, "D": detail}
    return asyncpg.PostgresError.new(fields, query="SELECT 'a secret'")


def in_sqlalchemy(error: Exception) -> DBAPIError:
    """The error as SQLAlchemy wraps it."""
    dialects = Exception(f"{type(error)}: {error}")
    dialects.__cause__ = error
    return DBAPIError("SELECT 'a secret'", {"email": "a secret"}, dialects)


NO_LIBRARY = of_postgres("58P01", 'could not load library "plpgsql.so": no such file')
DOUBLE = of_postgres("23505", 'duplicate key violates "users_email"', "Key (email)=(a secret)")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (NO_LIBRARY, 'UndefinedFileError: could not load library "plpgsql.so": no such file'),
        (DOUBLE, 'UniqueViolationError: duplicate key violates "users_email"'),
        (in_sqlalchemy(DOUBLE), 'UniqueViolationError: duplicate key violates "users_email"'),
        (of_postgres("22P02", 'invalid uuid: "a secret"'), "InvalidTextRepresentationError"),
        (in_sqlalchemy(ValueError("no uuid: a secret")), "ValueError"),
        (asyncpg.DataError("invalid input for $1: a secret"), "DataError"),
        (
            ResponseError("unknown command 'X', with args beginning with: 'a secret'"),
            "ResponseError: unknown command 'X'",
        ),
        (ConnectionRefusedError(111, "Refused"), "ConnectionRefusedError: [Errno 111] Refused"),
        (TimeoutError(), "TimeoutError"),
        (asyncpg.PostgresError(), "PostgresError"),
        (OSError("first\nsecond"), "OSError: first"),
    ],
)
def test_a_reason_is_the_servers_message_without_values_of_clients(
    error: Exception, text: str
) -> None:
    assert reason(error) == text


def test_a_reason_has_a_bounded_length() -> None:
    assert len(reason(OSError("x" * 10_000))) == limits.LOGGED_REASON_LENGTH_MAX
