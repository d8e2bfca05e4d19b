"""Upcasters: convert the payloads of old schema versions, one version at a time.

`(type, schema version n)` maps to a pure function from the payload of version n to that of n + 1.
Stored rows never change; a reader applies every step up to the code's schema version.
"""

from collections.abc import Callable
from typing import Any


def unchanged(data: dict[str, Any]) -> dict[str, Any]:
    """The new version has more members, all with defaults: an old payload is read as it is."""
    return data


UPCASTERS: dict[tuple[str, int], Callable[[dict[str, Any]], dict[str, Any]]] = {
    ("OrderPlaced", 1): unchanged,
    ("OrderLineAdded", 1): unchanged,
    ("OrderLineQuantityChanged", 1): unchanged,
    ("OrderUnitsCanceled", 1): unchanged,
    ("ReturnReceived", 1): lambda data: {**data, "value_minor": None},
    ("ReturnReceived", 2): unchanged,
}
