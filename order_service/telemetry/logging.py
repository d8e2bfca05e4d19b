"""Logging: one JSON object a line, or a line for people on a terminal.

Every process is set up by the one file logging.json, uvicorn's too, so that nobody's line has
another shape. Each line says which request it is about, and whose. What may be logged: ids, counts,
kinds of errors. Never a secret, a token, a body, an e-mail address; a test greps for them.
"""

import json
import logging
import logging.config
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from uuid import UUID

from order_service import limits

CONFIGURATION = Path(str(files("order_service.telemetry") / "logging.json"))
# Of whatever runs now: set where a request or a task begins, inherited by the tasks it starts.
REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
TRACEPARENT: ContextVar[str | None] = ContextVar("traceparent", default=None)  # of W3C
USER_ID: ContextVar[UUID | None] = ContextVar("user_id", default=None)


def set_up() -> None:
    """What this process logs, and what Python warns of, goes to its standard error from now on."""
    logging.config.dictConfig(json.loads(CONFIGURATION.read_text()))
    logging.captureWarnings(True)


def reason(error: BaseException) -> str:
    """The kind of error, and what the server or library says of it: one line, of a bounded length.

    What may be a client's is left out: PostgreSQL's DETAIL, SQL and parameters, the arguments of a
    command to Redis. An error that quotes a wrong value (SQLSTATE class 22, ValueError) is named by
    its kind only.
    """
    wrapped = getattr(error, "orig", None)  # by SQLAlchemy, around its own around the driver's
    found = error if wrapped is None else wrapped.__cause__ or wrapped
    kind = type(found).__name__
    if isinstance(found, (ValueError, TypeError, LookupError)) or _sqlstate(found).startswith("22"):
        return kind
    message = getattr(found, "message", None) or (found if found.args else "")
    said = str(message).partition(", with args")[0]
    text = ": ".join([kind, *said.splitlines()[:1]])
    return text[: limits.LOGGED_REASON_LENGTH_MAX]


def _sqlstate(error: BaseException) -> str:
    return str(getattr(error, "sqlstate", None) or "")


class Line(logging.Formatter):
    """A record as one line. Whatever is in it, it cannot end the line, nor speak to a terminal:
    JSON with nothing but printable ASCII escapes CR, LF, ESC and U+2028 alike."""

    def __init__(self) -> None:
        super().__init__()
        self._for_people = sys.stderr.isatty()

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        facts: dict[str, object] = {
            "at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "pid": record.process,
        }
        for name, value in (("request_id", REQUEST_ID.get()), ("user_id", USER_ID.get())):
            if value is not None:
                facts[name] = str(value)
        if (traceparent := TRACEPARENT.get()) is not None:
            facts["trace_id"] = traceparent[3:35]
        if record.exc_info:
            facts["exception"] = self.formatException(record.exc_info)
        return _for_people(facts) if self._for_people else json.dumps(facts)


def _for_people(facts: dict[str, object]) -> str:
    """Of several lines where there is a traceback, each of which is ours."""
    about = f" (request {facts['request_id']})" if "request_id" in facts else ""
    said = [f"{facts['message']}{about}", *str(facts.get("exception", "")).splitlines()]
    text = "\n    ".join(line.encode("unicode_escape").decode() for line in said)
    return f"{facts['at']} {facts['level']:<8} {facts['logger']}: {text}"
