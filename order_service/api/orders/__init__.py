"""The command routes of orders, one file a noun: parse a request, execute one command, answer."""

from order_service.api.orders import (
    actions,
    cancellations,
    details,
    editing,
    holds,
    labels,
    lines,
    lookup,
    payments,
    placing,
    refunds,
    returns,
    shipments,
    status,
)

ROUTERS = tuple(
    module.router
    for module in (
        placing,
        lookup,
        status,
        details,
        labels,
        editing,
        holds,
        lines,
        payments,
        shipments,
        cancellations,
        refunds,
        returns,
        actions,
    )
)
