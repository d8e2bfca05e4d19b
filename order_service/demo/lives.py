"""The lives of the demo's orders: a generator for each kind, which yields one command a step. Pure.

A life receives the order's document after each of its commands. Where the generator ends, the order
stays as it is; some kinds leave it unfinished, as happens in every shop.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

from order_service.demo.goods import Basket, extra_item

Order = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """A command on the order, by its customer or by the staff; `path` is below the order."""

    by: Literal["customer", "staff"]
    method: str
    path: str
    body: dict[str, Any] = field(default_factory=dict)


Life = Generator[Step, Order, None]
Beginning = Callable[[Basket, Random], Life]
_CARRIERS = ("DHL", "DPD", "GLS", "UPS")
_ASKED = (
    "Please ring twice.",
    "Is there a bill with it?",
    "It is a present: no prices on the slip, please.",
    "Please leave it with the neighbours.",
)


def _customer(path: str, **body: Any) -> Step:
    return Step("customer", "POST", path, body)


def _staff(path: str, **body: Any) -> Step:
    return Step("staff", "POST", path, body)


def _reference(kind: str, chance: Random) -> str:
    return f"{kind}-{chance.randrange(16**8):08x}"


# --- parts of lives -------------------------------------------------------------------------------


def _pay(chance: Random) -> Life:
    reference = _reference("pay", chance)
    yield _staff("payments/", kind="capture", provider_reference=reference)


def _pay_in_parts(basket: Basket, chance: Random) -> Life:
    """A deposit, then the rest: authorized first, and captured once the goods are packed."""
    deposit = basket.first_price
    yield _staff("payments/", kind="capture", amount=deposit)
    reference = _reference("auth", chance)
    order = yield _staff("payments/", kind="authorization", provider_reference=reference)
    yield _staff(f"payments/{order['payments'][-1]['id']}/capture/")


def _ship(chance: Random, **body: Any) -> Generator[Step, Order, str]:
    """Gives the parcel's id."""
    order = yield _staff(
        "shipments/",
        carrier=chance.choice(_CARRIERS),
        tracking_number=_reference("T", chance).upper(),
        **body,
    )
    parcel: str = order["shipments"][-1]["id"]
    return parcel


def _arrive(chance: Random) -> Life:
    """All of it, in one parcel."""
    parcel = yield from _ship(chance)
    yield _staff(f"shipments/{parcel}/delivered/")


def _settle_refund(chance: Random, order: Order) -> Life:
    reference = _reference("refund", chance)
    yield _staff(f"refunds/{order['refunds'][-1]['id']}/settle/", provider_reference=reference)


def _ask_back(chance: Random) -> Generator[Step, Order, str]:
    """The customer wants to return one unit; gives the return's id."""
    reason = chance.choice(("DAMAGED", "WRONG_ITEM", "NOT_AS_DESCRIBED", "NO_LONGER_NEEDED"))
    order = yield _customer("returns/", lines=[{"line_id": 1, "quantity": 1}], reason=reason)
    returned: str = order["returns"][-1]["id"]
    return returned


# --- lives ----------------------------------------------------------------------------------------


def smooth(_: Basket, chance: Random) -> Life:
    yield from _pay(chance)
    yield from _arrive(chance)


def with_a_question(_: Basket, chance: Random) -> Life:
    yield _customer("notes/", text=chance.choice(_ASKED))
    yield from _pay(chance)
    yield _staff("notes/", text="Answered by e-mail.", visibility="internal")
    yield from _arrive(chance)


def edited(basket: Basket, chance: Random) -> Life:
    """The customer thinks again, before paying and after it; the shop adds what it has priced."""
    yield _staff("lines/", **extra_item(chance))
    quantity = basket.items[0]["quantity"] + 1
    yield Step("customer", "PATCH", "lines/1/", {"quantity": quantity})
    yield from _pay(chance)
    yield _staff("edit/", add=[extra_item(chance)])
    yield _staff("payments/", kind="capture")
    yield from _arrive(chance)


def checked(_: Basket, chance: Random) -> Life:
    """Held for a check before it ships."""
    yield from _pay(chance)
    order = yield _staff("holds/", reason="FRAUD_REVIEW")
    yield _staff(f"holds/{order['holds'][0]['id']}/release/", note="The customer is known.")
    yield from _arrive(chance)


def charged_back(_: Basket, chance: Random) -> Life:
    """The bank takes the money back after the delivery."""
    order = yield _staff("payments/", kind="capture", source="provider", provider_reference="ch_1")
    yield from _arrive(chance)
    payment = order["payments"][0]["id"]
    yield _staff(f"payments/{payment}/reverse/", kind="CHARGEBACK", provider_reference="dp_1")


def in_parts(basket: Basket, chance: Random) -> Life:
    """Paid in parts, shipped in parcels."""
    yield from _pay_in_parts(basket, chance)
    first = yield from _ship(chance, lines=[{"line_id": 1, "quantity": 1}])
    yield _staff(f"shipments/{first}/delivered/")
    yield from _arrive(chance)


def returned(_: Basket, chance: Random) -> Life:
    yield from _pay(chance)
    yield from _arrive(chance)
    back = yield from _ask_back(chance)
    yield _staff(f"returns/{back}/approve/")
    order = yield _staff(f"returns/{back}/receive/")
    yield from _settle_refund(chance, order)


def return_rejected(_: Basket, chance: Random) -> Life:
    yield from _pay(chance)
    yield from _arrive(chance)
    back = yield from _ask_back(chance)
    yield _staff(f"returns/{back}/reject/", note="The seal was broken.")


def canceled(_: Basket, chance: Random) -> Life:
    yield _customer("cancel/", reason="CUSTOMER_REQUEST")


def declined(_: Basket, chance: Random) -> Life:
    order = yield _staff("payments/", kind="authorization", method="card")
    payment = order["payments"][-1]["id"]
    yield _staff(f"payments/{payment}/fail/", code="card_declined")
    yield _staff("cancel/", reason="PAYMENT_DECLINED")


def sold_out(_: Basket, chance: Random) -> Life:
    yield from _pay(chance)
    order = yield _staff("cancel/", reason="OUT_OF_STOCK")
    yield from _settle_refund(chance, order)


def one_unit_short(_: Basket, chance: Random) -> Life:
    yield from _pay(chance)
    order = yield _staff("lines/1/cancel/", reason="OUT_OF_STOCK", quantity=1)
    yield from _settle_refund(chance, order)
    yield from _arrive(chance)


def lost_parcel(_: Basket, chance: Random) -> Life:
    yield from _pay(chance)
    lost = yield from _ship(chance)
    yield _staff(f"shipments/{lost}/void/", reason="LOST")
    yield from _arrive(chance)


# --- lives that get stuck -------------------------------------------------------------------------


def never_paid(_: Basket, chance: Random) -> Life:
    yield _staff("notes/", text="Reminded of the payment.", visibility="internal")


def never_shipped(_: Basket, chance: Random) -> Life:
    yield from _pay(chance)
    yield _customer("notes/", text="When will it be sent?")


def half_shipped(_: Basket, chance: Random) -> Life:
    yield from _pay(chance)
    yield from _ship(chance, lines=[{"line_id": 1, "quantity": 1}])


def on_its_way(_: Basket, chance: Random) -> Life:
    yield from _pay(chance)
    parcel = yield from _ship(chance)
    changed = {"tracking_number": _reference("T", chance).upper()}
    yield Step("staff", "PATCH", f"shipments/{parcel}/", changed)


def return_open(_: Basket, chance: Random) -> Life:
    yield from _pay(chance)
    yield from _arrive(chance)
    yield from _ask_back(chance)


def refund_failed(_: Basket, chance: Random) -> Life:
    """Money that the customer is still owed."""
    yield from _pay(chance)
    order = yield _staff("cancel/", reason="OUT_OF_STOCK")
    yield _staff(f"refunds/{order['refunds'][-1]['id']}/fail/", code="account_closed")


LIVES: dict[Beginning, int] = {  # of a hundred orders
    smooth: 27,
    with_a_question: 6,
    checked: 2,
    charged_back: 1,
    edited: 8,
    in_parts: 14,
    returned: 8,
    return_rejected: 2,
    canceled: 6,
    declined: 3,
    sold_out: 3,
    one_unit_short: 3,
    lost_parcel: 2,
    never_paid: 4,
    never_shipped: 3,
    half_shipped: 2,
    on_its_way: 3,
    return_open: 2,
    refund_failed: 1,
}


def choose(chance: Random) -> Beginning:
    return chance.choices(list(LIVES), list(LIVES.values()))[0]
