"""Problem types of orders: not found, or refused by their state or their numbers."""

from collections.abc import Mapping

from order_service.web.problems.problem_type import ProblemType

_RULE = ("order_status", "allowed_transitions", "current_version")


def _rule(
    meaning: str, cause: str, remedy: str, detail: str, *, may_have: tuple[str, ...] = ()
) -> ProblemType:
    """The order's current state forbids the change."""
    return ProblemType(409, meaning, cause, remedy, detail, _RULE, may_have)


ORDER_PROBLEMS: Mapping[str, ProblemType] = {
    # --- not found --------------------------------------------------------------------------------
    "not-found": ProblemType(
        404,
        "There is nothing at this path.",
        "The path has no route, or it names a user, payment, shipment ... that does not exist.",
        "Read the order and take ids from it; see /docs for the paths.",
        "There is nothing at this path.",
    ),
    "order-not-found": ProblemType(
        404,
        "There is no order with this id or number that you may see.",
        "It does not exist, or belongs to another user. The response does not say which.",
        "Take ids from the list of your orders.",
        "No order with this id or number that you may see.",
    ),
    "line-not-found": ProblemType(
        404,
        "The order has no such line.",
        "The line was removed, or the line_id belongs to another order.",
        "Read the order and take the line_id of one of its items.",
        "The order has no such line: read it and take the line_id of one of its items.",
    ),
    # --- forbidden by the order's state -----------------------------------------------------------
    "invalid-transition": _rule(
        "The order's status does not allow this.",
        "From each status only certain others can follow; a canceled order never changes again.",
        "See `allowed_transitions`, and GET /orders/{id}/actions/ for what you may do now.",
        "Cannot go from PENDING to DELIVERED.",
        may_have=("from_status", "to_status"),
    ),
    "payment-required": _rule(
        "The order must be paid first.",
        "Only paid orders are shipped.",
        "Record the payment, then ship.",
        "Cannot ship: the order is not paid.",
        may_have=("from_status", "to_status"),
    ),
    "already-shipped": _rule(
        "Units of the order have shipped.",
        "Shipped units cannot be canceled.",
        "Cancel the units that have not shipped, or request a return after the delivery.",
        "Cannot cancel: units have shipped.",
        may_have=("from_status", "to_status"),
    ),
    "order-not-editable": _rule(
        "This part of the order can no longer change.",
        "Lines can change while the order is PENDING and unpaid, the address until the first "
        "shipment. The lines of an order with an agreed total never change.",
        "The shop edits it: POST /orders/{order_id}/edit/. Or cancel the order or some of its "
        "units, and place another order.",
        "Cannot change the lines: the order is PAID.",
    ),
    "order-full": _rule(
        "The order has reached its maximum number of events.",
        "Each change and note is an event, and the number of events is limited. Staff may add "
        "more than the owner.",
        "Ask staff to complete the order, and place another.",
        "The order has 1000 events: the maximum is 1000.",
    ),
    "last-line": _rule(
        "An order keeps at least one line.",
        "The line to remove is the only one.",
        "Cancel the order instead.",
        "Cannot remove the last line of an order: cancel the order instead.",
    ),
    "prices-not-trusted": ProblemType(
        403,
        "Prices come from the shop, not from its customers.",
        "The setting CUSTOMER_PRICES is refuse, or staff placed the order: then its owner may "
        "reduce and remove lines, but neither add lines nor change prices.",
        "Let the shop's backend place the order or add the line, with a staff account.",
        "An order's owner cannot add lines: the shop has set this order's prices. Ask the shop's "
        "staff.",
        may_have=("current_version",),
    ),
    "order-on-hold": _rule(
        "The order is on hold.",
        "Staff hold an order to check it; nothing of it ships while a hold stands.",
        "Release its `holds`: POST /orders/{order_id}/holds/{hold_id}/release/.",
        "Cannot ship: the order is on hold (FRAUD_REVIEW). Release the holds first.",
        may_have=("from_status", "to_status"),
    ),
    "nothing-to-ship": _rule(
        "No unit is left to ship.",
        "All units have been shipped or canceled.",
        "Read the order: its shipments list what has shipped.",
        "Cannot ship: no units are outstanding; the order is SHIPPED.",
        may_have=("from_status", "to_status"),
    ),
    "payment-not-capturable": _rule(
        "Nothing can be captured of this payment.",
        "It is not an authorization, or it was captured, voided, or has expired.",
        "Read the order's payments; record another payment if money has arrived.",
        "Cannot capture the payment: it has no open amount.",
    ),
    "payment-captured": _rule(
        "The payment is captured.",
        "A failure closes an authorization that is still open. Captured money that was taken "
        "back is a reversal.",
        "Record the reversal: POST /orders/{order_id}/payments/{payment_id}/reverse/.",
        "Cannot record a failure: the payment is captured.",
    ),
    "payment-not-voidable": _rule(
        "There is nothing to void.",
        "It is not an authorization, or it was captured or voided before.",
        "To return money, request a refund.",
        "Cannot void the payment: it has no open amount.",
    ),
    "payment-reference-conflict": _rule(
        "The order has another payment with this provider_reference.",
        "The same reference, amount and kind would be a repeat; here the amount or the kind "
        "differs.",
        "Read the order's payments, and correct the reference or the amount.",
        "A payment of this order has this provider_reference, with another amount.",
    ),
    "shipment-delivered": _rule(
        "The shipment was delivered.",
        "Only a shipment on its way can be voided.",
        "Request a return instead.",
        "Cannot void a shipment that was delivered.",
    ),
    "refund-not-pending": _rule(
        "The refund is not pending.",
        "It was settled, or it failed.",
        "Read the order's refunds; request another one if money is still owed.",
        "The refund is COMPLETED: nothing is pending.",
    ),
    "return-not-pending": _rule(
        "The return is not at this step.",
        "A return is requested, then approved, rejected or canceled, then received.",
        "Read the order's returns: `return_status` is the status of this one.",
        "The return is RECEIVED: expected REQUESTED.",
        may_have=("return_status",),
    ),
    "return-window-closed": _rule(
        "The time for returns is over.",
        "It starts with the delivery of the line's last unit.",
        "Ask the shop's staff, who can accept a return later.",
        "The time to return line 1 is over: ask the shop's staff.",
        may_have=("line_id",),
    ),
    "cancel-window-closed": _rule(
        "The time in which you may cancel is over.",
        "The owner of a paid order can cancel it for a limited time only.",
        "Ask the shop's staff.",
        "The time to cancel a paid order is over: ask the shop's staff.",
    ),
    "duplicate-reference": ProblemType(
        409,
        "You have another order with this external_reference.",
        "A reference names one order of a user, so that no order is placed twice.",
        "Read `existing_order`; use another reference to place a second order.",
        "You have placed an order with this external_reference before.",
        (),
        ("existing_order",),
    ),
    "email-taken": ProblemType(
        409,
        "There is an account with this e-mail address.",
        "Upper and lower case make no difference.",
        "Log in.",
        "There is already an account with this e-mail address.",
    ),
    "concurrent-update": ProblemType(
        409,
        "Other requests changed the order at the same time, or it is not at expected_version.",
        "Several attempts in a row failed because the order had a newer version.",
        "Read the order again, and repeat the request if it still makes sense.",
        "Wrong expected version: expected 2, found 3. Read the order again and retry.",
        ("current_version",),
        headers=("Retry-After",),
    ),
    "stale-version": ProblemType(
        412,
        "The order has changed since the version in If-Match.",
        "Another request was faster: `events_since` lists the events.",
        "Read the order again, check whether your change still makes sense, and send the new ETag.",
        "If-Match does not name version 3. Read the order again and retry.",
        ("current_version", "current_etag"),
        ("events_since",),
    ),
    "precondition-required": ProblemType(
        428,
        "This installation requires If-Match for changes.",
        "Without it, two people who edit at once could overwrite each other's changes unnoticed.",
        'Read the order and send its ETag: `If-Match: "3"`.',
        "Send If-Match with the ETag of the order that you have read.",
        ("current_etag",),
    ),
    # --- wrong values -----------------------------------------------------------------------------
    "total-mismatch": ProblemType(
        422,
        "total_price is not the total of the items.",
        "total_price is an optional check; it must equal the computed total.",
        "Send `expected`, or omit total_price; look for a wrong price or quantity.",
        "The items come to 24.98 USD.",
        ("expected",),
    ),
    "status-not-settable": ProblemType(
        422,
        "This status cannot be set.",
        "PARTIALLY_SHIPPED and RETURNED follow from shipments and returns.",
        "Record the shipment or the return.",
        "Cannot set RETURNED: it follows from shipments and returns.",
    ),
    "quantity-exceeds-outstanding": ProblemType(
        422,
        "The line does not have that many units.",
        "Only units that are neither canceled nor shipped can be shipped or canceled, and only "
        "delivered units can be returned.",
        "Send at most `outstanding` units of line `line_id`.",
        "Line 1 has 1 unit outstanding.",
        ("line_id", "outstanding"),
    ),
    "discount-exceeds-goods": ProblemType(
        422,
        "A discount is more than what it is taken off.",
        "The discount of a line can be at most the price of all its units; the discount of the "
        "order at most the sum of its lines. It never reduces the shipping fee.",
        "Send at most `max_discount`; reduce `shipping_fee` instead, if shipping is meant.",
        "The discount is more than the goods cost: send at most 20.00 USD, and a lower "
        "shipping_fee if shipping is reduced as well.",
        ("max_discount",),
    ),
    "capture-reference-required": ProblemType(
        422,
        "A capture of a part of an authorization needs a reference of its own.",
        "Under the authorization's reference it could not be told from a repeat.",
        "Send the capture's own `provider_reference`, and the authorization's as "
        "`authorization_reference`.",
        "A capture of a part of an authorization needs a provider_reference of its own.",
    ),
    "reversal-exceeds-captured": ProblemType(
        422,
        "The amount is more than was captured of the payment, or than was reversed of it.",
        "A reversal takes back captured money; restoring gives back reversed money.",
        "Send at most `max_amount`.",
        "The amount must be more than zero and at most 19.98 USD.",
        ("max_amount",),
    ),
    "amount-exceeds-due": ProblemType(
        422,
        "The amount is more than is due, or more than the authorization has open.",
        "Overpayment by hand is probably a mistake; payments that a provider reports are always "
        "accepted.",
        "Send at most `amount_due` (or `open`, for a capture).",
        "Cannot take more than the 24.98 USD that are due.",
        (),
        ("amount_due", "open"),
    ),
    "refund-exceeds-captured": ProblemType(
        422,
        "The amount is more than was paid and not refunded.",
        "Pending refunds count as refunded.",
        "Request at most `max_refundable`.",
        "Cannot refund more than 19.98 USD.",
        ("max_refundable",),
    ),
    "unknown-currency": ProblemType(
        422,
        "The currency is unknown, or withdrawn.",
        "Currencies are the three capital letters of ISO 4217; new orders take current ones only.",
        "Send one that is in use, such as USD.",
        "Unknown currency: expected an ISO 4217 code such as USD.",
    ),
    "idempotency-key-reused": ProblemType(
        422,
        "The Idempotency-Key was used for another request.",
        "A key belongs to one request for ever; this request has other content.",
        "Use a new key for a new request.",
        "This Idempotency-Key was used for another request: take a new key for a new request.",
    ),
}
