"""The requests that the OpenAPI document has as examples, in an order in which they make sense.

Data only. `{name}` in a path, query, header or body stands for what an earlier answer gave, under
the name that its step `keeps` it by; path parameters are filled in by their own names.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Who = Literal["nobody", "owner", "staff", "admin"]


@dataclass(frozen=True)
class Step:
    """`keeps`: name to JSON pointer into the answer, or to a header."""

    operation: str
    name: str
    who: Who = "owner"
    status: int = 200
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    form: Mapping[str, str] | None = None
    keeps: Mapping[str, str] = field(default_factory=dict)


PASSWORD = "correct horse battery staple"
ADDRESS = {
    "name": "Ada Lovelace",
    "line1": "12 St James's Square",
    "city": "London",
    "postal_code": "SW1Y 4JH",
    "country": "GB",
}
CONTACT = {"email": "grace@example.com", "name": "Grace Hopper", "phone": "+1 212 555 0142"}
ITEMS = [
    {"sku": "PEN-1", "name": "Pen", "quantity": "2", "unit_price": "9.99"},
    {"sku": "INK-7", "quantity": "1", "unit_price": "5.00", "attributes": {"colour": "black"}},
]
PRICED = {"items": ITEMS, "total_price": "24.98", "currency": "USD", "external_reference": "web-1"}

ACCOUNTS = (
    Step(
        "accounts_register",
        "customer",
        "nobody",
        201,
        body={"email": "ada@example.com", "password": PASSWORD},
        keeps={"user_id": "/id"},
    ),
    Step(
        "accounts_log_in",
        "password",
        "nobody",
        form={"grant_type": "password", "username": "ada@example.com", "password": PASSWORD},
        keeps={"owner_token": "/access_token", "refresh_token": "/refresh_token"},
    ),
    Step(
        "accounts_refresh",
        "refresh",
        "nobody",
        form={"refresh_token": "{refresh_token}"},
        keeps={"refresh_token": "/refresh_token"},
    ),
    Step("accounts_revoke", "log_out", "nobody", form={"token": "{refresh_token}"}),
    Step("accounts_me", "own_account"),
)

PLACING = (
    Step("orders_place", "dry_run", query={"dry_run": "true"}, body=PRICED),
    Step(
        "orders_place",
        "agreed_total",
        status=201,
        body={"items": [{"sku": "ART-3", "quantity": "1"}], "total_price": "1500.00"},
    ),
    Step(
        "orders_place",
        "strings",
        status=201,
        body={"items": [{"sku": "7", "quantity": "2", "unit_price": "10.50"}]},
        keeps={"order_id": "/id"},
    ),
    Step(
        "payments_add",
        "authorization",
        "staff",
        body={"kind": "authorization", "method": "card", "provider_reference": "auth_19"},
        keeps={"payment_id": "/payments/0/id"},
    ),
    Step("payments_void", "void", "staff", body={"reason": "CUSTOMER_REQUEST"}),
    Step("payments_fail", "declined", "staff", body={"code": "card_declined"}),
    Step("orders_cancel", "by_owner", body={"reason": "OTHER", "note": "The wrong day."}),
    Step(
        "orders_place",
        "for_a_customer",
        "staff",
        201,
        body={"user_id": "{user_id}", "items": ITEMS},
        keeps={"order_id": "/id"},
    ),
    Step(
        "orders_place",
        "for_a_guest",
        "staff",
        201,
        body={"customer": CONTACT, "items": ITEMS, "tags": ["gift"], "note": "Ring twice."},
    ),
    Step("orders_change_status", "paid", "staff", body={"status": "PAID"}),
    Step(
        "lines_cancel_units",
        "out_of_stock",
        "staff",
        body={"quantity": "1", "reason": "OUT_OF_STOCK"},
        keeps={"refund_id": "/refunds/0/id"},
    ),
    Step("refunds_fail", "closed", "staff", body={"code": "account_closed"}),
    Step(
        "orders_place",
        "priced",
        status=201,
        headers={"Idempotency-Key": "8e03978e-40d5-43e8-bc93-6894a57f9324"},
        body=PRICED,
        keeps={"order_id": "/id", "number": "/number"},
    ),
)

LIFE = (
    Step("lines_change_quantity", "three", headers={"If-Match": '"1"'}, body={"quantity": "3"}),
    Step(
        "lines_add",
        "another",
        body={"sku": "CAP-2", "name": "Cap", "quantity": "1", "unit_price": "3.00"},
        keeps={"line_id": "/items/2/line_id"},
    ),
    Step("lines_remove", "third_line", keeps={"line_id": "/items/0/line_id"}),
    Step("orders_change_shipping_address", "whole", body=ADDRESS),
    Step("orders_change_billing_address", "whole", body=ADDRESS),
    Step("orders_change_contact", "whole", body=CONTACT),
    Step(
        "orders_set_metadata",
        "set_and_remove",
        "staff",
        body={"metadata": {"channel": "web", "basket": "77", "draft": None}},
    ),
    Step("orders_set_tags", "two", "staff", body={"tags": ["gift", "express"]}),
    Step(
        "orders_look_up", "guest", "nobody", body={"number": "{number}", "email": CONTACT["email"]}
    ),
    Step("notes_add", "public", body={"text": "Please ring twice."}),
    Step(
        "holds_add",
        "fraud_review",
        "staff",
        body={"reason": "FRAUD_REVIEW", "note": "A new address."},
        keeps={"hold_id": "/holds/0/id"},
    ),
    Step("holds_release", "checked", "staff", body={}),
    Step(
        "orders_edit",
        "reprice_and_back",
        "staff",
        body={"change": [{"line_id": 1, "discount": "0.00"}], "shipping_fee": "0.00"},
    ),
    Step(
        "payments_add",
        "part",
        "staff",
        body={"kind": "authorization", "amount": "20.00"},
        keeps={"payment_id": "/payments/0/id"},
    ),
    Step("payments_capture", "all_of_it", "staff", body={}),
    Step(
        "payments_reverse",
        "chargeback",
        "staff",
        body={"kind": "CHARGEBACK", "amount": "20.00", "provider_reference": "dp_5"},
    ),
    Step("payments_restore", "won", "staff", body={"provider_reference": "dp_5_won"}),
    Step(
        "payments_add",
        "rest",
        "staff",
        body={"kind": "capture", "amount": "14.97", "provider_reference": "pay_7f3a"},
    ),
    Step(
        "shipments_dispatch",
        "first_parcel",
        "staff",
        body={"lines": [{"line_id": 1, "quantity": "2"}], "carrier": "DHL"},
        keeps={"shipment_id": "/shipments/0/id"},
    ),
    Step("shipments_update_tracking", "number", "staff", body={"tracking_number": "JD014600"}),
    Step("shipments_confirm_delivery", "now", "staff", body={}),
    Step("shipments_dispatch", "rest", "staff", body={}, keeps={"shipment_id": "/shipments/1/id"}),
    Step("shipments_void", "lost", "staff", body={"reason": "LOST", "note": "No trace of it."}),
    Step(
        "returns_request",
        "damaged",
        body={"lines": [{"line_id": 1, "quantity": "1"}], "reason": "DAMAGED"},
        keeps={"return_id": "/returns/0/id"},
    ),
    Step("returns_approve", "approve", "staff", body={}),
    Step(
        "returns_receive",
        "one_unit",
        "staff",
        body={"lines": [{"line_id": 1, "quantity": "1", "condition": "DAMAGED"}]},
        keeps={"refund_id": "/refunds/0/id"},
    ),
    Step("refunds_settle", "settle", "staff", body={"provider_reference": "re_88"}),
    Step("refunds_request", "goodwill", "staff", body={"amount": "5.00", "reason": "GOODWILL"}),
    Step(
        "returns_request",
        "not_needed",
        body={"lines": [{"line_id": 1, "quantity": "1"}], "reason": "NO_LONGER_NEEDED"},
        keeps={"return_id": "/returns/1/id"},
    ),
    Step("returns_reject", "used", "staff", body={"note": "It was used."}),
    Step(
        "returns_request",
        "again",
        body={"lines": [{"line_id": 1, "quantity": "1"}], "reason": "OTHER"},
        keeps={"return_id": "/returns/2/id"},
    ),
    Step("returns_cancel", "kept", body={}),
    Step(
        "orders_place_bulk",
        "two",
        headers={"Idempotency-Key": "import-17"},
        body={
            "orders": [
                {"items": [{"sku": "PEN-1", "quantity": "1", "unit_price": "9.99"}]},
                {"items": [{"sku": "PEN-1", "quantity": "0"}]},
            ]
        },
    ),
)

READS = (
    Step("orders_get", "now"),
    Step("orders_get", "unchanged", status=304, headers={"If-None-Match": '"{version}"'}),
    Step("orders_get", "as_placed", query={"version": "1"}),
    Step("orders_actions", "of_owner"),
    Step("orders_events", "first_two", query={"limit": "2"}),
    Step("orders_diff", "first_edit", query={"from": "1", "to": "2"}),
    Step("orders_notes", "of_owner"),
    Step("orders_shipping_address", "address"),
    Step("orders_billing_address", "address"),
    Step("orders_contact", "contact"),
    Step(
        "orders_list",
        "on_their_way",
        "staff",
        query={"status": "PAID,PARTIALLY_SHIPPED", "include": "total"},
    ),
    Step("orders_list_of_user", "canceled", query={"status": "CANCELED"}),
    Step("orders_export", "lines", "staff", query={"status": "CANCELED"}),
    Step("orders_export", "csv", "staff", query={"status": "CANCELED", "format": "csv"}),
    Step("users_summary", "own"),
    Step("reports_sales", "today", "staff", query={"from": "{today}", "to": "{today}"}),
    Step("stream_tickets_issue", "ticket"),
    Step("service_health", "alive", "nobody"),
    Step("service_ready", "ready", "nobody"),
    Step("service_version", "version", "nobody"),
    Step("problems_explain", "stale_version", "nobody"),
)

OPERATIONS = (
    Step("ops_projections", "all", "staff"),
    Step("ops_rollback", "rollback", "staff"),
    Step("ops_rebuild", "rebuild", "staff", 202),
    Step(
        "ops_dead_letters",
        "of_one_read_model",
        "staff",
        query={"projection": "sales_by_day"},
        keeps={"letter_id": "/items/0/id"},
    ),
    Step("ops_dead_letter_retry", "in_vain", "staff"),
    Step("ops_dead_letter_skip", "skip", "staff", body={"reason": "Written by a mistake."}),
    Step("ops_health", "health", "staff"),
    Step("ops_history", "last_minute", "staff", query={"minutes": "1"}),
)
API_KEYS = (
    Step(
        "api_keys_create",
        "of_a_shop",
        "admin",
        201,
        body={
            "name": "shop",
            "scopes": ["orders:read", "orders:write", "orders:price"],
            "rate_limit": "5000/minute",
        },
        keeps={"key_id": "/id"},
    ),
    Step("api_keys_list", "one", "admin"),
    Step("api_keys_change", "narrowed", "admin", body={"scopes": ["orders:read"]}),
    Step("api_keys_rotate", "at_once", "admin", body={"overlap": "PT0S"}),
    Step("api_keys_get", "rotated", "admin"),
    Step("api_keys_revoke", "revoked", "admin"),
)
# Last: which events come first, and so which ids, is a matter of partitions.
# Whose first event comes first is a matter of partitions: so streams are last, since what they name
# anew is numbered from there on.
STREAMS = (
    Step("board_get", "of_the_day", "staff"),
    Step(
        "sales_overview",
        "of_the_day",
        "staff",
        query={"from": "{today}T00:00:00Z", "to": "{today}T23:59:59Z", "by": "day"},
    ),
    Step("orders_stream", "from_the_first", query={"since": "0"}),
    Step("events_stream", "from_the_first", "staff", query={"since": "0.0.0.0"}),
    Step("board_stream", "from_the_first", "staff", query={"since": "0.0.0.0"}),
)
STEPS = ACCOUNTS + PLACING + LIFE + READS + OPERATIONS + API_KEYS + STREAMS
