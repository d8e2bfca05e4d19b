"""HEAD: answered as GET, without a body (RFC 9110 9.3.2)."""

from starlette.requests import ClientDisconnect
from starlette.types import Message, Scope, Send


class HeadSent(ClientDisconnect):
    """Ends a response that would go on: its head is all that the client gets."""


def is_head(scope: Scope) -> bool:
    return scope["type"] == "http" and bool(scope["method"] == "HEAD")


def as_get(scope: Scope, send: Send) -> tuple[Scope, Send]:
    """The request as a GET, and a `send` that passes on only the head of its response. `send`
    raises HeadSent where a stream would go on."""

    async def send_head(message: Message) -> None:
        if message["type"] == "http.response.start":
            await send(message)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        elif message.get("more_body", False):
            raise HeadSent

    return {**scope, "method": "GET"}, send_head
