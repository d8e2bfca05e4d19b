"""What clients ask of an order over HTTP, drawn so that orders come far, each request with the
command that it stands for."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any, Literal, Protocol, get_args, overload
from uuid import UUID

from hypothesis import strategies as st

from order_service.domain import commands as c
from order_service.domain.parts import (
    LineQuantity,
    NoteVisibility,
    OrderLine,
    PaymentSource,
    ReceivedQuantity,
)
from tests.support.model.order import OrderModel

NEW = UUID(int=1)  # an id that only the service can make up
UNKNOWN_ID = UUID(int=404)
LONG_AGO, FAR_OFF = datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
ADDRESS = {"name": "Ada", "line1": "12 Square", "city": "London", "country": "GB"}
OWNERS_COMMANDS = (
    c.AddLine,
    c.ChangeLineQuantity,
    c.RemoveLine,
    c.ChangeShippingAddress,
    c.ChangeBillingAddress,
    c.ChangeContact,
    c.AddNote,
    c.CancelOrder,
    c.RequestReturn,
    c.CancelReturn,
)
MADE = {
    "PaymentAuthorized": "payment_id",
    "PaymentCaptured": "payment_id",
    "ShipmentDispatched": "shipment_id",
    "RefundRequested": "refund_id",
    "ReturnRequested": "return_id",
}
MADE_BY_STATUS = {"PAID": "payment_id", "SHIPPED": "shipment_id", "CANCELED": "refund_id"}


@dataclass(frozen=True)
class Asked:
    """`path` lies below the order's."""

    method: str
    path: str
    body: dict[str, Any] | None
    command: c.OrderCommand
    by: Literal["owner", "staff"] = "staff"

    def command_that_made(self, events: Iterable[Mapping[str, Any]]) -> c.OrderCommand:
        """The command with the ids of what the service has made by these events for NEW ones."""
        ids = {
            field: UUID(event["data"][field])
            for event in reversed([*events])  # of several refunds, the first has the command's id
            if (field := MADE.get(event["type"]))
        }
        if isinstance(self.command, c.ChangeStatus):
            ids["new_id"] = ids.get(MADE_BY_STATUS.get(self.command.to, ""), NEW)
        new = {f.name for f in fields(self.command) if getattr(self.command, f.name) == NEW}
        changes: Any = {name: ids.get(name, NEW) for name in new}
        return replace(self.command, **changes)

    @property
    def forbidden(self) -> bool:
        return self.by == "owner" and not self._is_for_owners()

    def _is_for_owners(self) -> bool:
        match self.command:
            case c.ChangeStatus(to=to):
                return to in ("PENDING", "CANCELED")
            case c.AddNote(visibility=visibility):
                return visibility == "public"
            case command:
                return isinstance(command, OWNERS_COMMANDS)


class Drawn(Protocol):
    def __call__(self, draw: st.DrawFn, model: OrderModel) -> Asked: ...


@overload
def text(minor: int) -> str: ...
@overload
def text(minor: int | None) -> str | None: ...
def text(minor: int | None) -> str | None:
    return None if minor is None else f"{minor // 100}.{minor % 100:02}"


def given(**members: Any) -> dict[str, Any]:
    """The members that are there."""
    return {name: value for name, value in members.items() if value is not None}


def pick(draw: st.DrawFn, parts: Mapping[UUID, Any], fits: Callable[[Any], bool]) -> UUID:
    """Mostly one that fits, at times any, or one that is not there."""
    fitting = [part_id for part_id, part in parts.items() if fits(part)]
    return draw(st.sampled_from(fitting * 4 + [*parts, UNKNOWN_ID]))


def in_state(state: str) -> Callable[[Any], bool]:
    return lambda part: bool(part.state == state)


def is_open(payment: Any) -> bool:
    return bool(payment.open)


def line_of(draw: st.DrawFn, model: OrderModel) -> int:
    return draw(st.sampled_from([*model.lines] * 4 + [99]))


def amount(draw: st.DrawFn, most: int) -> int | None:
    """All of it, a part of it, at times too much, at times unsaid."""
    return draw(st.sampled_from([None, None, most, most // 2, most // 3, most + 1]))


def units(draw: st.DrawFn, left: Mapping[int, int]) -> dict[int, int]:
    """So many of one line or two of which there are any; at times one too many."""
    known = [line_id for line_id, quantity in left.items() if quantity > 0] or [*left]
    lines = draw(st.lists(st.sampled_from(known), min_size=1, max_size=2, unique=True))
    return {line: draw(st.integers(1, max(1, left[line] + 1))) for line in lines}


references = st.sampled_from([None, "ref-1", "ref-2", "ref-3"])
names = st.sampled_from([None, "Post", "Rail"])


def as_json(parts: Mapping[int, int]) -> list[dict[str, int]]:
    return [{"line_id": line_id, "quantity": quantity} for line_id, quantity in parts.items()]


def quantities(parts: Mapping[int, int]) -> tuple[LineQuantity, ...]:
    return tuple(LineQuantity(line_id, quantity) for line_id, quantity in parts.items())


# --- editing --------------------------------------------------------------------------------------


def add_line(draw: st.DrawFn, model: OrderModel) -> Asked:
    quantity, price = draw(st.integers(1, 4)), draw(st.integers(0, 900))
    body = {"sku": "B", "quantity": quantity, "unit_price": text(price)}
    return Asked("POST", "lines/", body, c.AddLine(OrderLine(0, "B", None, quantity, price)))


def change_quantity(draw: st.DrawFn, model: OrderModel) -> Asked:
    line, quantity = line_of(draw, model), draw(st.integers(1, 4))
    command = c.ChangeLineQuantity(line, quantity)
    return Asked("PATCH", f"lines/{line}/", {"quantity": quantity}, command)


def remove_line(draw: st.DrawFn, model: OrderModel) -> Asked:
    line = line_of(draw, model)
    return Asked("DELETE", f"lines/{line}/", None, c.RemoveLine(line))


def edit(draw: st.DrawFn, model: OrderModel) -> Asked:
    line, quantity = line_of(draw, model), draw(st.none() | st.integers(1, 4))
    price, discount = draw(st.none() | st.integers(0, 900)), draw(st.none() | st.integers(0, 100))
    fee, keep = draw(st.none() | st.integers(0, 300)), draw(st.booleans())
    of_order = draw(st.none() | st.none() | st.integers(0, 100))
    change = given(line_id=line, quantity=quantity, unit_price=text(price), discount=text(discount))
    body = given(change=[change], shipping_fee=text(fee), discount=text(of_order), keep_credit=keep)
    edited = c.LineEdit(line, quantity, price, 0, discount)
    command = c.EditOrder(NEW, (), (edited,), (), fee, None, of_order, keep)
    return Asked("POST", "edit/", body, command)


def move(draw: st.DrawFn, model: OrderModel) -> Asked:
    return Asked("PUT", "shipping-address/", ADDRESS, c.ChangeShippingAddress(NEW))


def bill(draw: st.DrawFn, model: OrderModel) -> Asked:
    return Asked("PUT", "billing-address/", ADDRESS, c.ChangeBillingAddress(NEW))


def contact(draw: st.DrawFn, model: OrderModel) -> Asked:
    return Asked("PUT", "contact/", {"email": "ada@example.com"}, c.ChangeContact(NEW))


def label(draw: st.DrawFn, model: OrderModel) -> Asked:
    keys, values = st.sampled_from(["channel", "basket"]), st.sampled_from(["web", None])
    metadata = draw(st.dictionaries(keys, values))
    return Asked("PATCH", "metadata/", {"metadata": metadata}, c.SetMetadata(metadata))


def tag(draw: st.DrawFn, model: OrderModel) -> Asked:
    tags = draw(st.lists(st.sampled_from(["gift", "express"]), unique=True))
    return Asked("PUT", "tags/", {"tags": tags}, c.SetTags(tuple(tags)))


def note(draw: st.DrawFn, model: OrderModel) -> Asked:
    visibility: NoteVisibility = draw(st.sampled_from(get_args(NoteVisibility)))
    body = {"text": "Ring twice.", "visibility": visibility}
    return Asked("POST", "notes/", body, c.AddNote(NEW, visibility, NEW))


# --- money ----------------------------------------------------------------------------------------


def authorize(draw: st.DrawFn, model: OrderModel) -> Asked:
    minor, reference = amount(draw, model.due), draw(references)
    expires_at = draw(st.sampled_from([None, None, LONG_AGO, FAR_OFF]))
    body = given(
        kind="authorization",
        amount=text(minor),
        provider_reference=reference,
        expires_at=expires_at and expires_at.isoformat(),
    )
    command = c.AuthorizePayment(NEW, minor, datetime.now(UTC), None, reference, expires_at)
    return Asked("POST", "payments/", body, command)


def pay(draw: st.DrawFn, model: OrderModel) -> Asked:
    minor, reference = amount(draw, model.due), draw(references)
    source: PaymentSource = draw(st.sampled_from(["manual", "provider"]))
    body = given(kind="capture", amount=text(minor), source=source, provider_reference=reference)
    command = c.RecordPayment(NEW, NEW, minor, source, reference)
    return Asked("POST", "payments/", body, command)


def capture(draw: st.DrawFn, model: OrderModel) -> Asked:
    payment = pick(draw, model.payments, is_open)
    minor = amount(draw, model.payments[payment].open if payment in model.payments else 1)
    command = c.CapturePayment(payment, minor, datetime.now(UTC))
    return Asked("POST", f"payments/{payment}/capture/", given(amount=text(minor)), command)


def void_authorization(draw: st.DrawFn, model: OrderModel) -> Asked:
    payment = pick(draw, model.payments, is_open)
    command = c.VoidAuthorization(payment, "OTHER")
    return Asked("POST", f"payments/{payment}/void/", None, command)


def fail_payment(draw: st.DrawFn, model: OrderModel) -> Asked:
    payment, code = (
        pick(draw, model.payments, is_open),
        draw(st.sampled_from(["declined", "closed"])),
    )
    command = c.RecordPaymentFailure(payment, code)
    return Asked("POST", f"payments/{payment}/fail/", {"code": code}, command)


def refund(draw: st.DrawFn, model: OrderModel) -> Asked:
    minor = amount(draw, model.refundable)
    body = given(amount=text(minor), reason="GOODWILL")
    return Asked("POST", "refunds/", body, c.RequestRefund(NEW, minor, "GOODWILL"))


def settle(draw: st.DrawFn, model: OrderModel) -> Asked:
    found, reference = pick(draw, model.refunds, in_state("PENDING")), draw(references)
    command = c.SettleRefund(found, reference)
    return Asked("POST", f"refunds/{found}/settle/", given(provider_reference=reference), command)


def fail_refund(draw: st.DrawFn, model: OrderModel) -> Asked:
    found = pick(draw, model.refunds, in_state("PENDING"))
    return Asked(
        "POST", f"refunds/{found}/fail/", {"code": "closed"}, c.FailRefund(found, "closed")
    )


# --- goods ----------------------------------------------------------------------------------------


def ship(draw: st.DrawFn, model: OrderModel) -> Asked:
    left = {line_id: line.outstanding for line_id, line in model.lines.items()}
    parts = draw(st.booleans()) and units(draw, left)
    command = c.Ship(NEW, quantities(parts) if parts else None, datetime.now(UTC))
    return Asked("POST", "shipments/", {"lines": as_json(parts)} if parts else None, command)


def track(draw: st.DrawFn, model: OrderModel) -> Asked:
    parcel, carrier, number = (
        pick(draw, model.shipments, in_state("SENT")),
        draw(names),
        draw(names),
    )
    body = given(carrier=carrier, tracking_number=number)
    return Asked("PATCH", f"shipments/{parcel}/", body, c.UpdateTracking(parcel, carrier, number))


def void_shipment(draw: st.DrawFn, model: OrderModel) -> Asked:
    parcel = pick(draw, model.shipments, in_state("SENT"))
    command = c.VoidShipment(parcel, "LOST")
    return Asked("POST", f"shipments/{parcel}/void/", {"reason": "LOST"}, command)


def deliver(draw: st.DrawFn, model: OrderModel) -> Asked:
    parcel, at = (
        pick(draw, model.shipments, in_state("SENT")),
        draw(st.sampled_from([None, None, LONG_AGO])),
    )
    body = given(delivered_at=at and at.isoformat())
    command = c.ConfirmDelivery(parcel, at, datetime.now(UTC))
    return Asked("POST", f"shipments/{parcel}/delivered/", body, command)


def cancel_units(draw: st.DrawFn, model: OrderModel) -> Asked:
    left = {line_id: line.outstanding for line_id, line in model.lines.items()}
    line, quantity = next(iter(units(draw, left).items()))
    body = {"quantity": quantity, "reason": "OUT_OF_STOCK"}
    command = c.CancelUnits(line, quantity, "OUT_OF_STOCK", NEW)
    return Asked("POST", f"lines/{line}/cancel/", body, command)


def request_return(draw: st.DrawFn, model: OrderModel) -> Asked:
    parts = units(draw, model.returnable())
    body = {"lines": as_json(parts), "reason": "DAMAGED"}
    command = c.RequestReturn(NEW, quantities(parts), "DAMAGED", datetime.now(UTC))
    return Asked("POST", "returns/", body, command)


def answer_return(draw: st.DrawFn, model: OrderModel) -> Asked:
    found = pick(draw, model.returns, in_state("REQUESTED"))
    commands: Mapping[str, c.OrderCommand] = {
        "approve": c.ApproveReturn(found),
        "reject": c.RejectReturn(found),
        "cancel": c.CancelReturn(found),
    }
    word = draw(st.sampled_from(["approve", *commands]))
    return Asked("POST", f"returns/{found}/{word}/", None, commands[word])


def receive_return(draw: st.DrawFn, model: OrderModel) -> Asked:
    found = pick(draw, model.returns, in_state("APPROVED"))
    parts = draw(st.booleans()) and units(draw, dict.fromkeys(model.lines, 1))
    if not parts:
        return Asked("POST", f"returns/{found}/receive/", {}, c.ReceiveReturn(found, None, NEW))
    lines = [{**part, "condition": "DAMAGED"} for part in as_json(parts)]
    received = tuple(ReceivedQuantity(i, q, "DAMAGED") for i, q in parts.items())
    command = c.ReceiveReturn(found, received, NEW)
    return Asked("POST", f"returns/{found}/receive/", {"lines": lines}, command)


# --- the whole order ------------------------------------------------------------------------------


def cancel(draw: st.DrawFn, model: OrderModel) -> Asked:
    return Asked("POST", "cancel/", {"reason": "FRAUD"}, c.CancelOrder("FRAUD", NEW))


def status_set(to: c.TargetStatus) -> Asked:
    command = c.ChangeStatus(to, NEW, datetime.now(UTC), "FRAUD")
    return Asked("PATCH", "", {"status": to, "reason": "FRAUD"}, command)


def set_status(draw: st.DrawFn, model: OrderModel) -> Asked:
    return status_set(draw(st.sampled_from(get_args(c.TargetStatus))))


EVERYTHING: tuple[Drawn, ...] = (
    add_line,
    edit,
    change_quantity,
    remove_line,
    move,
    bill,
    contact,
    label,
    tag,
    note,
    authorize,
    pay,
    capture,
    void_authorization,
    fail_payment,
    refund,
    settle,
    fail_refund,
    ship,
    track,
    void_shipment,
    deliver,
    cancel_units,
    request_return,
    answer_return,
    receive_return,
    cancel,
    set_status,
)
LIKELY: Mapping[str, tuple[Drawn, ...]] = {
    "PENDING": (pay, pay, authorize, capture, set_status, change_quantity, cancel_units),
    "PAID": (ship, ship, set_status, cancel_units, refund),
    "PARTIALLY_SHIPPED": (ship, deliver, void_shipment, cancel_units, track),
    "SHIPPED": (deliver, deliver, set_status, void_shipment, refund),
    "DELIVERED": (request_return, answer_return, receive_return, receive_return, refund, settle),
    "RETURNED": (refund, settle, settle, fail_refund, note),
    "CANCELED": (pay, refund, settle, fail_refund, note),
}
# Without any of these there is nothing to ask about.
NEEDED: Mapping[Drawn, str] = {
    **dict.fromkeys((capture, void_authorization, fail_payment), "payments"),
    **dict.fromkeys((settle, fail_refund), "refunds"),
    **dict.fromkeys((track, void_shipment, deliver), "shipments"),
    **dict.fromkeys((answer_return, receive_return), "returns"),
}


@st.composite
def asked(draw: st.DrawFn, model: OrderModel) -> Asked:
    """Mostly what may well be granted, at times anything; by the owner too."""
    choice = LIKELY[model.status] if draw(st.integers(0, 9)) < 7 else EVERYTHING
    drawn = draw(st.sampled_from([d for d in choice if getattr(model, NEEDED.get(d, "lines"))]))
    by_owner = replace(drawn(draw, model), by="owner")
    owner = draw(st.integers(0, 9)) > (8 if by_owner.forbidden else 5)
    return by_owner if owner else replace(by_owner, by="staff")
