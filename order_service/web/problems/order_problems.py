"""The problem types of orders: absent, or refused by their state or their numbers."""

from collections.abc import Mapping

from order_service.web.problems.problem_type import ProblemType

_RULE = ("order_status", "allowed_transitions", "current_version")


def _rule(
    meaning: str, cause: str, remedy: str, detail: str, *, may_have: tuple[str, ...] = ()
) -> ProblemType:
    """The order's present state forbids it."""
    return ProblemType(409, meaning, cause, remedy, detail, _RULE, may_have)


ORDER_PROBLEMS: Mapping[str, ProblemType] = {
    # --- what is not there ------------------------------------------------------------------------
    "not-found": ProblemType(
        404,
        "There is nothing at this address.",
        "The path has no route, or what it names (a user, a payment, a shipment ...) is not there.",
        "Read the order and take ids from it; see /docs for the paths.",
        "There is nothing at this address.",
    ),
    "order-not-found": ProblemType(
        404,
        "There is no order with this id or number that you may see.",
        "It does not exist, or it belongs to somebody else: which is not told.",
        "Take ids from the list of your orders.",
        "No order with this id or number that you may see.",
    ),
    "line-not-found": ProblemType(
        404,
        "The order has no such line.",
        "The line was removed, or the line_id is of another order.",
        "Read the order and take the line_id of one of its items.",
        "The order has no such line: read it and take the line_id of one of its items.",
    ),
    # --- what the order's state forbids -----------------------------------------------------------
    "invalid-transition": _rule(
        "The order's status does not allow this.",
        "Each status can be left for certain others only; a canceled order takes nothing more.",
        "See `allowed_transitions`, and GET /orders/{id}/actions/ for what you may do now.",
        "Cannot go from PENDING to DELIVERED.",
        may_have=("from_status", "to_status"),
    ),
    "payment-required": _rule(
        "The order must be paid first.",
        "Goods are shipped for paid orders only.",
        "Record the payment, then ship.",
        "Cannot ship: the order is not paid.",
        may_have=("from_status", "to_status"),
    ),
    "already-shipped": _rule(
        "Units of the order are on their way.",
        "What has left the warehouse cannot be canceled.",
        "Cancel the units that have not been shipped, or register a return after the delivery.",
        "Cannot cancel: units are on their way.",
        may_have=("from_status", "to_status"),
    ),
    "order-not-editable": _rule(
        "This part of the order can no longer be changed.",
        "Lines change while the order is PENDING and nothing is paid; the address until the first "
        "shipment; an order with an agreed total keeps its lines.",
        "Cancel the order or some units of it, and place another.",
        "Cannot change the lines: the order is PAID.",
    ),
    "order-full": _rule(
        "So much has happened to the order that it takes no more.",
        "Each change and note is an event, and an order has a bounded number of them; staff may "
        "add some more than its owner.",
        "Ask staff to bring the order to its end, and place another.",
        "The order has 1000 events: it takes no more than 1000.",
    ),
    "last-line": _rule(
        "An order keeps at least one line.",
        "The line that you would remove is the only one.",
        "Cancel the order instead.",
        "Cannot remove the last line of an order: cancel the order instead.",
    ),
    "nothing-to-ship": _rule(
        "No unit is left to ship.",
        "All units have been shipped or canceled.",
        "Read the order: its shipments say what went where.",
        "Cannot ship: nothing is left, SHIPPED.",
        may_have=("from_status", "to_status"),
    ),
    "payment-not-capturable": _rule(
        "Nothing can be captured of this payment.",
        "It is no authorization, or it was captured, voided, or has expired.",
        "Read the order's payments; record another payment if money has come.",
        "Cannot capture the payment: nothing is open of it.",
    ),
    "payment-not-voidable": _rule(
        "There is nothing to void.",
        "It is no authorization, or it was captured or voided before.",
        "To give money back, request a refund.",
        "Cannot void the payment: nothing is open of it.",
    ),
    "payment-reference-conflict": _rule(
        "The order has a payment with this provider_reference, and it is another one.",
        "The same reference and amount again would have been a repeat; the amount or the kind "
        "differs.",
        "Read the order's payments, and mend the reference or the amount.",
        "A payment of this order has this provider_reference, with another amount.",
    ),
    "shipment-delivered": _rule(
        "The shipment has arrived.",
        "Only what is under way can be voided.",
        "Register a return instead.",
        "Cannot void a shipment that was delivered.",
    ),
    "refund-not-pending": _rule(
        "The refund is not pending.",
        "It was settled or has failed before.",
        "Read the order's refunds; request another one if money is still owed.",
        "The refund is COMPLETED: nothing is pending.",
    ),
    "return-not-pending": _rule(
        "The return is not at this step.",
        "Returns are requested, then approved or rejected or canceled, then received.",
        "Read the order's returns: `return_status` says where this one stands.",
        "The return is RECEIVED: expected REQUESTED.",
        may_have=("return_status",),
    ),
    "return-window-closed": _rule(
        "The time for returns is over.",
        "It is counted from the delivery of the line's last unit.",
        "Ask the shop's staff, who are not bound by it.",
        "The time to return line 1 is over: ask the shop's staff.",
        may_have=("line_id",),
    ),
    "cancel-window-closed": _rule(
        "The time in which you may cancel is over.",
        "A paid order can be canceled by its owner for a while only.",
        "Ask the shop's staff.",
        "The time to cancel a paid order is over: ask the shop's staff.",
    ),
    "duplicate-reference": ProblemType(
        409,
        "You have another order with this external_reference.",
        "A reference names one order of a user, so that an order is not placed twice.",
        "Read `existing_order`; place with another reference if you do want a second one.",
        "You have placed an order with this external_reference before.",
        (),
        ("existing_order",),
    ),
    "email-taken": ProblemType(
        409,
        "There is an account with this e-mail address.",
        "Addresses are compared without regard to case.",
        "Log in.",
        "There is an account with this e-mail address already.",
    ),
    "concurrent-update": ProblemType(
        409,
        "Others changed the order at the same time, or it is not at expected_version.",
        "The change was decided on a version that was the latest no more, several times.",
        "Read the order again, and repeat the request if it still makes sense.",
        "Wrong expected version: expected 2, found 3. Read the order again and retry.",
        ("current_version",),
        headers=("Retry-After",),
    ),
    "stale-version": ProblemType(
        412,
        "The order has changed since the version in If-Match.",
        "Somebody else was faster: `events_since` says who did what.",
        "Read the order again, look whether your change still makes sense, and send its new ETag.",
        "If-Match does not name version 3. Read the order again and retry.",
        ("current_version", "current_etag"),
        ("events_since",),
    ),
    "precondition-required": ProblemType(
        428,
        "This installation demands If-Match on changes.",
        "Without it, of two people who edit at once one would overwrite the other unawares.",
        'Read the order and send its ETag: `If-Match: "3"`.',
        "Send If-Match with the ETag of the order that you have read.",
        ("current_etag",),
    ),
    # --- what cannot be applied as given ----------------------------------------------------------
    "total-mismatch": ProblemType(
        422,
        "total_price is not what the items come to.",
        "A total may be sent as a check; it must then equal the computed one.",
        "Send `expected`, or leave total_price out; look for a wrong price or quantity.",
        "The items come to 24.98 USD.",
        ("expected",),
    ),
    "status-not-settable": ProblemType(
        422,
        "This status cannot be set.",
        "PARTIALLY_SHIPPED and RETURNED follow from shipments and returns.",
        "Record the shipment or the return.",
        "RETURNED follows from shipments and returns: it cannot be set.",
    ),
    "quantity-exceeds-outstanding": ProblemType(
        422,
        "More units than there are.",
        "Only units that are neither canceled nor shipped can be shipped or canceled; only "
        "delivered ones returned.",
        "Ask for at most `outstanding` units of line `line_id`.",
        "Line 1 has 1 unit outstanding.",
        ("line_id", "outstanding"),
    ),
    "amount-exceeds-due": ProblemType(
        422,
        "More than is due, or than is open of the authorization.",
        "Overpayment by hand is most likely a slip; what a provider reports is always taken.",
        "Send at most `amount_due` (or `open`, for a capture).",
        "Cannot take more than the 24.98 USD that are due.",
        (),
        ("amount_due", "open"),
    ),
    "refund-exceeds-captured": ProblemType(
        422,
        "More than was paid and not yet refunded.",
        "Refunds that are pending count as well.",
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
        "A key names one request for ever; this one has another content.",
        "Take a new key for a new request.",
        "This Idempotency-Key was used for another request: take a new key for a new request.",
    ),
}
