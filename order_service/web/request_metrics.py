"""Metrics of HTTP: every response is counted once, with the time until it began.

The labels have the route's template, never the path, so their number is bounded. Responses without
a route have names in brackets. A request whose client goes away gets no response and no count.
"""

from contextlib import AbstractContextManager
from time import perf_counter
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from order_service.telemetry import tracing
from order_service.telemetry.metrics import HTTP_PROBLEMS, HTTP_SECONDS
from order_service.web.problems.problem import Problem

NO_ROUTE = "(none)"
SHED = "(shed)"  # refused by its head, because the process is overloaded
UNREAD = "(unread)"  # not a request that can be read


def counting(scope: Scope, send: Send) -> Send:
    """`send`, which also counts the response as it begins, and adds Server-Timing to it.

    Only known callers learn the time, and only of what succeeds: a refusal's would help to guess
    what exists. The fast path has no such field: it would cost a hundredth of its time."""
    began = perf_counter()

    async def send_and_count(message: Message) -> None:
        if message["type"] == "http.response.start":
            route: Any = scope.get("route")
            template = NO_ROUTE if route is None else route.path
            answered(scope["method"], template, message["status"], began)
            if message["status"] < 300 and "caller" in scope["state"]:
                took_ms = (perf_counter() - began) * 1_000
                message["headers"].append((b"server-timing", b"app;dur=%.1f" % took_ms))
            if tracing.is_on():
                span = scope["state"]["span"]
                tracing.answered(span, scope["method"], template, message["status"])
            problem: Problem | None = scope.get("state", {}).get("problem")
            if problem is not None:
                HTTP_PROBLEMS[scope["method"], template, problem.name].inc()
        await send(message)

    return send_and_count


def answered(method: str, route: str, status: int, began: float) -> None:
    """`began`: by `perf_counter`."""
    HTTP_SECONDS[method, route, status].observe(perf_counter() - began)


async def traced(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Runs `app` in a span, which belongs to the client's trace if the request names one."""
    headers = dict(scope["headers"])
    parent = tracing.traceparent_of(headers.get(b"traceparent", b"").decode("latin-1"))
    with request_span(scope["method"], parent) as span:
        scope.setdefault("state", {})["span"] = span
        await app(scope, receive, send)


def request_span(method: str, parent: str | None) -> AbstractContextManager[Any]:
    """A span around the block that answers a request. `parent`: a traceparent."""
    return tracing.span(method, "SERVER", parent, http__request__method=method)


def refused(method: str, route: str, problem: Problem) -> None:
    """Counts a response to a request that the application did not see."""
    HTTP_SECONDS[method, route, problem.status].observe(0.0)
    HTTP_PROBLEMS[method, route, problem.name].inc()
