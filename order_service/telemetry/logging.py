"""Logging: one JSON object per line, or plain text lines on a terminal.

logging.json configures every process, uvicorn included, so all lines have the same format. A line
has the ids of its request and user. Logs contain ids, counts and kinds of errors, but never a
secret, a token, a body or an e-mail address; a test searches for them.
"""

import json
import logging
import logging.config
import re
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from uuid import UUID

from order_service import limits

CONFIGURATION = Path(str(files("order_service.telemetry") / "logging.json"))
# The context of the current request or task; asyncio tasks that it starts inherit these values.
REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
TRACEPARENT: ContextVar[str | None] = ContextVar("traceparent", default=None)  # W3C
USER_ID: ContextVar[UUID | None] = ContextVar("user_id", default=None)  # or an API key's id
# No code logs an API key. If a library's error quotes one after all, its secret is cut out.
_API_KEY = re.compile(r"(osk_[0-9a-f]{32}_)[0-9A-Za-z]+")


def begin_request() -> None:
    """Forgets the request before this one. A connection's callbacks run in the context of whatever
    task last resumed its reading, which may be that of another request, of another user."""
    for variable in (REQUEST_ID, TRACEPARENT, USER_ID):
        variable.set(None)


def set_up() -> None:
    """Sends this process's log lines and Python's warnings to standard error."""
    logging.config.dictConfig(json.loads(CONFIGURATION.read_text()))
    logging.captureWarnings(True)


def reason(error: BaseException) -> str:
    """The kind of error and the message of the server or library: one line of bounded length.

    Data that may be a client's is left out: PostgreSQL's DETAIL, SQL and parameters, the arguments
    of a Redis command. Of an error that quotes a wrong value (SQLSTATE class 22, ValueError) only
    the kind is returned.
    """
    wrapped = getattr(
        error, "orig", None
    )  # SQLAlchemy's error wraps its own, which wraps the driver's
    found = error if wrapped is None else wrapped.__cause__ or wrapped
    kind = type(found).__name__
    if isinstance(found, (ValueError, TypeError, LookupError)) or _sqlstate(found).startswith("22"):
        return kind
    message = getattr(found, "message", None) or (found if found.args else "")
    public = str(message).partition(", with args")[0]
    text = ": ".join([kind, *public.splitlines()[:1]])
    return text[: limits.LOGGED_REASON_LENGTH_MAX]


def _sqlstate(error: BaseException) -> str:
    return str(getattr(error, "sqlstate", None) or "")


class Line(logging.Formatter):
    """Formats a record as one line. No content can break the line or send commands to a terminal:
    everything but printable ASCII is escaped, including CR, LF, ESC and U+2028."""

    def __init__(self) -> None:
        super().__init__()
        self._on_terminal = sys.stderr.isatty()

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        facts: dict[str, object] = {
            "at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": _without_keys(record.getMessage()),
            "pid": record.process,
        }
        for name, value in (("request_id", REQUEST_ID.get()), ("user_id", USER_ID.get())):
            if value is not None:
                facts[name] = str(value)
        if (traceparent := TRACEPARENT.get()) is not None:
            facts["trace_id"] = traceparent[3:35]
        if record.exc_info:
            facts["exception"] = _without_keys(self.formatException(record.exc_info))
        return _as_text(facts) if self._on_terminal else json.dumps(facts)


def _without_keys(text: str) -> str:
    return _API_KEY.sub(r"\1***", text) if "osk_" in text else text


def _as_text(facts: dict[str, object]) -> str:
    """A plain text line, followed by the indented lines of the traceback, if there is one."""
    about = f" (request {facts['request_id']})" if "request_id" in facts else ""
    lines = [f"{facts['message']}{about}", *str(facts.get("exception", "")).splitlines()]
    text = "\n    ".join(line.encode("unicode_escape").decode() for line in lines)
    return f"{facts['at']} {facts['level']:<8} {facts['logger']}: {text}"
