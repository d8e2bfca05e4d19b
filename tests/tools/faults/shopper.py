"""The load: customers who place orders, change them and look at them, whatever is broken.

What they send under a key they repeat under that key until there is a definite answer, most of the
time. They notice at once what no checker could tell later: an answer that is older than what they
had seen, an order that is not theirs, a status that no fault explains.
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
PEOPLE = 4
RACERS = 3  # changes that insist on one version at the same time
REQUEST_TIMEOUT_S = 15.0  # longer than any deadline of the service
RETRY_S = 0.1
GIVE_UP_S = 0.005  # a client that does not wait for its answer waits so long
STATUS_AFTER = {"PENDING": "PAID", "PAID": "SHIPPED", "SHIPPED": "DELIVERED"}
REFUSED = 400
FAILED = 500


@dataclass
class SeenOrder:
    """`version`: the highest that anybody was shown."""

    id: UUID
    version: int
    status: str


@dataclass
class Person:
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
    """The people, and what they noticed. `load`: how they shop from the next `open` on;
    `impatience`: the part of requests whose client goes away before the answer."""

    def __init__(self, url: str, journal: Journal, seed: int) -> None:
        limits = httpx.Limits(max_connections=PEOPLE * SHOPPERS_EACH_MAX * RACERS)
        self.client = httpx.AsyncClient(base_url=url, timeout=REQUEST_TIMEOUT_S, limits=limits)
        self.journal = journal
        self.people: list[Person] = []
        self.stale: list[StaleRead] = []
        self.wrong: list[str] = []
        self.load = LOADS["mix"]
        self.impatience = 0.0
        self._rng = random.Random(seed)
        self._closing = asyncio.Event()
        self._shopping: list[asyncio.Task[None]] = []

    # --- opening and closing ----------------------------------------------------------------------

    async def enter_people(self) -> None:
        self.people = [await self._register() for _ in range(PEOPLE)]

    async def _register(self) -> Person:
        email = f"{uuid4().hex}@example.com"
        body = {"email": email, "password": PASSWORD}
        registered = (await self.client.post("/register/", json=body)).raise_for_status().json()
        form = {"username": email, "password": PASSWORD}
        token = (await self.client.post("/token/", data=form)).raise_for_status().json()
        headers = {"Authorization": f"Bearer {token['access_token']}"}
        return Person(UUID(registered["id"]), headers)

    def open(self) -> None:
        """Everybody shops from now on."""
        self._closing.clear()
        for person in self.people * self.load.shoppers_each:
            rng = random.Random(self._rng.random())
            self._shopping.append(asyncio.create_task(self._shop(person, rng)))

    async def close(self) -> None:
        """Everybody has finished the request in hand; raises what went wrong in a shopper."""
        self._closing.set()
        shopping, self._shopping = self._shopping, []
        await asyncio.gather(*shopping)

    async def _shop(self, person: Person, rng: random.Random) -> None:
        acts: dict[str, Callable[[Person, random.Random], Awaitable[None]]] = {
            "read": self._read, "read_foreign": self._read_foreign, "list": self._list,
            "place": self._place, "set_status": self._set_status, "edit": self._edit,
            "race": self._race,
        }  # fmt: skip
        load = self.load
        await self._place(person, rng)
        while not self._closing.is_set():
            [act] = rng.choices([*load.acts], [*load.acts.values()])
            await acts[act](person, rng)
            await asyncio.sleep(load.think_s)

    # --- commands ---------------------------------------------------------------------------------

    async def _place(self, person: Person, rng: random.Random) -> None:
        key = uuid4().hex
        items = [
            {"sku": f"SKU-{n}", "quantity": rng.randint(1, 9), "unit_price": f"{n}.99"}
            for n in range(rng.randint(1, 3))
        ]
        order_id = order_id_of_key(person.user_id, key)
        wanted = Attempt(
            person.user_id, "place", "POST", "/orders/", order_id, {"items": items}, key
        )
        answer = await self._insist(person, wanted, rng)
        if answer is not None and answer.status_code < REFUSED:
            shown = answer.json()
            order = SeenOrder(UUID(shown["id"]), shown["version"], shown["status"])
            person.remember(order, self.load.remembered_orders)

    async def _set_status(self, person: Person, rng: random.Random) -> None:
        order = _pick(person, rng)
        status = STATUS_AFTER.get(order.status, "CANCELED")
        if order.status == "PENDING" and not rng.randrange(6):
            status = "CANCELED"
        expected = order.version if not rng.randrange(4) else None
        wanted = _change(person, order, status, "PATCH", "", {"status": status}, expected)
        await self._show(order, await self._insist(person, wanted, rng))

    async def _edit(self, person: Person, rng: random.Random) -> None:
        order = _pick(person, rng)
        if order.status == "PENDING":
            line = {"sku": f"ADD-{uuid4().hex[:8]}", "quantity": 1, "unit_price": "1.50"}
            wanted = _change(person, order, "line", "POST", "lines/", line)
        else:
            wanted = _change(person, order, "note", "POST", "notes/", {"text": "Ring twice."})
        await self._show(order, await self._insist(person, wanted, rng))

    async def _race(self, person: Person, rng: random.Random) -> None:
        """Several changes that insist on one version: the log decides who wins."""
        order = _pick(person, rng)
        body = {"text": "Me first."}
        racing = [
            _change(person, order, "note", "POST", "notes/", body, order.version)
            for _ in range(RACERS)
        ]
        for answer in await asyncio.gather(*(self._insist(person, one, rng) for one in racing)):
            await self._show(order, answer)

    async def _insist(
        self, person: Person, wanted: Attempt, rng: random.Random
    ) -> httpx.Response | None:
        """The definite answer. None: it was left open, or everybody is to go home."""
        patient = rng.random() < 0.9
        while True:
            answer = await self.send(person, wanted, gives_up=rng.random() < self.impatience)
            if answer is not None and answer.status_code < FAILED:
                break
            if self._closing.is_set() or not patient:
                return None
            await asyncio.sleep(RETRY_S)
            wanted = wanted.again()
        if answer.status_code < REFUSED and not rng.randrange(5):
            await self.send(person, wanted.again())  # the checker compares the answers
        return answer

    async def _show(self, order: SeenOrder, answer: httpx.Response | None) -> None:
        if answer is None or answer.status_code >= REFUSED:
            return
        shown = answer.json()
        if shown["version"] >= order.version:
            order.version, order.status = shown["version"], shown["status"]

    # --- queries ----------------------------------------------------------------------------------

    async def _read(self, person: Person, rng: random.Random) -> None:
        order = _pick(person, rng)
        seen = order.version
        asked = Attempt(person.user_id, "read", "GET", f"/orders/{order.id}/", order.id)
        answer = await self.send(person, asked)
        if answer is None or answer.status_code >= FAILED:
            return
        if answer.status_code != httpx.codes.OK:
            self.wrong.append(f"order {order.id}, version {seen}: {answer.status_code} for a read")
        elif asked.version < seen:
            self.stale.append(StaleRead(order.id, seen, asked.version, asked.began_s))
        else:
            await self._show(order, answer)

    async def _read_foreign(self, person: Person, rng: random.Random) -> None:
        other = rng.choice([other for other in self.people if other is not person])
        if other.orders:
            order = _pick(other, rng)
            asked = Attempt(person.user_id, "foreign", "GET", f"/orders/{order.id}/", order.id)
            answer = await self.send(person, asked)
            if asked.status not in (0, httpx.codes.NOT_FOUND) and asked.status < FAILED:
                self.wrong.append(f"foreign order {order.id}: {asked.status}, {answer}")

    async def _list(self, person: Person, _: random.Random) -> None:
        path = f"/orders/user/{person.user_id}/?limit=20"
        answer = await self.send(person, Attempt(person.user_id, "list", "GET", path, UUID(int=0)))
        if answer is not None and answer.is_success:
            owners = {shown["user_id"] for shown in answer.json()}
            if owners - {str(person.user_id)}:
                self.wrong.append(f"the list of {person.user_id} has orders of {owners}")

    # --- the wire ---------------------------------------------------------------------------------

    async def send(
        self, person: Person, attempt: Attempt, *, gives_up: bool = False
    ) -> httpx.Response | None:
        """The answer; None if none came, which leaves the outcome unknown. Both are journalled."""
        number = await self.journal.begin(attempt)
        attempt.began_s = time.monotonic()
        answer = None
        try:
            answer = await self.client.request(
                attempt.method,
                attempt.path,
                json=attempt.body,
                headers={**person.headers, **attempt.headers},
                timeout=GIVE_UP_S if gives_up else REQUEST_TIMEOUT_S,
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
        """Every command whose outcome is unknown is sent once more, under its key, and answered."""
        people = {person.user_id: person for person in self.people}
        for key, command in self.journal.commands().items():
            if command.is_settled:
                continue
            answer = await self.send(people[command.first.user], command.first.again())
            if answer is None or answer.status_code >= FAILED:
                said = "nothing" if answer is None else answer.text
                self.wrong.append(f"{key}: still no definite answer after all was healed: {said}")


def _pick(person: Person, rng: random.Random) -> SeenOrder:
    return rng.choice(person.orders)


def _change(
    person: Person,
    order: SeenOrder,
    kind: str,
    method: str,
    path: str,
    body: Mapping[str, Any],
    expected: int | None = None,
) -> Attempt:
    path = f"/orders/{order.id}/{path}"
    return Attempt(
        person.user_id, kind, method, path, order.id, body, uuid4().hex, expected=expected
    )
