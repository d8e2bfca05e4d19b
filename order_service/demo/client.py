"""The demo's HTTP client: one connection, and repeats while the service is busy.

It uses the standard library, since the demo sends one request after the other.
"""

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from itertools import chain, repeat
from typing import Any
from urllib.parse import urlsplit

from order_service import limits

_POLICY = re.compile(r'"[^"]*";q=(\d+);w=(\d+)')


class NoAnswer(Exception):
    """The service cannot be used; the text says what was found and what to do."""


class Refused(Exception):
    """A problem document."""

    def __init__(self, status: int, content: object) -> None:
        problem = content if isinstance(content, dict) else {}
        self.status = status
        self.slug = str(problem.get("type", "")).rpartition("/")[2]
        wrong = [f"{e.get('pointer', '')} {e['detail']}" for e in problem.get("errors", ())]
        said = " ".join([str(problem.get("detail", "")), *wrong])
        super().__init__(f"{status} {self.slug}: {said}")


@dataclass
class Limit:
    """The strictest limit that the service counted the last request against."""

    quota: int
    window_s: int

    @property
    def rate(self) -> float:
        """Requests a second that leave a part of the quota to other clients of this address."""
        return self.quota / self.window_s * limits.DEMO_SHARE_OF_LIMIT


class Patience:
    """The pauses before the repeats of one request, `limits.DEMO_PATIENCE_S` seconds in all."""

    def __init__(self) -> None:
        last = limits.RECONNECT_BACKOFF_S[-1]
        self._pauses = chain(limits.RECONNECT_BACKOFF_S, repeat(last))
        self._left_s = limits.DEMO_PATIENCE_S

    def next_pause_s(self, retry_after_s: float = 0.0) -> float | None:
        """Seconds, at least `retry_after_s`; None where that is more than what is left."""
        pause_s = max(next(self._pauses), retry_after_s)
        self._left_s -= pause_s
        return pause_s if self._left_s >= 0 else None


class Client:
    """`limit`: of the last answer; None before the first one."""

    def __init__(self, url: str, say: Callable[[str], None]) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise NoAnswer(f"{url} is not the address of a service: expected http://HOST:PORT.")
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._url = url
        self._say = say
        self._prefix = parts.path.rstrip("/")
        self._connection = kind(parts.hostname, parts.port, timeout=limits.DEMO_TIMEOUT_S)
        self.limit: Limit | None = None
        self.repeated = 0

    def require_service(self) -> None:
        """A service listens; raises NoAnswer at once where none does."""
        try:
            self._connection.connect()
        except OSError as error:
            raise NoAnswer(
                f"Nothing listens at {self._url} ({error}): start the service with "
                "`./entrypoint.sh up`, or name a running one with --url."
            ) from None

    def send(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: dict[str, str] | None = None,
    ) -> Any:
        """The answer's content. Sends the request again while the service is away, busy (503) or
        over its limit (429), so the request must bear repetition. Raises Refused, NoAnswer."""
        content = None if body is None else json.dumps(body)
        sent = {"Content-Type": "application/json"} | (headers or {})
        patience = Patience()
        while True:
            retry_after_s = 0.0
            try:
                status, received, found = self._exchange(method, path, content, sent)
            except (OSError, HTTPException, ValueError) as error:
                self._connection.close()
                failure = f"{type(error).__name__}: {error}"
            else:
                if status < 400:
                    return found
                refused = Refused(status, found)
                if status not in (429, 503):
                    raise refused
                failure, retry_after_s = str(refused), _retry_after_s(received)
            self.wait(patience, failure, retry_after_s)

    def wait(self, patience: Patience, failure: str, retry_after_s: float = 0.0) -> None:
        """Sleeps before a repeat. Raises NoAnswer where `patience` has ended."""
        pause_s = patience.next_pause_s(retry_after_s)
        if pause_s is None:
            raise NoAnswer(
                f"{self._url} does not serve the demo ({failure}): "
                "`./entrypoint.sh doctor` says what is wrong."
            )
        self.repeated += 1
        if pause_s >= 1:
            self._say(f"{failure} Waiting {pause_s:.0f} s.")
        time.sleep(pause_s)

    def _exchange(
        self, method: str, path: str, content: str | None, headers: dict[str, str]
    ) -> tuple[int, dict[str, str], Any]:
        self._connection.request(method, self._prefix + path, content, headers)
        answer = self._connection.getresponse()
        read = answer.read()
        received = {name.lower(): value for name, value in answer.getheaders()}
        policy = received.get("ratelimit-policy", "")
        quotas = [Limit(int(q), int(w)) for q, w in _POLICY.findall(policy)]
        if quotas:
            self.limit = min(quotas, key=lambda limit: limit.rate)
        return answer.status, received, json.loads(read) if read else None

    def close(self) -> None:
        self._connection.close()


def _retry_after_s(received: Mapping[str, str]) -> float:
    """Seconds, bounded; 0 where the answer names none (a proxy may send a date)."""
    value = received.get("retry-after", "")
    return min(float(value), limits.DEMO_WAIT_MAX_S) if value.isdecimal() else 0.0
