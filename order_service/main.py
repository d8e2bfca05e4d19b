"""The composition root of the web process: `create_app()`."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import cache
from types import FrameType, SimpleNamespace
from typing import cast

from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import iter_route_contexts
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.datastructures import State
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from order_service import limits
from order_service.accounts.passwords import Passwords
from order_service.accounts.refresh import RefreshTokens
from order_service.api import accounts, api_keys, health, orders
from order_service.api.orders.placing import post_on_fast_path
from order_service.api.orders.status import patch_on_fast_path
from order_service.cache.order_cache import Entry, OrderCache
from order_service.commands.expiry import Timer, expire_for_ever
from order_service.desk import routes as desk
from order_service.documents.names import ENUMS
from order_service.documents.order import document
from order_service.domain import money
from order_service.domain.commands import ExpireAuthorizations, ExpireOrder
from order_service.errors import InvalidRequest
from order_service.ids import now
from order_service.infra.gc_tuning import collect_rarely
from order_service.infra.heartbeat import Heartbeat, beat
from order_service.infra.postgres import (
    WEB,
    Incarnation,
    check_role,
    create_engine,
    incarnation,
    watch_incarnation,
)
from order_service.infra.redis import connect
from order_service.log.event_log import EventLog
from order_service.log.fold import FoldedOrder
from order_service.log.reading import heads
from order_service.settings import Settings
from order_service.telemetry import logging as logs
from order_service.telemetry import metrics, tracing
from order_service.telemetry.exposition import exposed
from order_service.web import middleware
from order_service.web.admission import Admission, admission_of, admit
from order_service.web.compression import Compression
from order_service.web.fast_path import FastPath, FastRoute
from order_service.web.head_requests import as_get, is_head
from order_service.web.openapi import problem_pages, swagger
from order_service.web.problems import problem
from order_service.web.rate_limits import group_of
from order_service.web.request_metrics import counting, traced
from projections.monitoring.health import Health
from projections.monitoring.history import History
from projections.monitoring.progress import Rates
from projections.monitoring.readiness import Readiness, check_start
from projections.queries.expiring import expired_holds, unpaid_orders
from projections.queries.freshness import Freshness
from projections.queries.order_reader import OrderReader
from projections.routes import history, operations, streams, tickets
from projections.routes import router as queries
from projections.routes.orders import get_on_fast_path
from projections.streams.sse import Streams
from projections.streams.tickets import Tickets

logger = logging.getLogger(__name__)
# By method and by whether the path names an order.
FAST_ROUTES = {
    ("GET", True): FastRoute("orders-read", "/orders/{order_id}/", get_on_fast_path),
    ("PATCH", True): FastRoute("orders-write", "/orders/{order_id}/", patch_on_fast_path),
    ("POST", False): FastRoute("orders-write", "/orders/", post_on_fast_path),
}


class OrderService(FastAPI):
    """FastAPI, and the fast path, which `connection.Connection` tries first."""

    fast_path: FastPath

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            logs.begin_request()
        if is_head(scope):
            scope, send = as_get(scope, send)
        counted = counting(scope, send)
        if tracing.is_on() and scope["type"] == "http":
            await traced(super().__call__, scope, receive, counted)
        else:
            await super().__call__(scope, receive, counted)


def create_app(settings: Settings | None = None) -> OrderService:
    """The ASGI application. Its lifespan connects to the servers."""
    settings = settings or Settings()
    try:
        money.check_current(settings.DEFAULT_CURRENCY)
    except InvalidRequest as error:
        raise ValueError(f"DEFAULT_CURRENCY: {error.detail}") from None
    app = OrderService(
        title="Order Service",
        version="1",
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    # Starlette's State takes 0.3 us for each look-up of a name.
    app.state = cast(State, SimpleNamespace())
    app.state.settings = settings
    app.state.admission = Admission(settings)
    app.state.enums = ENUMS
    problem.install(app)
    app.fast_path = FastPath(app, FAST_ROUTES)
    app.router.routes += _routes()
    desk.install(app)
    if settings.DOCS_ENABLED:
        swagger.install(app)
    app.router.default = _other_slash(app.router.app)
    _add_middleware(app)
    return app


@cache
def _routes() -> list[BaseRoute]:
    """Built once a process, and before it serves: FastAPI would build the models of all routes at
    an app's first request, for a quarter of a second on the event loop."""
    included = APIRouter(dependencies=[Depends(admit)])
    for router in (
        accounts.router,
        api_keys.router,
        *orders.ROUTERS,
        queries.router,
        operations.router,
        history.router,
        streams.router,
        tickets.router,
        problem_pages.router,
        health.router,
    ):
        included.include_router(router)
    assert all(context.path for context in iter_route_contexts(included.routes))
    return included.routes


def _add_middleware(app: FastAPI) -> None:
    """The last one added is the outermost."""
    admission: Admission = app.state.admission
    app.add_middleware(
        middleware.Framing,
        concurrency=admission.concurrency,
        body_bytes_max_by_path={
            "/orders": limits.ORDER_BODY_BYTES_MAX,
            "/orders/bulk": limits.BULK_BODY_BYTES_MAX,
        },
    )
    app.add_middleware(Compression)
    app.add_middleware(middleware.Edge, admission=admission)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Starts the parts in this order, and stops them in the opposite one."""
    settings: Settings = app.state.settings
    async with AsyncExitStack() as stack:
        tracing.start(settings, "web")
        stack.callback(tracing.stop)
        log_now = await _connect_servers(app, stack)
        await _start_write_side(app, stack, log_now)
        await _start_read_side(app, stack)
        await _start_monitoring(app, stack)
        await _start_background_tasks(app, stack, log_now)
        collect_rarely()
        yield


async def _connect_servers(app: FastAPI, stack: AsyncExitStack) -> Incarnation:
    """Checks the database; returns the incarnation of its log."""
    settings: Settings = app.state.settings
    engine = app.state.engine = create_engine(settings, WEB, application_name="order-service-web")
    stack.push_async_callback(engine.dispose)
    await check_role(engine, WEB)
    await check_start(engine)
    redis = app.state.redis = connect(settings)
    stack.push_async_callback(redis.aclose)
    log_now = await incarnation(engine)
    cache = app.state.cache = OrderCache(redis, settings.CACHE_TTL_SECONDS, str(log_now))
    cache.start()
    stack.push_async_callback(cache.close)
    return log_now


async def _start_write_side(app: FastAPI, stack: AsyncExitStack, log_now: Incarnation) -> None:
    settings, engine, cache = app.state.settings, app.state.engine, app.state.cache
    admission: Admission = app.state.admission
    admission.known_keys.engine = engine
    hashing = Passwords()
    stack.callback(hashing.close)
    app.state.log = await stack.enter_async_context(_event_log(settings, engine, cache))
    app.state.accounts = accounts.Accounts(
        engine,
        hashing,
        admission.access_tokens,
        admission.rate_limits.failed_logins,
        RefreshTokens(engine, log_now.copy, settings.REFRESH_TOKEN_EXPIRE_DAYS),
    )


async def _start_read_side(app: FastAPI, stack: AsyncExitStack) -> None:
    engine, redis = app.state.engine, app.state.redis
    app.state.freshness = Freshness(engine)
    app.state.order_reader = OrderReader(engine, app.state.cache, app.state.log.partitions)
    stack.push_async_callback(app.state.order_reader.close)
    app.state.tickets = Tickets(redis)
    app.state.streams = Streams(engine, app.state.admission.known_keys)
    stack.push_async_callback(app.state.streams.close)
    stack.enter_context(_stopped_by_signals(app.state.streams.stop))


async def _start_monitoring(app: FastAPI, stack: AsyncExitStack) -> None:
    settings, engine, redis = app.state.settings, app.state.engine, app.state.redis
    admission: Admission = app.state.admission
    app.state.rates = Rates()
    app.state.history = History(engine, redis, app.state.rates)
    app.state.health = Health(settings, engine, redis)
    app.state.readiness = Readiness(settings, engine, redis)
    metrics.STREAMS_OPEN.reads(app.state.streams.count)
    metrics.STALE_KEYS.reads(app.state.cache.stale_count)
    metrics.HTTP_IN_PROGRESS.read = admission.concurrency.counts
    await stack.enter_async_context(beat(Heartbeat(redis, "web")))
    await stack.enter_async_context(exposed(settings, "web"))


async def _start_background_tasks(
    app: FastAPI, stack: AsyncExitStack, log_now: Incarnation
) -> None:
    settings, engine, log = app.state.settings, app.state.engine, app.state.log
    admission: Admission = app.state.admission
    tasks = [
        app.state.history.record_for_ever(),
        watch_incarnation(engine, log_now),
        admission.rate_limits.share_for_ever(app.state.redis),
        admission.known_keys.refresh_for_ever(),
    ]
    timers = [Timer("authorizations", 0x686F6C6473, expired_holds, _expire_authorizations)]
    if settings.PENDING_TTL is not None:
        ttl = settings.PENDING_TTL
        timers.append(Timer("unpaid orders", 0x657870697279, unpaid_orders, ExpireOrder, ttl))
    tasks += [expire_for_ever(engine, log, timer) for timer in timers]
    for task in tasks:
        await stack.enter_async_context(_running(task))


def _expire_authorizations() -> ExpireAuthorizations:
    return ExpireAuthorizations(now())


@asynccontextmanager
async def _event_log(
    settings: Settings, engine: AsyncEngine, cache: OrderCache
) -> AsyncIterator[EventLog]:
    """The process's log with its appender running. At the end it still appends queued commands."""
    append_engine = create_engine(
        settings,
        WEB,
        application_name="order-service-append",
        pool_size=1,
        statement_timeout_ms=limits.APPEND_STATEMENT_TIMEOUT_MS,
    )
    async with engine.connect() as connection:
        partitions = len(await heads(connection))

    async def refresh(orders: Sequence[FoldedOrder]) -> None:
        await cache.refresh([Entry(o.id, o.version, o.order.user_id, document(o)) for o in orders])

    log = EventLog(engine, append_engine, partitions, refresh)
    log.start()
    try:
        yield log
    finally:
        await log.close()
        await append_engine.dispose()


@asynccontextmanager
async def _running(work: "asyncio._CoroutineLike[None]") -> AsyncIterator[None]:
    """Runs `work` as a task inside the block and cancels it at the end."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        ended, _ = await asyncio.wait((task,), timeout=limits.STOP_GRACE_S)
        if not ended:  # it has taken the cancellation for an error of its own
            logger.error("a background task does not end: %s", task)


@contextmanager
def _stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Inside the block a signal that ends the process also calls `stop`, in the event loop.

    The server ends the lifespan only after the last response is complete, and a stream's never is.
    The existing handlers (the server's) run as well, and are restored at the end.
    """
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def handle(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(stop)
        handler = before[signal.Signals(number)]
        assert callable(handler)
        handler(number, frame)

    handled = [number for number, handler in before.items() if callable(handler)]
    for number in handled:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, before[number])


def _other_slash(router: ASGIApp) -> ASGIApp:
    """Answers a path without a route like the same path with, or without, a final slash; else 404.

    A redirect would surprise clients that POST, and a second set of routes would double the router.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if scope["type"] == "http" and not scope.get("order_service.slash") and path != "/":
            scope["order_service.slash"] = True
            # In place: the handler of an error needs the path of the route.
            scope["path"] = path[:-1] if path.endswith("/") else f"{path}/"
            await router(scope, receive, send)
            return
        # Unknown paths count as well: a search for paths has the same limit.
        request = Request(scope, receive)
        group = group_of(scope["method"], path)
        host = request.client.host if request.client else None
        admission_of(request).count_address(request.state.quotas, group, host)
        raise HTTPException(404)

    return app
