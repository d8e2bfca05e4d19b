"""The loads during a fault: L0 to L4 of the promises, and the bench's mix, of which nearly half are
changes, since changes can be lost.
"""

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
    """`acts`: a shopper's next act, by weight; `shoppers_each`: shoppers of one customer, with the
    same orders; `remembered_orders`: of one customer; older orders get no more requests.

    `backlog`: events that are appended before the fault, for relay and read models to process.
    `pauses`: there are no requests during the fault.
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
    "L0": Load("no requests during the fault", _MIXED, pauses=True),
    "L1": Load("four reads to a change, with time to think", _FOUR_FIFTHS_READ),
    "L2": Load("64 shoppers without time to think", _FOUR_FIFTHS_READ, 16, think_s=0.0),
    "L3": Load("as L1, with a backlog of 100,000 events", _FOUR_FIFTHS_READ, backlog=100_000),
    # Each of the four customers has the first order of each of three shoppers.
    "L4": Load("every change on one of twelve orders", _NOTHING_NEW, 3, remembered_orders=3),
}
SHOPPERS_EACH_MAX = max(load.shoppers_each for load in LOADS.values())
