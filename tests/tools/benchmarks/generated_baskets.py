"""Generates baskets in the shape of the real ones, for machines without the data package: the same
numbers of baskets and households, and lines as unevenly spread (nine on average, some over a
hundred). Every run generates the same.
"""

from collections.abc import Iterator
from random import Random
from uuid import NAMESPACE_OID, UUID, uuid5

from order_service.domain.parts import OrderLine

BASKETS = 155_848
HOUSEHOLDS = 2_469
PRODUCTS = 68_509
LINES_MEAN = 9.4
LINES_MAX = 160
FIRST_BASKET = 31_198_459_904
SEED = 4


def baskets() -> Iterator[tuple[UUID, int, tuple[OrderLine, ...]]]:
    """Household's user id, basket id, lines: ascending by basket id."""
    random = Random(SEED)
    users = [uuid5(NAMESPACE_OID, f"household {number}") for number in range(HOUSEHOLDS)]
    for index in range(BASKETS):
        count = min(LINES_MAX, 1 + int(random.expovariate(1 / (LINES_MEAN - 0.5))))
        lines = tuple(_line(number, random) for number in range(1, count + 1))
        yield random.choice(users), FIRST_BASKET + index, lines


def _line(number: int, random: Random) -> OrderLine:
    """A few products sell often, most seldom."""
    product = int(PRODUCTS * random.random() ** 3)
    quantity = 1 if random.random() < 0.8 else random.randint(2, 6)
    return OrderLine(number, f"{800_000 + product}", None, quantity, random.randint(25, 1_500))
