# ruff: noqa: E501  # rows of data
"""Events in the log that no code of ours would have written: whoever reads them must not choke."""

import json
from typing import Any
from uuid import UUID

from tests.support.log.given_log import RawEvent

_LINE = {"line_id": 3, "sku": "A", "name": None, "quantity": 1, "unit_price_minor": 1}
_NOWHERE = str(UUID(int=7))


def _raw(name: str, data: Any, version: int = 1) -> RawEvent:
    return RawEvent(name, data if isinstance(data, str) else json.dumps(data), version)


def _line(**changed: Any) -> RawEvent:
    return _raw("OrderLineAdded", {"line": {**_LINE, **changed}, "total_minor": 1})


# Each as the second event of an order.
HOSTILE_EVENTS: list[RawEvent] = [
    *(_raw(name, {}) for name in ("OrderFrobnicated", "x", "orderpaid", "OrderPaid ", "__class__")),
    *(_raw(name, {}) for name in ("object", "Order", "OrderEvent", "os.system", "<script>", "٣")),
    *(_raw("OrderPaid", {"total_minor": 1, "captured_minor": 1}, n) for n in (2, 99, 32_767)),
    *(_raw("OrderPaid", data) for data in ("null", "1", '"x"', "[]", "true", "{}", "1e999")),
    *(_raw("OrderPaid", {"total_minor": n, "captured_minor": 1}) for n in ("1", 0.1, None, [], True)),
    *(_line(quantity=n) for n in ("1", 1.5, None, [], {}, True)),
    *(_line(unit_price_minor=n) for n in ("1", 0.1, [], {})),
    *(_line(sku=sku) for sku in (1, [])),
    *(_line(attributes=value) for value in (None, [], {"a": 1}, "x")),
    _raw("OrderPlaced", "[" * 2_000 + "]" * 2_000),
    _raw("OrderPlaced", {"user_id": _NOWHERE, "currency": "XXX", "lines": []}),
    _raw("ShipmentDelivered", {"shipment_id": _NOWHERE}),
    _raw("RefundCompleted", {"refund_id": _NOWHERE, "provider_reference": None}),
]  # fmt: skip
# Numbers that no 64 bits hold, with what is shown of them: they can be read, and are.
LARGE_EVENTS: list[tuple[RawEvent, int]] = [
    (_line(quantity=n, unit_price_minor=0), n) for n in (2**63, 2**64, -(2**63) - 1, 10**40)
]
