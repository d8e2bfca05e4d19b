"""The command routes of orders, a file a noun: parse, ask for one command, answer."""

from order_service.api.orders import (
    actions,
    cancellations,
    details,
    lines,
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
        status,
        details,
        lines,
        payments,
        shipments,
        cancellations,
        refunds,
        returns,
        actions,
    )
)
