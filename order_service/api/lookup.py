"""Which order a path means. May import the log.

Look-up comes after the validation of what was sent (422 before 404), and FastAPI runs dependencies
in the order in which they are declared, before it checks the route's own parameters. So a route
with a body declares `OrderId` after it; one with query parameters takes `OrderPath` and calls
`EventLog.resolve` itself.
"""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path
from starlette.requests import Request

from order_service.log.event_log import EventLog

OrderPath = Annotated[
    str,
    Path(
        alias="order_id",
        description="The order's id, or its number.",
        examples=["0199a2b4-5c6d-7e8f-9a0b-1c2d3e4f5a6b", "A-100042-1"],
    ),
]


async def _resolved(request: Request, order_id: OrderPath) -> UUID:
    log: EventLog = request.app.state.log
    return await log.resolve(order_id)


# The id of an order that may exist. Raises OrderNotFound for a text that names none.
OrderId = Annotated[UUID, Depends(_resolved)]
