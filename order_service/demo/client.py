"""The demo's HTTP client: one connection, commands that are sent again where that is safe, and
never more than the service's rate limits allow.

By the standard library: what is asked one after the other needs no more.
"""

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from order_service import limits

_POLICY = re.compile(r'"[^"]*";q=(\d+);w=(\d+)')


class NoAnswer(Exception):
    """The service did not answer, or cannot serve us; the text says what to do."""


class Refused(Exception):
    """A problem document."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        self.status = status
        self.slug = str(problem.get("type", "")).rpartition("/")[2]
        wrong = [f"{e.get('pointer', '')} {e['detail']}" for e in problem.get("errors", ())]
        said = " ".join([str(problem.get("detail", "")), *wrong])
        super().__init__(f"{status} {self.slug}: {said}")


@dataclass
class Limit:
    """What the service said of the strictest limit that it counted us against."""

    quota: int
    window_s: int

    @property
    def rate(self) -> float:
        """Requests a second that leave something of it to others at our address."""
        return self.quota / self.window_s * limits.DEMO_SHARE_OF_LIMIT


class Client:
    """`limit`: of the last answer; None before the first one."""

    def __init__(self, url: str, say: Callable[[str], None]) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise NoAnswer(f"{url} is no address of a service: expected http://HOST:PORT.")
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._url = url
        self._say = say
        self._prefix = parts.path.rstrip("/")
        self._connection = kind(parts.hostname, parts.port, timeout=limits.DEMO_TIMEOUT_S)
        self.limit: Limit | None = None
        self.repeated = 0

    def send(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: dict[str, str] | None = None,
    ) -> Any:
        """The answer's content. Sent again while the service is away, busy or over its limit, a
        bounded number of times: so whatever is sent has to bear repetition. Raises Refused,
        NoAnswer."""
        content = None if body is None else json.dumps(body)
        asked = {"Content-Type": "application/json"} | (headers or {})
        for wait_s in (*limits.RECONNECT_BACKOFF_S, None):
            try:
                answer = self._exchange(method, path, content, asked)
            except (OSError, HTTPException, ValueError) as error:
                self._connection.close()
                failure, after_s = f"{type(error).__name__}: {error}", wait_s
            else:
                status, told, found = answer
                if status < 400:
                    return found
                if status not in (429, 503):
                    raise Refused(status, found)
                failure = f"{status} {found.get('detail', '')}"
                told_s = min(float(told.get("retry-after", 0)), limits.DEMO_WAIT_MAX_S)
                after_s = wait_s and max(wait_s, told_s)
            if after_s is None:
                break
            self.repeated += 1
            if after_s >= 1:
                self._say(f"{failure} Waiting {after_s:.0f} s.")
            time.sleep(after_s)
        raise NoAnswer(f"{self._url} does not serve us ({failure}): is it up? See --url.")

    def _exchange(
        self, method: str, path: str, content: str | None, headers: dict[str, str]
    ) -> tuple[int, dict[str, str], Any]:
        self._connection.request(method, self._prefix + path, content, headers)
        answer = self._connection.getresponse()
        read = answer.read()
        told = {name.lower(): value for name, value in answer.getheaders()}
        quotas = [
            Limit(int(q), int(w)) for q, w in _POLICY.findall(told.get("ratelimit-policy", ""))
        ]
        if quotas:
            self.limit = min(quotas, key=lambda limit: limit.rate)
        return answer.status, told, json.loads(read) if read else None

    def close(self) -> None:
        self._connection.close()
