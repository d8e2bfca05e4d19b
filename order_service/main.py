"""The web process, put together: `create_app()`."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from types import FrameType, SimpleNamespace
from typing import cast

from fastapi import Depends, FastAPI
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.datastructures import State
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from order_service import limits
from order_service.accounts.passwords import Passwords
from order_service.accounts.refresh import RefreshTokens
from order_service.accounts.tokens import AccessTokens
from order_service.api import accounts, health, orders
from order_service.api.orders.placing import post_in_lane
from order_service.api.orders.status import patch_in_lane
from order_service.cache.order_cache import Entry, OrderCache
from order_service.commands.expiry import expire_for_ever
from order_service.desk import routes as desk
from order_service.documents.order import document
from order_service.domain import money
from order_service.errors import InvalidRequest, UnreadableEvent
from order_service.infra import readiness
from order_service.infra.gc_tuning import collect_rarely
from order_service.infra.heartbeat import Heartbeat, beating
from order_service.infra.postgres import (
    WEB,
    check_role,
    create_engine,
    incarnation,
    watch_incarnation,
)
from order_service.infra.readiness import Readiness
from order_service.infra.redis import connect
from order_service.log.event_log import EventLog
from order_service.log.fold import FoldedOrder
from order_service.log.reading import heads
from order_service.settings import Settings
from order_service.telemetry import metrics, tracing
from order_service.telemetry.exposition import exposed
from order_service.web import identity, middleware
from order_service.web.concurrency import Work
from order_service.web.fast_path import FastLane, Lane
from order_service.web.openapi import problem_pages, swagger
from order_service.web.problems import problem
from order_service.web.rate_limits import Limits, address_of, admit
from order_service.web.request_metrics import counting, traced
from projections.monitoring.health import Health
from projections.monitoring.history import History
from projections.monitoring.progress import Rates
from projections.queries.freshness import Freshness
from projections.queries.order_reader import OrderReader
from projections.queries.unpaid_orders import unpaid_orders
from projections.routes import history, operations, streams, tickets
from projections.routes import router as queries
from projections.routes.orders import get_on_fast_path
from projections.streams.sse import Streams
from projections.streams.tickets import Tickets

# What the fast lane serves, by method and by whether the path names an order.
LANES = {
    ("GET", True): Lane("orders-read", "/orders/{order_id}/", get_on_fast_path),
    ("PATCH", True): Lane("orders-write", "/orders/{order_id}/", patch_in_lane),
    ("POST", False): Lane("orders-write", "/orders/", post_in_lane),
}


class OrderService(FastAPI):
    """FastAPI, and what `connection.Connection` asks before it: the fast lane."""

    lane: FastLane

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        counted = counting(scope, send)
        if tracing.is_on() and scope["type"] == "http":
            await traced(super().__call__, scope, receive, counted)
        else:
            await super().__call__(scope, receive, counted)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The ASGI application; its servers are asked for at start-up only, by the lifespan."""
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
        dependencies=[Depends(admit)],
    )
    # Starlette's own looks every name up in a dictionary of it, in Python: 0.3 us each.
    app.state = cast(State, SimpleNamespace())
    app.state.settings = settings
    app.state.access_tokens = AccessTokens(settings)
    app.state.limits = Limits(settings)
    app.state.work = Work()
    problem.install(app)
    app.add_exception_handler(UnreadableEvent, identity.unreadable)
    app.lane = FastLane(app, LANES, settings.allowed_origins)
    _include_routes(app)
    desk.install(app)
    if settings.DOCS_ENABLED:
        swagger.install(app)
    app.router.default = _other_slash(app.router.app)
    _add_middleware(app, settings)
    return app


def _include_routes(app: FastAPI) -> None:
    app.include_router(accounts.router)
    for router in orders.ROUTERS:
        app.include_router(router)
    app.include_router(queries.router)
    app.include_router(operations.router)
    app.include_router(history.router)
    app.include_router(streams.router)
    app.include_router(tickets.router)
    app.include_router(problem_pages.router)
    app.include_router(health.router)


def _add_middleware(app: FastAPI, settings: Settings) -> None:
    """The last one added is the outermost."""
    app.add_middleware(
        middleware.Framing,
        work=app.state.work,
        body_bytes_max_by_path={"/orders/bulk": limits.BULK_BODY_BYTES_MAX},
    )
    app.add_middleware(middleware.Edge)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=settings.allowed_origins,
        allow_methods=middleware.CORS_METHODS,
        allow_headers=middleware.CORS_ALLOWED_HEADERS,
        expose_headers=middleware.CORS_EXPOSED_HEADERS,
    )


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: Settings = app.state.settings
    async with AsyncExitStack() as stack:
        tracing.start(settings, "web")
        stack.callback(tracing.stop)
        engine = create_engine(settings, WEB, application_name="order-service-web")
        stack.push_async_callback(engine.dispose)
        await check_role(engine, WEB)
        await readiness.check_migrations(engine)
        await readiness.check_durability(engine)
        redis = connect(settings)
        stack.push_async_callback(redis.aclose)
        log_now = await incarnation(engine)
        cache = OrderCache(redis, settings.CACHE_TTL_SECONDS, str(log_now))
        cache.start()
        stack.push_async_callback(cache.close)
        hashing = Passwords()
        stack.callback(hashing.close)

        app.state.engine = engine
        app.state.redis = redis
        app.state.cache = cache
        app.state.log = await stack.enter_async_context(_event_log(settings, engine, cache))
        app.state.freshness = Freshness(engine)
        app.state.order_reader = OrderReader(engine, cache, app.state.log.partitions)
        stack.push_async_callback(app.state.order_reader.close)
        app.state.rates = Rates()
        app.state.history = History(engine, redis, app.state.rates)
        app.state.health = Health(settings, engine, redis, app.state.rates)
        await stack.enter_async_context(beating(Heartbeat(redis, "web")))
        app.state.tickets = Tickets(redis)
        app.state.streams = Streams(engine)
        stack.push_async_callback(app.state.streams.close)
        stack.enter_context(_told_to_stop(app.state.streams.stop))
        app.state.accounts = accounts.Accounts(
            engine,
            hashing,
            app.state.access_tokens,
            app.state.limits.failed_logins,
            RefreshTokens(engine, log_now.copy, settings.REFRESH_TOKEN_EXPIRE_DAYS),
        )
        app.state.readiness = Readiness(
            {
                "database": readiness.database(engine),
                "broker": readiness.broker(settings),
                "cache": readiness.cache(redis),
                "lag": readiness.lag(engine),
            }
        )
        metrics.STREAMS_OPEN.reads(app.state.streams.count)
        metrics.STALE_KEYS.reads(cache.stale_count)
        metrics.HTTP_IN_WORK.read = app.state.work.counts
        await stack.enter_async_context(exposed(settings, "web"))
        await stack.enter_async_context(_running(app.state.history.note_for_ever()))
        await stack.enter_async_context(_running(watch_incarnation(engine, log_now)))
        await stack.enter_async_context(_running(app.state.limits.share_for_ever(redis)))
        if settings.PENDING_TTL is not None:
            await stack.enter_async_context(
                _running(
                    expire_for_ever(engine, app.state.log, unpaid_orders, settings.PENDING_TTL)
                )
            )
        collect_rarely()
        yield


@asynccontextmanager
async def _event_log(
    settings: Settings, engine: AsyncEngine, cache: OrderCache
) -> AsyncIterator[EventLog]:
    """The process's log, with its appender running; what is queued at the end is still answered."""
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
    """`work` runs as a task inside the block and is cancelled at its end."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@contextmanager
def _told_to_stop(stop: Callable[[], None]) -> Iterator[None]:
    """Inside the block `stop` is called, in the event loop, as soon as a signal tells the process
    to end.

    The server ends the lifespan only after the last answer is complete, and a stream's never is.
    The handlers that are there already (the server's) run as well, and are put back at the end.
    """
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def tell(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(stop)
        handler = before[signal.Signals(number)]
        assert callable(handler)
        handler(number, frame)

    handled = [number for number, handler in before.items() if callable(handler)]
    for number in handled:
        signal.signal(number, tell)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, before[number])


def _other_slash(router: ASGIApp) -> ASGIApp:
    """What answers a path that no route has: the same path with, or without, its trailing slash;
    else 404.

    Not a redirect, which surprises clients that POST; and no second set of routes, which would
    double the router.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if scope["type"] == "http" and not scope.get("order_service.slash") and path != "/":
            scope["order_service.slash"] = True
            # In place: whoever handles an error of the route must see the path that it has.
            scope["path"] = path[:-1] if path.endswith("/") else f"{path}/"
            await router(scope, receive, send)
            return
        # Addresses that do not exist count as well: nobody may search for some without limit.
        request = Request(scope, receive)
        request.app.state.limits.hit(request, "address", address_of(request))
        raise HTTPException(404)

    return app
