"""Whatever clients ask of an order, repeat, lose the reply to or ask of a stale version: the
service does once what the plain model says, and remembers every version as it was answered."""

import json
import re
import sys
from dataclasses import replace
from fractions import Fraction
from typing import Any
from uuid import UUID, uuid4

import httpx
import orjson
import pytest
from hypothesis import event, note
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from order_service.domain.commands import TargetStatus
from order_service.settings import Settings
from tests.support.http.accounts import Account
from tests.support.http.orders import problem
from tests.support.http.service import Sent, Service, service_of
from tests.support.model.facts import Line
from tests.support.model.order import OrderModel
from tests.support.model.requests import Asked, asked, status_set, text

STATUS_OF = {
    "forbidden": 403,
    "prices-not-trusted": 403,
    "discount-exceeds-goods": 422,
    "capture-reference-required": 422,
    "reversal-exceeds-captured": 422,
    "not-found": 404,
    "line-not-found": 404,
    "validation": 422,
    "amount-exceeds-due": 422,
    "quantity-exceeds-outstanding": 422,
    "refund-exceeds-captured": 422,
}  # of the others: 409
ACTORS = {"owner": "user", "staff": "staff"}
STATUSES = ("status", "payment_status", "fulfillment_status")
AMOUNTS = {
    "total_price": "total",
    "authorized": "authorized",
    "captured": "captured",
    "refunded": "refunded",
    "refund_pending": "pending",
    "amount_due": "due",
    "credit_due": "credit",
}  # as the order's document and the model call them
QUANTITIES = {
    "quantity": "ordered",
    "canceled": "canceled",
    "shipped": "shipped",
    "delivered": "delivered",
    "returned": "returned",
}
# Ids and times, which are other ones each time.
MASKED = re.compile(r'"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"|"\d{4}-\d\d-\d\dT[\d:.]+Z"')
BOUNDS = hypothesis_settings(max_examples=25, stateful_step_count=20)


def minor(amount: str) -> int:
    return int(amount.replace(".", ""))


def masked(value: Any) -> str:
    return MASKED.sub("masked", json.dumps(value))


def assert_replayed(again: httpx.Response, first: httpx.Response) -> None:
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["etag"] == first.headers["etag"]


def types_of(events: list[Any]) -> list[str]:
    return [event["type"] for event in events]


def is_replayed(answer: httpx.Response) -> bool:
    return "idempotent-replayed" in answer.headers


# --- what a run draws -----------------------------------------------------------------------------


@st.composite
def baskets(draw: st.DrawFn) -> dict[str, Any]:
    """The body of an order with prices, shipping, discounts and taxes, or with an agreed total: one
    in five."""
    if draw(st.integers(0, 4)) == 4:
        total = text(draw(st.integers(0, 900)))
        return {"items": [{"sku": "A", "quantity": 3}], "total_price": total}
    items = draw(st.lists(priced_items(), min_size=1, max_size=3))
    nets = sum(line_of(item, tax_included=True).net for item in items)
    return {
        "items": items,
        "shipping_fee": text(draw(st.sampled_from([0, 250]))),
        "shipping_tax": text(draw(st.sampled_from([0, 19]))),
        "tax_included": draw(st.booleans()),
        "discount": text(draw(st.sampled_from([0, nets // 3]))),
    }


@st.composite
def priced_items(draw: st.DrawFn) -> dict[str, Any]:
    """An item whose price may be finer than its currency."""
    item = {
        "sku": "A",
        "quantity": draw(st.integers(1, 4)),
        "unit_price": text(draw(st.integers(0, 900)))
        + draw(st.sampled_from(["", "", "45", "005"])),
    }
    discount = draw(st.sampled_from([0, 0, line_of(item, tax_included=True).net // 2]))
    return {**item, "discount": text(discount), "tax": text(draw(st.sampled_from([0, 7])))}


def line_of(item: dict[str, Any], tax_included: bool) -> Line:
    price = Fraction(item["unit_price"]) * 100 if "unit_price" in item else None
    tax = 0 if tax_included else minor(item.get("tax", "0"))
    return Line(price, item["quantity"], discount=minor(item.get("discount", "0")), tax=tax)


def model_of(basket: dict[str, Any]) -> OrderModel:
    included = basket.get("tax_included", True)
    lines = [line_of(item, included) for item in basket["items"]]
    return OrderModel(
        lines=dict(enumerate(lines, start=1)),
        shipping=minor(basket.get("shipping_fee", "0")),
        shipping_tax=0 if included else minor(basket["shipping_tax"]),
        discount=minor(basket.get("discount", "0")),
        agreed=minor(basket["total_price"]) if "total_price" in basket else None,
        lines_ever=len(lines),
        tax_included=included,
        trusted=False,  # its owner places it
    )


requests = st.runner().flatmap(lambda machine: asked(machine.model))
nth = st.integers(0, 99)


class ServiceAgainstModel(RuleBasedStateMachine):
    """`documents`: the order's bytes by version, as they were answered. `granted`: what was asked
    under a key and granted, with the first answers."""

    service: Service

    def __init__(self) -> None:
        super().__init__()
        self.documents: dict[int, bytes] = {}
        self.granted: list[tuple[Sent, httpx.Response]] = []
        self.keys = 0

    @initialize(basket=baskets(), lost=st.booleans(), stage=st.sampled_from([0, 0, 1, 1, 2, 3]))
    def place(self, basket: dict[str, Any], lost: bool, stage: int) -> None:
        """And go on, up to delivered, so that the late rules have something to work on."""
        self.model = model_of(basket)
        key = {"Idempotency-Key": str(uuid4())}
        sent = Sent(self.service.owner, "POST", "/orders/", basket, key)
        if lost:
            self.service.lose_reply_to(sent)
        placed = self.service.answer(sent)
        assert (placed.status_code, is_replayed(placed)) == (201, lost)
        self.path, self.path_by_number = (f"/orders/{placed.json()[n]}/" for n in ("id", "number"))
        self.granted.append((sent, placed))
        assert types_of(self.happened()) == ["OrderPlaced", *self.model.first_paid()]
        self.remember(placed)
        path: tuple[TargetStatus, ...] = ("PAID", "SHIPPED", "DELIVERED")
        for status in path[:stage]:
            self.ask(status_set(status))

    # --- ways to ask ------------------------------------------------------------------------------

    @rule(asked=requests)
    def ask(self, asked: Asked) -> None:
        self.check(asked, self.service.answer(self.request(asked)))

    @rule(asked=requests)
    def ask_what_would_happen_first(self, asked: Asked) -> None:
        sent = self.request(asked)
        would_be = self.service.answer(sent.dry())
        assert self.happened() == []

        answer = self.service.answer(sent)

        events = self.check(asked, answer)
        assert would_be.status_code == answer.status_code
        if answer.is_error:
            assert problem(would_be) == problem(answer)
            return
        told = [{name: event[name] for name in ("type", "version", "data")} for event in events]
        assert masked(would_be.json()["events"]) == masked(told)
        assert masked(would_be.json()["order"]) == masked(answer.json())

    @rule(asked=requests, at_once=st.booleans())
    def ask_twice_under_a_key(self, asked: Asked, at_once: bool) -> None:
        sent = self.request(asked, **self.new_key())
        if at_once:
            answers = self.service.answers_to_both(sent)
        else:
            answers = [self.service.answer(sent), self.service.answer(sent)]
        first, again = sorted(answers, key=is_replayed)
        events = self.check(asked, first)
        assert [is_replayed(first), is_replayed(again)] == [False, bool(events)]
        assert again.status_code == first.status_code
        if first.is_error:
            assert problem(again) == problem(first)
        else:
            assert again.content == first.content
        if events:
            self.granted.append((sent, first))

    @rule(asked=requests, in_body=st.booleans())
    def ask_of_the_present_version(self, asked: Asked, in_body: bool) -> None:
        sent = self.request_of_version(self.version, asked, in_body)
        self.check(asked, self.service.answer(sent))

    @precondition(lambda self: self.version > 1)
    @rule(asked=requests, in_body=st.booleans(), behind=st.integers(1, 9))
    def ask_of_a_stale_version(self, asked: Asked, in_body: bool, behind: int) -> None:
        seen = max(1, self.version - behind)
        sent = self.request_of_version(seen, asked, in_body)

        refused = self.service.answer(sent)

        assert self.happened() == []
        if asked.forbidden:
            assert problem(refused) == (403, "forbidden")
        elif "If-Match" not in sent.headers:
            assert problem(refused) == (409, "concurrent-update")
            assert refused.json()["current_version"] == self.version
        else:
            assert problem(refused) == (412, "stale-version")
            assert refused.json()["current_etag"] == f'"{self.version}"'
            since = [
                {name: event[name] for name in ("type", "actor", "at")}
                for event in self.timeline(sent.by, seen)
            ]
            assert refused.json()["events_since"] == since

    @rule(asked=requests)
    def lose_the_reply(self, asked: Asked) -> None:
        """Without a key the client goes on from what it finds."""
        self.service.lose_reply_to(self.request(asked))
        self.check(asked, None)

    @rule(asked=requests)
    def lose_the_reply_under_a_key(self, asked: Asked) -> None:
        """The repeat still names the version that was seen before the first."""
        key = self.new_key()
        sent = self.request_of_version(self.version, asked, in_body=False, **key)
        self.service.lose_reply_to(sent)

        again = self.service.answer(sent)

        events = self.check(asked, again)
        assert is_replayed(again) == bool(events)
        if events:
            self.granted.append((sent, again))

    @rule(n=nth)
    def repeat_what_was_granted(self, n: int) -> None:
        """Whatever has happened since, and whichever name the order goes by."""
        sent, first = self.granted[n % len(self.granted)]
        path = sent.path.replace(self.path, self.path_by_number)
        assert_replayed(self.service.answer(replace(sent, path=path)), first)
        assert self.happened() == []

    @rule(n=nth)
    def take_a_key_for_another_request(self, n: int) -> None:
        sent, _ = self.granted[n % len(self.granted)]
        other: tuple[str, dict[str, Any]] = f"{self.path}notes/", {"text": "Another request."}
        if sent.path == "/orders/":
            other = sent.path, {"items": [{"sku": "OTHER", "quantity": 1, "unit_price": 1}]}
        path, body = other
        refused = self.service.answer(Sent(sent.by, "POST", path, body, sent.headers))
        assert problem(refused) == (422, "idempotency-key-reused")
        assert self.happened() == []

    # --- what was asked ---------------------------------------------------------------------------

    @property
    def version(self) -> int:
        return max(self.documents, default=0)

    def new_key(self) -> dict[str, str]:
        self.keys += 1
        return {"Idempotency-Key": f"key-{self.keys}"}

    def request(self, asked: Asked, **headers: str) -> Sent:
        by = self.service.owner if asked.by == "owner" else self.service.staff
        return Sent(by, asked.method, self.path + asked.path, asked.body, headers)

    def request_of_version(self, version: int, asked: Asked, in_body: bool, **headers: str) -> Sent:
        """The version in the body, where there is one, or else in If-Match."""
        if in_body and asked.body is not None:
            return self.request(
                replace(asked, body={**asked.body, "expected_version": version}), **headers
            )
        return self.request(asked, **headers, **{"If-Match": f'"{version}"'})

    # --- what has to come of it -------------------------------------------------------------------

    def check(self, asked: Asked, answer: httpx.Response | None) -> list[Any]:
        """What happened is what the model expects, and the answer fits it. `answer`: None if it
        was lost."""
        events = self.happened()
        expected: Any = {"forbidden"}
        if not asked.forbidden:
            expected = self.model.ask(asked.command_that_made(events))
        refused = isinstance(expected, set)
        note(f"expected: {expected}")
        event(f"{type(asked.command).__name__}: {'refused' if refused else 'granted'}")
        assert types_of(events) == ([] if refused else expected)
        assert all(event["actor"]["type"] == ACTORS[asked.by] for event in events)
        if answer is not None and refused:
            status, slug = problem(answer)
            assert slug in expected
            assert status == STATUS_OF.get(slug, 409)
        elif answer is not None:
            assert answer.status_code == 200
        self.remember(None if refused else answer)
        return events

    def remember(self, answer: httpx.Response | None) -> None:
        """The order is read as it was answered, and as it was if nothing has happened."""
        found = self.get(self.service.owner, self.path)
        version = orjson.loads(found.content)["version"]
        assert found.headers["etag"] == f'"{version}"'
        if answer is not None:
            assert (answer.content, answer.headers["etag"]) == (
                found.content,
                found.headers["etag"],
            )
        assert self.documents.setdefault(version, found.content) == found.content

    def get(self, by: Account, path: str, **headers: str) -> httpx.Response:
        return self.service.answer(Sent(by, "GET", path, headers=headers))

    def happened(self) -> list[Any]:
        """The events since the version that was read last."""
        return self.timeline(self.service.staff, self.version)

    def timeline(self, by: Account, after: int) -> list[Any]:
        answer = self.get(by, f"{self.path}events/?after_version={after}")
        return list(answer.json()["events"])

    # --- what holds after every step --------------------------------------------------------------

    @invariant()
    def the_order_is_the_models(self) -> None:
        model, order = self.model, orjson.loads(self.documents[self.version])
        assert {name: order[name] for name in STATUSES} == {
            name: getattr(model, name) for name in STATUSES
        }
        assert {name: minor(order[name]) for name in AMOUNTS} == {
            name: getattr(model, ours) for name, ours in AMOUNTS.items()
        }
        assert {
            item["line_id"]: [item[name] for name in QUANTITIES] for item in order["items"]
        } == {
            line_id: [getattr(line, ours) for ours in QUANTITIES.values()]
            for line_id, line in model.lines.items()
        }
        for kind in ("refunds", "returns"):
            assert {UUID(part["id"]): part["status"] for part in order[kind]} == {
                part_id: part.state for part_id, part in getattr(model, kind).items()
            }

    def teardown(self) -> None:
        """Nothing is missing, and nothing was forgotten."""
        if sys.exc_info()[0] is not None:
            return  # a step has failed: it speaks for itself
        unchanged = {"If-None-Match": f'"{self.version}"'}
        by_number = self.get(self.service.staff, self.path_by_number, **unchanged)
        assert (by_number.status_code, by_number.content) == (304, b"")
        history = self.timeline(self.service.staff, 0)
        assert [event["version"] for event in history] == [*range(1, self.version + 1)]
        for version, document in self.documents.items():
            then = self.get(self.service.staff, f"{self.path}?version={version}")
            assert (then.content, then.headers["etag"]) == (document, f'"{version}"')
        for sent, first in self.granted:
            assert_replayed(self.service.answer(sent), first)
        assert self.happened() == []


@pytest.mark.fuzz
def test_the_service_does_once_what_the_model_says(settings: Settings) -> None:
    with service_of(settings) as found:

        class AgainstThisService(ServiceAgainstModel):
            service = found

        run_state_machine_as_test(AgainstThisService, settings=BOUNDS)
