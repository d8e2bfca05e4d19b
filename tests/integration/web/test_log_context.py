"""Each line of a log names the request and the user that it is about, and no earlier one."""

import logging
from uuid import UUID

import httpx
import pytest

from order_service.telemetry.logging import REQUEST_ID, TRACEPARENT, USER_ID
from tests.support.http.accounts import Account
from tests.support.http.orders import place
from tests.support.http.raw_http import wire

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Noted(logging.Handler):
    """What the context is when a line is written."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[str, UUID | None, str | None, str | None]] = []

    def emit(self, record: logging.LogRecord) -> None:
        context = (USER_ID.get(), TRACEPARENT.get(), REQUEST_ID.get())
        self.lines.append((record.getMessage(), *context))


@pytest.fixture
def noted() -> object:
    handler = Noted()
    logger = logging.getLogger("order_service.api.accounts")
    before = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(before)


def request(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    fields = {"Host": "shop", "Accept-Encoding": "identity", **headers}
    if body:
        fields |= {"Content-Length": str(len(body))}
        fields |= {"Content-Type": "application/x-www-form-urlencoded"}
    lines = [f"{method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in fields.items()), "", ""]
    return "\r\n".join(lines).encode() + body


@pytest.mark.parametrize("query", ["", "?version=1"], ids=["fast path", "FastAPI"])
async def test_a_refused_login_is_not_logged_with_the_user_before_it(
    web: httpx.AsyncClient, owner: Account, noted: Noted, query: str
) -> None:
    """Pipelined reads pause the reading of their connection; the task of one of them resumes it, so
    what is read next comes in the context of that task."""
    order = await place(web, owner)
    path = f"/orders/{order.json()['id']}/{query}"
    read = request("GET", path, {**owner.headers, "traceparent": TRACE})
    login = request("POST", "/token/", {}, b"username=somebody@example.com&password=wrong-password")

    async with wire(web) as connection:
        connection.send(read * 8)
        reads = [await connection.answer() for _ in range(8)]
        connection.send(login)
        answer = await connection.answer()

    assert {one.status for one in reads} == {200}
    assert answer.status == 401
    [(_, user_id, traceparent, request_id)] = noted.lines
    assert (user_id, traceparent) == (None, None)
    assert request_id == answer.headers["x-request-id"]
