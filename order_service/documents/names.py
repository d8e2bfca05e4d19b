"""The names of sets of values in the OpenAPI document: clients get one type for each."""

from collections.abc import Mapping
from typing import get_args

from order_service.accounts.api_keys import Scope
from order_service.accounts.tokens import Role
from order_service.documents.board import Flag
from order_service.documents.sales import SalesStep
from order_service.domain import events, state

ENUMS: Mapping[str, tuple[str, ...]] = {
    name: get_args(values)
    for name, values in {
        "OrderStatus": state.Status,
        "PaymentStatus": state.PaymentStatus,
        "FulfillmentStatus": state.FulfillmentStatus,
        "RefundStatus": state.RefundStatus,
        "ReturnStatus": state.ReturnStatus,
        "CancelReason": events.CancelReason,
        "ReturnReason": events.ReturnReason,
        "RefundReason": events.RefundReason,
        "RefundCause": events.RefundCause,
        "HoldReason": events.HoldReason,
        "AuthorizationVoidReason": events.AuthorizationVoidReason,
        "ShipmentVoidReason": events.ShipmentVoidReason,
        "ReversalKind": events.ReversalKind,
        "ReturnCondition": events.ReturnCondition,
        "NoteVisibility": events.NoteVisibility,
        "BoardFlag": Flag,
        "SalesStep": SalesStep,
        "UserRole": Role,
        "KeyScope": Scope,
    }.items()
}
