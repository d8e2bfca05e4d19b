"""The thin yardstick: a minimal service, written by hand in an afternoon. FastAPI, python-jose for
the token, then one INSERT by asyncpg or one GET of Redis; nothing else.

Its table is in the service's PostgreSQL, so its commits are as durable. It uses the drivers as
their documentation shows.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any
from uuid import uuid4

import asyncpg
import orjson
from fastapi import Depends, FastAPI, HTTPException, Response
from fastapi.security import OAuth2PasswordBearer
from jose import JWTError, jwt
from redis.asyncio import Redis

from order_service.accounts.tokens import AUDIENCE, ISSUER
from order_service.api.orders.placing import PlaceOrderRequest
from order_service.api.orders.status import ChangeStatusRequest
from order_service.limits import POOL_SIZE
from order_service.settings import Settings
from tests.tools.benchmarks.documents import JSON, folder, read

TABLE = """
CREATE TABLE IF NOT EXISTS thin_changes (
    id uuid PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(), change jsonb NOT NULL
)
"""
INSERT = "INSERT INTO thin_changes (id, change) VALUES ($1, $2)"
_bearer = OAuth2PasswordBearer("/token/")


def key_of(name: str) -> str:
    """The Redis key of an order or a page."""
    return f"thin:{name}"


def create_app() -> FastAPI:
    settings = Settings()
    documents = folder()
    order, placed = read(documents, "order"), read(documents, "placed")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.redis = _redis(settings)
        async with _pool(settings) as app.state.pool:
            await app.state.pool.execute(TABLE)
            yield
        await app.state.redis.aclose()

    app = FastAPI(lifespan=lifespan)

    async def check_token(token: Annotated[str, Depends(_bearer)]) -> dict[str, Any]:
        try:
            claims: dict[str, Any] = jwt.decode(
                *(token, settings.SECRET_KEY, [settings.ALGORITHM]),
                audience=AUDIENCE,
                issuer=ISSUER,
            )
        except JWTError:
            raise HTTPException(401) from None
        return claims

    caller = [Depends(check_token)]

    async def stored(name: str) -> bytes:
        found: bytes | None = await app.state.redis.get(key_of(name))
        if found is None:
            raise HTTPException(404)
        return found

    @app.get("/orders/{order_id}/", dependencies=caller)
    async def read_order(order_id: str) -> Response:
        return Response(await stored(order_id), media_type=JSON)

    @app.get("/not-modified/{order_id}/", dependencies=caller)
    async def not_modified(order_id: str) -> Response:
        await stored(order_id)
        return Response(status_code=304)

    @app.get("/orders/", dependencies=caller)
    async def list_all() -> Response:
        return Response(await stored("staff"), media_type=JSON)

    @app.get("/orders/user/{user_id}/", dependencies=caller)
    async def list_of_user(user_id: str) -> Response:
        return Response(await stored("user"), media_type=JSON)

    @app.post("/orders/", dependencies=caller)
    async def place(body: PlaceOrderRequest) -> Response:
        await app.state.pool.execute(INSERT, uuid4(), body.model_dump_json())
        return Response(placed, 201, media_type=JSON)

    @app.patch("/orders/{order_id}/", dependencies=caller)
    async def change_status(order_id: str, body: ChangeStatusRequest) -> Response:
        change = orjson.dumps({"order": order_id, "status": body.status}).decode()
        await app.state.pool.execute(INSERT, uuid4(), change)
        return Response(order, media_type=JSON)

    return app


def _pool(settings: Settings) -> asyncpg.Pool:
    return asyncpg.create_pool(
        host=settings.DB_HOST,
        port=settings.DB_PORT,
        user=settings.DB_USER,
        password=settings.DB_PASSWORD,
        database=settings.DB_NAME,
        min_size=POOL_SIZE,
        max_size=POOL_SIZE,
    )


def _redis(settings: Settings) -> Redis:
    return Redis(
        host=settings.REDIS_HOST,
        port=settings.REDIS_PORT,
        password=settings.REDIS_PASSWORD or None,
        db=settings.REDIS_DB,
    )
