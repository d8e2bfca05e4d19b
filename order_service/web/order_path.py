"""Which order a path means.

A route takes the text and has `EventLog.resolve` find the order itself: look-up comes after the
validation of all that was sent (422 before 404), and a dependency would run before FastAPI checks
the route's own parameters.
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
