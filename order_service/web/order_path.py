"""The order id in a path.

It stays text here: the route calls `EventLog.resolve` itself, after validating all that was sent
(422 before 404). A dependency would run before FastAPI checks the route's own parameters.
"""

from typing import Annotated

from fastapi import Path

OrderPath = Annotated[
    str,
    Path(
        alias="order_id",
        description="The order's id, or its number.",
        examples=["0199a2b4-5c6d-7e8f-9a0b-1c2d3e4f5a6b", "A-100042-1"],
    ),
]
