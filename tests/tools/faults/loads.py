"""How hard the customers shop while something is broken: L0 to L4 of the promises, and the bench's
own mix, in which nearly half of what they do are changes, since those can be lost."""

from collections.abc import Mapping
from dataclasses import dataclass

_MIXED = {
    "read": 12, "read_foreign": 1, "list": 1, "place": 3, "set_status": 4, "edit": 3, "race": 1,
}  # fmt: skip
_FOUR_FIFTHS_READ = {
    "read": 20, "read_foreign": 2, "list": 2, "place": 2, "set_status": 2, "edit": 1, "race": 1,
}  # fmt: skip
_NOTHING_NEW = {name: weight for name, weight in _MIXED.items() if name != "place"}


@dataclass(frozen=True)
class Load:
    """`acts`: what a shopper does next, by weight; `shoppers_each`: of one person, who meet on the
    same orders; `remembered_orders`: of one person, older ones are left alone.

    `backlog`: events that are added before the fault, which relay and read models have to take in.
    `pauses`: nobody does anything while the fault lasts.
    """

    title: str
    acts: Mapping[str, int]
    shoppers_each: int = 2
    think_s: float = 0.01
    remembered_orders: int = 50
    backlog: int = 0
    pauses: bool = False


LOADS: Mapping[str, Load] = {
    "mix": Load("changes and reads, nearly as many of each", _MIXED),
    "L0": Load("nobody does anything while the fault lasts", _MIXED, pauses=True),
    "L1": Load("four reads to a change, with time to think", _FOUR_FIFTHS_READ),
    "L2": Load("64 shoppers who never think", _FOUR_FIFTHS_READ, 16, think_s=0.0),
    "L3": Load("as L1, while 100,000 events are caught up", _FOUR_FIFTHS_READ, backlog=100_000),
    # Each of the four people keeps to the orders that their shoppers came with.
    "L4": Load("every change on one of twelve orders", _NOTHING_NEW, 3, remembered_orders=3),
}
SHOPPERS_EACH_MAX = max(load.shoppers_each for load in LOADS.values())
