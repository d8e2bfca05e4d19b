"""Adds links to the OpenAPI document: which response has the ids for another operation's path.

A logged-in client places an order; the response has the order's id. The operations that add a
payment, shipment, refund, return or hold to it lead to those that go on with that part.
"""

import re
from typing import Any

# Path parameter to the operation that returns it, that operation's status, and a JSON pointer.
_SOURCES = {
    "user_id": ("accounts_me", "200", "/id"),
    "order_id": ("orders_place", "201", "/id"),
    "line_id": ("orders_get", "200", "/items/0/line_id"),
    "payment_id": ("payments_add", "200", "/payments/0/id"),
    "shipment_id": ("shipments_dispatch", "200", "/shipments/0/id"),
    "refund_id": ("refunds_request", "200", "/refunds/0/id"),
    "key_id": ("api_keys_create", "201", "/id"),
    "hold_id": ("holds_add", "200", "/holds/0/id"),
    "return_id": ("returns_request", "200", "/returns/0/id"),
}
# An order may have no such text, so the operation that gives it one leads to the one that reads it.
_TEXTS = {
    "orders_change_shipping_address": "orders_shipping_address",
    "orders_change_billing_address": "orders_billing_address",
    "orders_change_contact": "orders_contact",
}


def add_links(paths: dict[str, dict[str, Any]]) -> None:
    operations = {o["operationId"]: o for path in paths.values() for o in path.values()}

    def link(source: str, status: str, target: str, parameters: dict[str, str]) -> None:
        links = operations[source]["responses"][status].setdefault("links", {})
        links[target] = {"operationId": target, "parameters": parameters}

    link("accounts_me", "200", "orders_place", {})
    for source, target in _TEXTS.items():
        link(source, "200", target, {"order_id": "$response.body#/id"})
    for template, path in paths.items():
        names = [name for name in re.findall(r"\{(\w+)\}", template) if name in _SOURCES]
        if names:
            source, status, _ = _SOURCES[names[-1]]  # the last one, which names a part of an order
            parameters = {name: f"$response.body#{_SOURCES[name][2]}" for name in names}
            for operation in path.values():
                if operation["operationId"] in _TEXTS.values():
                    continue  # linked above
                link(source, status, operation["operationId"], parameters)
