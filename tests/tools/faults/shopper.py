"""The load: customers who place, change and read orders during every fault.

Mostly they repeat a request with its key until a definite answer arrives. They check at once what
no later check can find: an answer that is older than one before, an order of another customer, a
status that no fault explains.
"""

import asyncio
import hashlib
import json
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import httpx

from order_service.ids import order_id_of_key
from tests.tools.faults.journal import Attempt, Journal
from tests.tools.faults.loads import LOADS, SHOPPERS_EACH_MAX

PASSWORD = "a-long-enough-passphrase"
CUSTOMERS = 4
RACERS = 3  # simultaneous changes with the same expected version
REQUEST_TIMEOUT_S = 15.0  # longer than any deadline of the service
RETRY_S = 0.1
ABANDON_AFTER_S = 0.005  # a client that abandons its request disconnects then
STATUS_AFTER = {"PENDING": "PAID", "PAID": "SHIPPED", "SHIPPED": "DELIVERED"}
REFUSED = 400
FAILED = 500


@dataclass
class SeenOrder:
    """`version`: the highest in any answer so far."""

    id: UUID
    version: int
    status: str


@dataclass
class Customer:
    user_id: UUID
    headers: Mapping[str, str]
    orders: list[SeenOrder] = field(default_factory=list)

    def remember(self, order: SeenOrder, at_most: int) -> None:
        self.orders.append(order)
        del self.orders[:-at_most]


@dataclass(frozen=True)
class StaleRead:
    order_id: UUID
    seen: int
    shown: int
    began_s: float  # monotonic


class Shop:
    """The customers and their findings. `load`: takes effect at the next `open`; `abandoned_share`:
    the share of requests whose client disconnects before the answer.
    """

    def __init__(self, url: str, journal: Journal, seed: int) -> None:
        limits = httpx.Limits(max_connections=CUSTOMERS * SHOPPERS_EACH_MAX * RACERS)
        self.client = httpx.AsyncClient(base_url=url, timeout=REQUEST_TIMEOUT_S, limits=limits)
        self.journal = journal
        self.customers: list[Customer] = []
        self.stale: list[StaleRead] = []
        self.wrong: list[str] = []
        self.load = LOADS["mix"]
        self.abandoned_share = 0.0
        self._rng = random.Random(seed)
        self._closing = asyncio.Event()
        self._shopping: list[asyncio.Task[None]] = []

    # --- opening and closing ----------------------------------------------------------------------

    async def register_customers(self) -> None:
        self.customers = [await self._register() for _ in range(CUSTOMERS)]

    async def _register(self) -> Customer:
        email = f"{uuid4().hex}@example.com"
        body = {"email": email, "password": PASSWORD}
        registered = (await self.client.post("/register/", json=body)).raise_for_status().json()
        form = {"username": email, "password": PASSWORD}
        token = (await self.client.post("/token/", data=form)).raise_for_status().json()
        headers = {"Authorization": f"Bearer {token['access_token']}"}
        return Customer(UUID(registered["id"]), headers)

    def open(self) -> None:
        """Starts the shoppers."""
        self._closing.clear()
        for customer in self.customers * self.load.shoppers_each:
            rng = random.Random(self._rng.random())
            self._shopping.append(asyncio.create_task(self._shop(customer, rng)))

    async def close(self) -> None:
        """Stops all shoppers after their current requests; raises a shopper's error, if any."""
        self._closing.set()
        shopping, self._shopping = self._shopping, []
        await asyncio.gather(*shopping)

    async def _shop(self, customer: Customer, rng: random.Random) -> None:
        acts: dict[str, Callable[[Customer, random.Random], Awaitable[None]]] = {
            "read": self._read, "read_foreign": self._read_foreign, "list": self._list,
            "place": self._place, "set_status": self._set_status, "edit": self._edit,
            "race": self._race,
        }  # fmt: skip
        load = self.load
        await self._place(customer, rng)
        while not self._closing.is_set():
            [act] = rng.choices([*load.acts], [*load.acts.values()])
            await acts[act](customer, rng)
            await asyncio.sleep(load.think_s)

    # --- commands ---------------------------------------------------------------------------------

    async def _place(self, customer: Customer, rng: random.Random) -> None:
        key = uuid4().hex
        items = [
            {"sku": f"SKU-{n}", "quantity": rng.randint(1, 9), "unit_price": f"{n}.99"}
            for n in range(rng.randint(1, 3))
        ]
        order_id = order_id_of_key(customer.user_id, key)
        attempt = Attempt(
            customer.user_id, "place", "POST", "/orders/", order_id, {"items": items}, key
        )
        answer = await self._send_until_answered(customer, attempt, rng)
        if answer is not None and answer.status_code < REFUSED:
            shown = answer.json()
            order = SeenOrder(UUID(shown["id"]), shown["version"], shown["status"])
            customer.remember(order, self.load.remembered_orders)

    async def _set_status(self, customer: Customer, rng: random.Random) -> None:
        order = _any_order(customer, rng)
        status = STATUS_AFTER.get(order.status, "CANCELED")
        if order.status == "PENDING" and not rng.randrange(6):
            status = "CANCELED"
        expected = order.version if not rng.randrange(4) else None
        attempt = _change_of(customer, order, status, "PATCH", "", {"status": status}, expected)
        await self._remember_answer(order, await self._send_until_answered(customer, attempt, rng))

    async def _edit(self, customer: Customer, rng: random.Random) -> None:
        order = _any_order(customer, rng)
        if order.status == "PENDING":
            line = {"sku": f"ADD-{uuid4().hex[:8]}", "quantity": 1, "unit_price": "1.50"}
            attempt = _change_of(customer, order, "line", "POST", "lines/", line)
        else:
            attempt = _change_of(customer, order, "note", "POST", "notes/", {"text": "Ring twice."})
        await self._remember_answer(order, await self._send_until_answered(customer, attempt, rng))

    async def _race(self, customer: Customer, rng: random.Random) -> None:
        """Sends several changes with the same expected version: the log accepts one of them."""
        order = _any_order(customer, rng)
        body = {"text": "Me first."}
        attempts = [
            _change_of(customer, order, "note", "POST", "notes/", body, order.version)
            for _ in range(RACERS)
        ]
        sending = (self._send_until_answered(customer, attempt, rng) for attempt in attempts)
        for answer in await asyncio.gather(*sending):
            await self._remember_answer(order, answer)

    async def _send_until_answered(
        self, customer: Customer, attempt: Attempt, rng: random.Random
    ) -> httpx.Response | None:
        """The definite answer; None: the outcome stays unknown, since this client does not repeat,
        or the shop closes.
        """
        repeats = rng.random() < 0.9
        while True:
            abandons = rng.random() < self.abandoned_share
            answer = await self.send(customer, attempt, abandons=abandons)
            if answer is not None and answer.status_code < FAILED:
                break
            if self._closing.is_set() or not repeats:
                return None
            await asyncio.sleep(RETRY_S)
            attempt = attempt.repeat()
        if answer.status_code < REFUSED and not rng.randrange(5):
            await self.send(customer, attempt.repeat())  # a check compares the answers
        return answer

    async def _remember_answer(self, order: SeenOrder, answer: httpx.Response | None) -> None:
        if answer is None or answer.status_code >= REFUSED:
            return
        shown = answer.json()
        if shown["version"] >= order.version:
            order.version, order.status = shown["version"], shown["status"]

    # --- queries ----------------------------------------------------------------------------------

    async def _read(self, customer: Customer, rng: random.Random) -> None:
        order = _any_order(customer, rng)
        seen = order.version
        attempt = Attempt(customer.user_id, "read", "GET", f"/orders/{order.id}/", order.id)
        answer = await self.send(customer, attempt)
        if answer is None or answer.status_code >= FAILED:
            return
        if answer.status_code != httpx.codes.OK:
            self.wrong.append(f"order {order.id}, version {seen}: {answer.status_code} for a read")
        elif attempt.version < seen:
            self.stale.append(StaleRead(order.id, seen, attempt.version, attempt.began_s))
        else:
            await self._remember_answer(order, answer)

    async def _read_foreign(self, customer: Customer, rng: random.Random) -> None:
        other = rng.choice([other for other in self.customers if other is not customer])
        if other.orders:
            order = _any_order(other, rng)
            attempt = Attempt(customer.user_id, "foreign", "GET", f"/orders/{order.id}/", order.id)
            answer = await self.send(customer, attempt)
            if attempt.status not in (0, httpx.codes.NOT_FOUND) and attempt.status < FAILED:
                self.wrong.append(f"foreign order {order.id}: {attempt.status}, {answer}")

    async def _list(self, customer: Customer, _: random.Random) -> None:
        path = f"/orders/user/{customer.user_id}/?limit=20"
        attempt = Attempt(customer.user_id, "list", "GET", path, UUID(int=0))
        answer = await self.send(customer, attempt)
        if answer is not None and answer.is_success:
            owners = {shown["user_id"] for shown in answer.json()}
            if owners - {str(customer.user_id)}:
                self.wrong.append(f"the list of {customer.user_id} has orders of {owners}")

    # --- the wire ---------------------------------------------------------------------------------

    async def send(
        self, customer: Customer, attempt: Attempt, *, abandons: bool = False
    ) -> httpx.Response | None:
        """The answer; None if none came, so the outcome is unknown. The journal records both."""
        number = await self.journal.begin(attempt)
        attempt.began_s = time.monotonic()
        answer = None
        try:
            answer = await self.client.request(
                attempt.method,
                attempt.path,
                json=attempt.body,
                headers={**customer.headers, **attempt.headers},
                timeout=ABANDON_AFTER_S if abandons else REQUEST_TIMEOUT_S,
            )
        except httpx.TransportError:
            pass  # the outcome is unknown
        else:
            self._note(attempt, answer)
        attempt.seconds = time.monotonic() - attempt.began_s
        await self.journal.end(number)
        return answer

    def _note(self, attempt: Attempt, answer: httpx.Response) -> None:
        attempt.status = answer.status_code
        attempt.outcome = (
            "ok" if answer.is_success else "fail" if answer.status_code < FAILED else "unknown"
        )
        if answer.is_success and "etag" in answer.headers:
            attempt.version = json.loads(answer.content).get("version", 0)
        attempt.digest = hashlib.sha256(answer.content).hexdigest()
        if attempt.status >= FAILED and attempt.status != httpx.codes.SERVICE_UNAVAILABLE:
            self.wrong.append(f"{attempt.method} {attempt.path}: {attempt.status} {answer.text}")

    async def settle(self) -> None:
        """Repeats every command whose outcome is unknown; each must get an answer."""
        customers = {customer.user_id: customer for customer in self.customers}
        for key, command in self.journal.commands().items():
            if command.is_settled:
                continue
            answer = await self.send(customers[command.first.user], command.first.repeat())
            if answer is None or answer.status_code >= FAILED:
                found = "none" if answer is None else answer.text
                self.wrong.append(f"{key}: no definite answer after the heal: {found}")


def _any_order(customer: Customer, rng: random.Random) -> SeenOrder:
    return rng.choice(customer.orders)


def _change_of(
    customer: Customer,
    order: SeenOrder,
    kind: str,
    method: str,
    path: str,
    body: Mapping[str, Any],
    expected: int | None = None,
) -> Attempt:
    path = f"/orders/{order.id}/{path}"
    return Attempt(
        customer.user_id, kind, method, path, order.id, body, uuid4().hex, expected=expected
    )
