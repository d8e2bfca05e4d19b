"""The names of sets of values in the OpenAPI document: clients get one type for each."""

from collections.abc import Mapping
from typing import get_args

from order_service.accounts.api_keys import Scope
from order_service.accounts.tokens import Role
from order_service.documents.board import Flag
from order_service.documents.sales import SalesStep
from order_service.domain import parts, state

ENUMS: Mapping[str, tuple[str, ...]] = {
    name: get_args(values)
    for name, values in {
        "OrderStatus": state.Status,
        "PaymentStatus": state.PaymentStatus,
        "FulfillmentStatus": state.FulfillmentStatus,
        "RefundStatus": state.RefundStatus,
        "ReturnStatus": state.ReturnStatus,
        "CancelReason": parts.CancelReason,
        "ReturnReason": parts.ReturnReason,
        "RefundReason": parts.RefundReason,
        "RefundCause": parts.RefundCause,
        "HoldReason": parts.HoldReason,
        "AuthorizationVoidReason": parts.AuthorizationVoidReason,
        "ShipmentVoidReason": parts.ShipmentVoidReason,
        "ReversalKind": parts.ReversalKind,
        "ReturnCondition": parts.ReturnCondition,
        "NoteVisibility": parts.NoteVisibility,
        "BoardFlag": Flag,
        "SalesStep": SalesStep,
        "UserRole": Role,
        "KeyScope": Scope,
    }.items()
}
