"""Orders, their differences and events as text for a terminal."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from order_service.infra.terminal import aligned, printable

Document = dict[str, Any]
_LIST = ("number", "status", "payment_status", "fulfillment_status", "total_price", "currency")
_HEAD = (
    *("number", "id", "user_id", "external_reference", "version", "created_at", "updated_at"),
    *("status", "payment_status", "fulfillment_status", "cancel_reason"),
    *("prices_trusted", "tax_included", "tags"),
)
_MONEY = (
    *("total_price", "shipping_fee", "shipping_tax", "discount", "authorized", "captured"),
    *("refunded", "refund_pending", "reversed", "returned", "amount_due", "credit_due"),
)
_PARTS = {
    "items": (
        *("line_id", "sku", "name", "quantity", "unit", "unit_price", "discount", "share", "tax"),
        "value",
        *("canceled", "shipped", "delivered", "returned"),
    ),
    "payments": (
        *("id", "kind", "source", "closed", "authorized", "open", "captured", "refunded"),
        *("reversed", "provider_reference"),
    ),
    "shipments": ("id", "carrier", "tracking_number", "dispatched_at", "delivered_at", "voided"),
    "refunds": ("id", "status", "amount", "cause", "reason"),
    "returns": ("id", "status", "reason"),
    "holds": ("id", "reason", "released"),
}
_DATA_WIDTH = 100


def listed(orders: list[Document]) -> str:
    heads = (*_LIST, "updated_at", "id")
    return f"{_table(heads, orders)}\n{len(orders):,} orders."


def order(shown: Document) -> str:
    """The order's facts, its amounts, and a table of each kind of its parts."""
    facts = [(name, _fact(shown[name])) for name in _HEAD if shown[name] not in (None, [])]
    facts += [(f"metadata.{key}", value) for key, value in shown["metadata"].items()]
    money = [(name, f"{shown[name]} {shown['currency']}") for name in _MONEY]
    width = max(len(name) for name, _ in (*facts, *money))
    lines = [f"{printable(n).ljust(width)}  {printable(v)}" for n, v in (*facts, *money)]
    for name, heads in _PARTS.items():
        if shown[name]:
            lines += ["", f"{name}:", _table(heads, shown[name])]
    return "\n".join(lines)


def _fact(value: object) -> object:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, list) else value


def diff(shown: Document) -> str:
    rows = [
        (change["pointer"] or "/", _value(change["from"]), _value(change["to"]))
        for change in shown["changes"]
    ]
    names = (f"version {shown['from']}", f"version {shown['to']}")
    return aligned(("pointer", *names), rows)


def events(shown: list[Document]) -> str:
    rows = [
        (event["version"], event["at"], event["type"], actor(event), _value(event["data"]))
        for event in shown
    ]
    return aligned(("version", "at", "type", "actor", "data"), rows)


def actor(event: Mapping[str, Any]) -> str:
    """`unreadable` if the running version cannot read the event."""
    found = event.get("actor", {"type": "unreadable"})
    return " ".join(filter(None, (found["type"], found.get("id"))))


def _table(heads: Iterable[str], rows: list[Document]) -> str:
    names = tuple(heads)
    return aligned(names, [[row[name] for name in names] for row in rows])


def _value(value: object) -> str:
    """JSON, shortened to _DATA_WIDTH; `--json` shows all of it."""
    text = "-" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _DATA_WIDTH else f"{text[: _DATA_WIDTH - 3]}..."


AS_TEXT: Mapping[str, Callable[[Any], str]] = {
    "list": listed,
    "show": order,
    "at": order,
    "diff": diff,
    "events": events,
}
