"""Edits by the shop, whatever has been paid and shipped of the order."""

from uuid import UUID, uuid4

from pydantic import Field

from order_service.api.orders.command_route import CommandRouter
from order_service.api.orders.fields import Item, LineId, Price, Quantity, Rate, minor
from order_service.domain import money
from order_service.domain.commands import EditOrder, LineEdit
from order_service.domain.parts import RefundReason
from order_service.domain.state import LINES_MAX
from order_service.log.fold import FoldedOrder
from order_service.web.fields import Body, ChangeBody, Note, ShortText

router = CommandRouter(prefix="/orders/{order_id}", tags=["lines"])


class LineChange(Body):
    """What is left out stays. `discount` and `tax` are those of all units of the line."""

    line_id: LineId
    quantity: Quantity | None = None
    unit_price: Price | None = None
    discount: Price | None = None
    tax: Price | None = None
    tax_rate: Rate | None = None
    tax_name: ShortText | None = None

    def edit(self, order: FoldedOrder) -> LineEdit:
        price, scale = None, 0
        if self.unit_price is not None:
            price, scale = money.to_fine_minor(self.unit_price, order.order.currency)
        return LineEdit(
            self.line_id,
            self.quantity,
            price,
            scale,
            minor(self.discount, order),
            minor(self.tax, order),
            self.tax_rate,
            self.tax_name,
        )


class EditOrderRequest(ChangeBody):
    """All changes together, in one step; what is left out stays. A lower total is refunded, unless
    `keep_credit`; a higher one is due, and nothing ships until it is paid."""

    add: list[Item] = Field(default_factory=list, max_length=LINES_MAX)
    change: list[LineChange] = Field(default_factory=list, max_length=LINES_MAX)
    remove: list[LineId] = Field(
        default_factory=list, max_length=LINES_MAX, description="The line_ids of whole lines."
    )
    shipping_fee: Price | None = None
    shipping_tax: Price | None = None
    discount: Price | None = Field(
        None, description="The order's discount: shared out over the lines that have not shipped."
    )
    keep_credit: bool = Field(default=False, strict=True)
    reason: RefundReason = "OTHER"
    note: Note | None = None


@router.command(
    "POST",
    "/edit/",
    EditOrder,
    operation_id="orders_edit",
    summary="Edit an order",
    problems=("order-not-editable", "line-not-found", "last-line", "discount-exceeds-goods"),
    text_kind="edit",
)
def edit_order(body: EditOrderRequest, order: FoldedOrder, text_ref: UUID | None) -> EditOrder:
    """Changes lines, prices, discounts, taxes and the shipping fee, before or after the payment.
    Units that have shipped keep what they were bought for. A dry run shows the new totals."""
    currency = order.order.currency
    return EditOrder(
        uuid4(),
        tuple(item.line(0, currency) for item in body.add),
        tuple(change.edit(order) for change in body.change),
        tuple(body.remove),
        minor(body.shipping_fee, order),
        minor(body.shipping_tax, order),
        minor(body.discount, order),
        body.keep_credit,
        body.reason,
        text_ref,
    )
