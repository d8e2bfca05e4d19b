"""The demo's shop: accounts, orders, and one command after the other on unfinished orders."""

import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from order_service import limits
from order_service.demo.client import Client, Patience, Refused
from order_service.demo.goods import Basket, Person, basket, person
from order_service.demo.lives import Beginning, Life, Step, choose


@dataclass
class Account:
    email: str
    password: str
    person: Person
    user_id: str = ""
    token: str = ""


@dataclass
class Living:
    """An unfinished order and its next step."""

    order_id: str
    customer: Account
    kind: str
    life: Life
    step: Step


@dataclass
class Counts:
    """Totals so far. `placed`, `ended`, `refused`: orders, by their kind of life."""

    placed: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    problems: Counter[str] = field(default_factory=Counter)
    commands: int = 0


class Shop:
    """Call `open` first. Every command has a key of its own, so it can be sent again."""

    def __init__(
        self,
        client: Client,
        chance: Random,
        choose_life: Callable[[Random], Beginning] = choose,
    ) -> None:
        self.client = client
        self._chance = chance
        self._choose_life = choose_life
        self._mark = secrets.token_hex(3)
        self._sent = 0
        self._customers: list[Account] = []
        self._staff: Account | None = None
        self.living: list[Living] = []
        self.counts = Counts()

    def staff_account(self, password: str) -> Account:
        """The staff account that `open` logs in; store it before, since nothing registers staff."""
        email = f"demo.staff.{self._mark}@example.com"
        self._staff = Account(email, password, person(self._chance, self._mark))
        return self._staff

    def open(self, customers: int) -> None:
        """Staff are logged in; `customers` customers are registered and logged in."""
        assert self._staff is not None
        self._log_in(self._staff)
        for number in range(customers):
            somebody = person(self._chance, f"{self._mark}{number}")
            account = Account(somebody.email, secrets.token_urlsafe(12), somebody)
            self._register(account)
            self._log_in(account)
            account.user_id = self.client.send("GET", "/users/me/", None, _bearer(account))["id"]
            self._customers.append(account)

    # --- orders -----------------------------------------------------------------------------------

    @property
    def placed(self) -> int:
        return self.counts.placed.total()

    def place_many(self, orders: int) -> None:
        """Staff place this many orders for the customers, some at a time."""
        while orders > 0:
            chosen = [self._next_order() for _ in range(min(orders, limits.DEMO_TOGETHER))]
            asked = [
                # A guest is a customer who has not logged in.
                goods.body(customer.person)
                | ({} if goods.is_guests else {"user_id": customer.user_id})
                for customer, goods, _ in chosen
            ]
            for result, (customer, goods, beginning) in zip(
                self._place_together(asked), chosen, strict=True
            ):
                if "problem" in result:
                    raise Refused(result["status"], result["problem"])
                # What a guest asks for, staff do.
                acting = self._staff if goods.is_guests else customer
                assert acting is not None
                self._begin(result["id"], acting, goods, beginning)
            orders -= len(chosen)

    def _place_together(self, asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Outcomes of the orders. Where the service was too busy for one of them, all are sent
        again under the same key, which leaves those that were stored as they are."""
        assert self._staff is not None
        key = self._new_key()
        patience = Patience()
        while True:
            answer = self._command(self._staff, "POST", "/orders/bulk/", {"orders": asked}, key)
            results: list[dict[str, Any]] = answer["results"]
            busy = [result["problem"] for result in results if result["status"] == 503]
            if not busy:
                return results
            self.client.wait(patience, str(Refused(503, busy[0])))

    def go_on(self, orders: int) -> None:
        """Sends one command: a new order while fewer than `orders` are placed, or the next step of
        an unfinished one."""
        more = self.placed < orders and len(self.living) < limits.DEMO_LIVING_MAX
        if more and (not self.living or self._chance.random() < limits.DEMO_NEW_SHARE):
            self.place()
        else:
            self.advance()

    def place(self) -> None:
        """A customer places an order."""
        customer, goods, beginning = self._next_order()
        order = self._command(customer, "POST", "/orders/", goods.body(customer.person))
        self._begin(order["id"], customer, goods, beginning)

    def advance(self) -> None:
        """Sends the next command of a random unfinished order. A refusal, since another client has
        changed the order, ends its life."""
        number = self._chance.randrange(len(self.living))
        living = self.living[number]
        step = living.step
        who = self._staff if step.by == "staff" else living.customer
        assert who is not None
        path = f"/orders/{living.order_id}/{step.path}"
        try:
            order = self._command(who, step.method, path, step.body)
            living.step = living.life.send(order)
        except StopIteration:
            self.counts.ended[living.kind] += 1
        except Refused as refused:
            self.counts.refused[living.kind] += 1
            self.counts.problems[str(refused)] += 1
        else:
            return
        self.living[number] = self.living[-1]
        self.living.pop()

    def _next_order(self) -> tuple[Account, Basket, Beginning]:
        chance = self._chance
        return chance.choice(self._customers), basket(chance), self._choose_life(chance)

    def _begin(self, order_id: str, customer: Account, goods: Basket, beginning: Beginning) -> None:
        life = beginning(goods, self._chance)
        self.counts.placed[beginning.__name__] += 1
        self.living.append(Living(order_id, customer, beginning.__name__, life, next(life)))

    # --- requests ---------------------------------------------------------------------------------

    def _new_key(self) -> str:
        self._sent += 1
        return f"demo-{self._mark}-{self._sent}"

    def _command(
        self, who: Account, method: str, path: str, body: object, key: str | None = None
    ) -> Any:
        headers = {"Idempotency-Key": key or self._new_key()}
        try:
            answer = self.client.send(method, path, body, headers | _bearer(who))
        except Refused as refused:
            if refused.status != 401:
                raise
            self._log_in(who)  # its token has expired: the demo has run for that long
            answer = self.client.send(method, path, body, headers | _bearer(who))
        self.counts.commands += 1
        return answer

    def _register(self, account: Account) -> None:
        try:
            self.client.send(
                "POST", "/register/", {"email": account.email, "password": account.password}
            )
        except Refused as refused:
            if refused.slug != "email-taken":  # so the answer to the first attempt was lost
                raise

    def _log_in(self, account: Account) -> None:
        asked = {"username": account.email, "password": account.password}
        account.token = self.client.send("POST", "/token/", asked)["access_token"]


def _bearer(account: Account) -> dict[str, str]:
    return {"Authorization": f"Bearer {account.token}"}
