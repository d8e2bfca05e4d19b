"""Places the orders of a CSV file of order lines, cancels and returns units in random portions, and
compares every amount with plain fractions.

    python -m tests.tools.northwind FILE [SEED]

The file has the columns order, freight, product, unit_price, quantity, discount_rate, such as the
Northwind sample database. Prints how many orders, units and refunds were compared.
"""

import csv
import random
import sys
from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from itertools import groupby
from math import floor
from operator import itemgetter
from pathlib import Path
from uuid import UUID

from order_service.domain import commands as c
from order_service.domain.events import OrderEvent, RefundRequested
from order_service.domain.order import decide, evolve, initial
from order_service.domain.parts import LineQuantity, OrderLine, ReceivedQuantity
from order_service.domain.state import Order
from tests.support.log.examples import AT, USER

Row = dict[str, str]


def half_up(amount: Fraction) -> int:
    return floor(amount + Fraction(1, 2))


def cents(amount: Decimal) -> int:
    return int((amount * 100).quantize(Decimal(1), ROUND_HALF_UP))


class Life:
    """An order, and beside it what each line's units are worth by the book."""

    def __init__(self, rows: list[Row], chance: random.Random) -> None:
        self.chance = chance
        self.ids = iter(range(1, 10**6))
        self.order: Order | None = initial
        self.refunded = 0
        lines = []
        self.values: dict[int, Fraction] = {}
        for number, row in enumerate(rows, start=1):
            gross = Decimal(row["unit_price"]) * int(row["quantity"])
            discount = cents(gross * Decimal(row["discount_rate"]))
            price = cents(Decimal(row["unit_price"]))
            lines.append(
                OrderLine(
                    *(number, row["product"], None, int(row["quantity"]), price),
                    discount_minor=discount,
                )
            )
            self.values[number] = Fraction(cents(gross) - discount)
        self.freight = cents(Decimal(rows[0]["freight"]))
        self.send(c.PlaceOrder(USER, "USD", tuple(lines), None, shipping_fee_minor=self.freight))

    def new_id(self) -> UUID:
        return UUID(int=next(self.ids))

    def send(self, command: c.OrderCommand) -> tuple[OrderEvent, ...]:
        events = decide(command, self.order)
        for event in events:
            self.order = evolve(self.order, event)
            if isinstance(event, RefundRequested):
                self.refunded += event.amount_minor
        return events

    def worth(self, number: int, units: int) -> int:
        assert self.order is not None
        return half_up(self.values[number] * units / self.order.lines[number].line.quantity)

    def kept(self) -> int:
        assert self.order is not None
        return sum(self.worth(i, line.kept) for i, line in self.order.lines.items())

    def run(self) -> int:
        """The units that were canceled and returned. AssertionError: an amount differs."""
        assert self.order is not None
        whole = self.freight + self.kept()
        assert self.order.total_minor == whole
        self.send(c.ChangeStatus("PAID", self.new_id(), AT, "OTHER"))
        moved = 0
        for number in self.order.lines:
            moved += self.cancel(number)
        if self.order.cancel_reason is None:
            moved += self.send_back()
        free = self.order.cancel_reason is not None  # the last unit took the freight along
        assert whole - self.refunded == (0 if free else self.freight + self.kept())
        return moved

    def cancel(self, number: int) -> int:
        assert self.order is not None
        units = self.chance.randint(0, self.order.lines[number].line.quantity // 2)
        for part in self.portions(units):
            self.send(c.CancelUnits(number, part, "OUT_OF_STOCK", self.new_id()))
        return units

    def send_back(self) -> int:
        assert self.order is not None
        self.send(c.Ship(self.new_id(), None, AT))
        self.send(c.ConfirmDelivery(None, None, AT))
        moved = 0
        for number, line in self.order.lines.items():
            units = self.chance.randint(0, line.delivered)
            for part in self.portions(units):
                return_id = self.new_id()
                asked = (LineQuantity(number, part),)
                self.send(c.RequestReturn(return_id, asked, "DAMAGED", AT))
                self.send(c.ApproveReturn(return_id))
                back = (ReceivedQuantity(number, part, "SELLABLE"),)
                self.send(c.ReceiveReturn(return_id, back, self.new_id()))
            moved += units
        return moved

    def portions(self, units: int) -> Iterator[int]:
        while units:
            part = self.chance.randint(1, units)
            yield part
            units -= part


def main(file: str, seed: int = 1) -> None:
    chance = random.Random(seed)
    with Path(file).open() as rows:
        orders = [list(group) for _, group in groupby(csv.DictReader(rows), itemgetter("order"))]
    lives = [Life(rows, chance) for rows in orders]
    moved = sum(life.run() for life in lives)
    refunded = sum(life.refunded for life in lives)
    print(
        f"{len(lives)} orders, {moved} units canceled or returned, {refunded / 100:,.2f} refunded"
    )


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:3]))
