"""Fifty clients who ask for the same thing at once, of two web processes on one database: it
happens once, and each is answered as the contract says."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio

from order_service.infra.postgres import WEB, create_engine
from order_service.settings import Settings
from tests.conftest import own_database, serving_with
from tests.support.http.accounts import PASSWORD, Account, new_account
from tests.support.http.orders import act, place, problem
from tests.support.waiting import WAIT_S

CLIENTS = 50
# One set-up for the module: each race has an order, or an account, of its own.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True)
class Shop:
    """Two web processes, and one of the staff."""

    webs: tuple[httpx.AsyncClient, httpx.AsyncClient]
    staff: Account


@dataclass(frozen=True)
class Ask:
    """A command on an order, below whose path `path` lies: `{parcel}` there is the id of the part
    that was made last."""

    method: str
    path: str
    body: dict[str, Any]


@dataclass(frozen=True)
class Race:
    """`before`: what an order was asked first. `events`: what happens once when all ask for
    `asked`. `late`: what those are told who come second; None: what the first was told."""

    before: tuple[Ask, ...]
    asked: Ask
    events: tuple[str, ...]
    late: tuple[int, str] | None = None


PAY = Ask("PATCH", "", {"status": "PAID"})
AUTHORIZE = Ask("POST", "payments/", {"kind": "authorization", "method": "card"})
CAPTURE = Ask("POST", "payments/{payments}/capture/", {})
TAKE = Ask("POST", "payments/", {"kind": "capture", "amount": "24.98"})
REPORT = Ask(
    "POST",
    "payments/",
    {"kind": "capture", "amount": "24.98", "source": "provider", "provider_reference": "pay_7"},
)
SHIP = Ask("POST", "shipments/", {})
SET_SHIPPED = Ask("PATCH", "", {"status": "SHIPPED"})
CANCEL = Ask("POST", "cancel/", {"reason": "FRAUD"})
SET_CANCELED = Ask("PATCH", "", {"status": "CANCELED"})
REFUND = Ask("POST", "refunds/", {"reason": "GOODWILL"})
SETTLE = Ask("POST", "refunds/{refunds}/settle/", {"provider_reference": "re_7"})

PAID = ("PaymentCaptured", "OrderPaid")
SHIPPED = ("ShipmentDispatched", "OrderShipped")
RACES = {
    "pay by status": Race((), PAY, PAID),
    "pay": Race((), TAKE, PAID, (422, "amount-exceeds-due")),
    "pay by one provider_reference": Race((), REPORT, PAID),
    "capture": Race((AUTHORIZE,), CAPTURE, PAID, (409, "payment-not-capturable")),
    "cancel by status": Race((), SET_CANCELED, ("OrderCanceled",)),
    "cancel": Race((PAY,), CANCEL, ("OrderCanceled", "RefundRequested")),
    "refund": Race((PAY,), REFUND, ("RefundRequested",), (422, "refund-exceeds-captured")),
    "settle": Race((PAY, REFUND), SETTLE, ("RefundCompleted",)),
    "ship": Race((PAY,), SHIP, SHIPPED, (409, "nothing-to-ship")),
    "ship by status": Race((PAY,), SET_SHIPPED, SHIPPED),
}


def races(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("race", [RACES[name] for name in names], ids=names)


@pytest.fixture(scope="module")
def database(migrated_template: Settings) -> Iterator[Settings]:
    with own_database(migrated_template) as settings:
        yield settings


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine, none of many commands on one order is refused for its wait."""
    for name in ("STREAM_LOCK_WAIT_S", "LOAD_WAIT_S", "APPEND_WAIT_S"):
        monkeypatch.setattr(f"order_service.limits.{name}", WAIT_S)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(database: Settings) -> AsyncIterator[Shop]:
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(serving_with(database))
        other = await stack.enter_async_context(serving_with(database))
        engine = create_engine(database, WEB, application_name="test-web")
        stack.push_async_callback(engine.dispose)
        yield Shop((one, other), await new_account(engine, role="staff"))


async def given(shop: Shop, *before: Ask) -> httpx.Response:
    """An order that was asked all this: the last answer."""
    order = await place(shop.webs[0], shop.staff)
    for ask in before:
        order = (await one_asks(shop, 0, order, ask)).raise_for_status()
    return order


async def one_asks(
    shop: Shop, client: int, order: httpx.Response, ask: Ask, **headers: str
) -> httpx.Response:
    parts = {
        kind: found[-1]["id"] for kind in ("payments", "refunds") if (found := order.json()[kind])
    }
    path = ask.path.format(**parts)
    web = shop.webs[client // 2 % 2]
    return await act(web, shop.staff, order, path, ask.body, method=ask.method, headers=headers)


async def all_ask(
    shop: Shop, order: httpx.Response, *asked: Ask, **headers: str
) -> list[httpx.Response]:
    """The answers to fifty clients, who take turns at the two processes and at what is `asked`."""
    return await asyncio.gather(
        *(
            one_asks(shop, client, order, asked[client % len(asked)], **headers)
            for client in range(CLIENTS)
        )
    )


async def happened(shop: Shop, order: httpx.Response) -> tuple[str, ...]:
    """The events since `order` was answered."""
    version = order.json()["version"]
    path = f"/orders/{order.json()['id']}/events/?after_version={version}"
    timeline = (await shop.webs[1].get(path, headers=shop.staff.headers)).json()["events"]
    assert [event["version"] for event in timeline] == list(
        range(version + 1, version + 1 + len(timeline))
    )
    return tuple(event["type"] for event in timeline)


def outcomes(answers: list[httpx.Response]) -> Counter[Any]:
    """How often there was which answer: a document's bytes, or a problem."""
    return Counter(answer.content if answer.is_success else problem(answer) for answer in answers)


@races(*RACES)
async def test_what_all_ask_for_happens_once(shop: Shop, race: Race) -> None:
    order = await given(shop, *race.before)

    answers = await all_ask(shop, order, race.asked)

    first = next(answer.content for answer in answers if answer.is_success)
    expected = {first: CLIENTS} if race.late is None else {first: 1, race.late: CLIENTS - 1}
    assert outcomes(answers) == expected
    assert await happened(shop, order) == race.events


@races("pay", "refund", "ship")
async def test_under_one_key_all_are_told_what_the_first_is(shop: Shop, race: Race) -> None:
    order = await given(shop, *race.before)

    answers = await all_ask(shop, order, race.asked, **{"Idempotency-Key": "once"})

    assert outcomes(answers) == {answers[0].content: CLIENTS}
    assert {answer.status_code for answer in answers} == {200}
    replayed = Counter(answer.headers.get("idempotent-replayed") for answer in answers)
    assert replayed == {None: 1, "true": CLIENTS - 1}
    assert await happened(shop, order) == race.events


async def hang_up(web: httpx.AsyncClient, request: httpx.Request) -> None:
    """Sends it, and is gone before any answer."""
    head = [f"{request.method} {request.url.path} HTTP/1.1"]
    head += [f"{name}: {value}" for name, value in request.headers.items()]
    _, writer = await asyncio.open_connection("127.0.0.1", web.base_url.port)
    writer.write("\r\n".join([*head, "", ""]).encode() + request.content)
    await writer.drain()
    writer.close()
    await writer.wait_closed()


async def test_those_who_hang_up_find_their_command_carried_out_once(shop: Shop) -> None:
    order = await given(shop)
    headers = {**shop.staff.headers, "Idempotency-Key": "once"}
    path = f"/orders/{order.json()['id']}/{TAKE.path}"
    asked = [web.build_request("POST", path, json=TAKE.body, headers=headers) for web in shop.webs]

    await asyncio.gather(
        *(hang_up(shop.webs[client % 2], asked[client % 2]) for client in range(CLIENTS))
    )

    again = await one_asks(shop, 0, order, TAKE, **{"Idempotency-Key": "once"})
    assert (again.status_code, again.json()["status"]) == (200, "PAID")
    assert await happened(shop, order) == PAID


@races("cancel", "ship")
async def test_of_all_who_saw_one_version_one_may_act(shop: Shop, race: Race) -> None:
    """Even where the status is reached: the precondition comes before the rules."""
    order = await given(shop, *race.before)

    answers = await all_ask(shop, order, race.asked, **{"If-Match": order.headers["etag"]})

    first = next(answer for answer in answers if answer.is_success)
    late = [answer.json() for answer in answers if answer.is_error]
    assert outcomes(answers) == {first.content: 1, (412, "stale-version"): CLIENTS - 1}
    assert {refusal["current_etag"] for refusal in late} == {first.headers["etag"]}
    told = {tuple(event["type"] for event in refusal["events_since"]) for refusal in late}
    assert told == {race.events}
    assert await happened(shop, order) == race.events


@pytest.mark.parametrize(
    ("before", "asked", "events", "late"),
    [
        (
            (),
            Ask("POST", "payments/", {"kind": "capture", "amount": "10"}),
            ("PaymentCaptured",) * 2,
            (422, "amount-exceeds-due"),
        ),
        (
            (PAY,),
            Ask("POST", "refunds/", {"amount": "10", "reason": "GOODWILL"}),
            ("RefundRequested",) * 2,
            (422, "refund-exceeds-captured"),
        ),
        (
            (PAY,),
            Ask("POST", "shipments/", {"lines": [{"line_id": 1, "quantity": 1}]}),
            ("ShipmentDispatched",) * 2,
            (422, "quantity-exceeds-outstanding"),
        ),
    ],
    ids=["pay", "refund", "ship"],
)
async def test_parts_never_sum_to_more_than_the_whole(
    shop: Shop,
    before: tuple[Ask, ...],
    asked: Ask,
    events: tuple[str, ...],
    late: tuple[int, str],
) -> None:
    order = await given(shop, *before)

    answers = await all_ask(shop, order, asked)

    refused = [problem(answer) for answer in answers if answer.is_error]
    assert refused == [late] * (CLIENTS - 2)
    assert await happened(shop, order) == events


async def test_an_order_is_shipped_or_canceled_and_never_both(shop: Shop) -> None:
    order = await given(shop, PAY)

    answers = await all_ask(shop, order, SET_SHIPPED, SET_CANCELED)

    first = next(answer for answer in answers if answer.is_success)
    shipped = first.json()["status"] == "SHIPPED"
    late = (409, "already-shipped" if shipped else "invalid-transition")
    assert outcomes(answers) == {first.content: CLIENTS // 2, late: CLIENTS // 2}
    canceled = ("OrderCanceled", "RefundRequested")
    assert await happened(shop, order) == (SHIPPED if shipped else canceled)


async def test_an_external_reference_is_taken_by_one(shop: Shop) -> None:
    answers = await asyncio.gather(
        *(
            place(shop.webs[client % 2], shop.staff, external_reference="cart-7")
            for client in range(CLIENTS)
        )
    )

    (placed,) = (answer.json() for answer in answers if answer.is_success)
    late = [answer for answer in answers if answer.is_error]
    assert Counter(map(problem, late)) == {(409, "duplicate-reference"): CLIENTS - 1}
    assert {answer.json()["existing_order"] for answer in late} == {placed["id"]}


async def test_an_address_is_registered_by_one(shop: Shop) -> None:
    account = {"email": "ann@example.com", "password": PASSWORD}

    answers = await asyncio.gather(
        *(shop.webs[client % 2].post("/register/", json=account) for client in range(CLIENTS))
    )

    late = [problem(answer) for answer in answers if answer.status_code != 201]
    assert late == [(409, "email-taken")] * (CLIENTS - 1)


async def test_a_refresh_token_is_used_by_one(shop: Shop) -> None:
    """The others are a second tab's, say: refused, and the login goes on."""
    login = {"username": shop.staff.email, "password": PASSWORD}
    token = (await shop.webs[0].post("/token/", data=login)).json()["refresh_token"]

    async def refresh(client: int, token: str) -> httpx.Response:
        web = shop.webs[client % 2]
        return await web.post("/token/refresh/", json={"refresh_token": token})

    answers = await asyncio.gather(*(refresh(client, token) for client in range(CLIENTS)))

    (following,) = (answer.json() for answer in answers if answer.is_success)
    late = [problem(answer) for answer in answers if answer.is_error]
    assert late == [(401, "refresh-superseded")] * (CLIENTS - 1)
    assert (await refresh(0, following["refresh_token"])).status_code == 200
