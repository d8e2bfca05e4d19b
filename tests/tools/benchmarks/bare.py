"""The bare yardstick: plain FastAPI routes that answer fixed bytes. It measures the framework
alone.

It has the service's server, the same request models (as plain FastAPI parameters) and the same
response bytes, but no token, no rate limit and no store.
"""

from pathlib import Path

from fastapi import FastAPI, Response

from order_service.api.orders.placing import PlaceOrderRequest
from order_service.api.orders.status import ChangeStatusRequest
from tests.tools.benchmarks.documents import JSON, folder, read


def create_app() -> FastAPI:
    return bare(folder())


def bare(documents: Path) -> FastAPI:
    app = FastAPI()
    order, placed = read(documents, "order"), read(documents, "placed")
    staff_page, user_page = read(documents, "staff"), read(documents, "user")

    @app.get("/orders/{order_id}/")
    async def read_order(order_id: str) -> Response:
        return Response(order, media_type=JSON)

    @app.get("/not-modified/{order_id}/")
    async def not_modified(order_id: str) -> Response:
        return Response(status_code=304)

    @app.get("/orders/")
    async def list_all() -> Response:
        return Response(staff_page, media_type=JSON)

    @app.get("/orders/user/{user_id}/")
    async def list_of_user(user_id: str) -> Response:
        return Response(user_page, media_type=JSON)

    @app.post("/orders/")
    async def place(body: PlaceOrderRequest) -> Response:
        return Response(placed, 201, media_type=JSON)

    @app.patch("/orders/{order_id}/")
    async def change_status(order_id: str, body: ChangeStatusRequest) -> Response:
        return Response(order, media_type=JSON)

    return app
