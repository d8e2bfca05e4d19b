"""The people, addresses and baskets of the demo. Pure."""

from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import Any

_GIVEN = ("Ada", "Bela", "Chika", "Dario", "Edda", "Farid", "Greta", "Hana", "Ivo", "Jun", "Kofi")
_FAMILY = ("Adeyemi", "Brandt", "Costa", "Dubois", "Eriksen", "Fontana", "Garcia", "Horvat", "Ito")
_PLACES = (
    ("Lindenstr.", "Berlin", "10969", "DE"),
    ("Rue des Carmes", "Nantes", "44000", "FR"),
    ("Via Garibaldi", "Torino", "10122", "IT"),
    ("Rua da Prata", "Lisboa", "1100-414", "PT"),
    ("Main Street", "Galway", "H91 X2N5", "IE"),
)
_GOODS = (
    ("PEN-F1", "Fountain pen", "34.90"),
    ("PEN-B2", "Ballpoint pen, blue", "2.40"),
    ("INK-50", "Ink, 50 ml", "11.95"),
    ("PAD-A4", "Writing pad A4", "4.80"),
    ("PAD-A5", "Notebook A5, dotted", "12.50"),
    ("ENV-25", "25 envelopes", "5.60"),
    ("CAL-27", "Wall calendar", "18.00"),
    ("DSK-L1", "Desk lamp", "64.00"),
    ("CHR-S1", "Swivel chair", "189.00"),
    ("BAG-M3", "Messenger bag", "79.90"),
    ("CLP-99", "Paper clips, brass", "3.25"),
    ("SCI-07", "Scissors", "9.75"),
)
_CURRENCIES = ("EUR", "EUR", "EUR", "EUR", "USD", "GBP")
_SHIPPING = "4.90"
_FREE_SHIPPING_FROM = Decimal(60)
_TAX_RATE = 19  # percent, in the prices
_TAGS = ("gift", "express", "b2b", "first order")
_CENT = Decimal("0.01")


@dataclass(frozen=True)
class Person:
    name: str
    email: str
    address: dict[str, str]


@dataclass(frozen=True)
class Basket:
    """What an order is placed with. Line ids are 1, 2 ... in the order of the items."""

    items: tuple[dict[str, Any], ...]
    currency: str
    discount: str | None
    tags: tuple[str, ...]
    is_guests: bool

    @property
    def first_price(self) -> str:
        """Of one unit of the first line: always a part of the whole."""
        price: str = self.items[0]["unit_price"]
        return price

    def body(self, buyer: Person) -> dict[str, Any]:
        prices = (Decimal(item["unit_price"]) * item["quantity"] for item in self.items)
        fee = "0.00" if sum(prices) >= _FREE_SHIPPING_FROM else _SHIPPING
        return {
            "items": list(self.items),
            "currency": self.currency,
            "shipping_fee": fee,
            "shipping_address": buyer.address,
            "billing_address": buyer.address,
            "customer": {"email": buyer.email, "name": buyer.name},
            "tags": list(self.tags),
            **({} if self.discount is None else {"discount": self.discount}),
        }


def person(chance: Random, mark: str) -> Person:
    """A new person; `mark` makes the e-mail address unique."""
    given, family = chance.choice(_GIVEN), chance.choice(_FAMILY)
    street, city, postal_code, country = chance.choice(_PLACES)
    address = {
        "name": f"{given} {family}",
        "line1": f"{street} {chance.randint(1, 99)}",
        "city": city,
        "postal_code": postal_code,
        "country": country,
    }
    return Person(f"{given} {family}", f"{given}.{family}.{mark}@example.com".lower(), address)


def basket(chance: Random) -> Basket:
    """One to four different goods; two units or more of the first, so that it can be split."""
    chosen = chance.sample(_GOODS, chance.choice((1, 2, 2, 3, 4)))
    items = tuple(
        item(*goods, quantity=chance.randint(1, 3) + (line == 0))
        for line, goods in enumerate(chosen)
    )
    return Basket(
        tuple(_taxed(_reduced(one) if chance.random() < 0.1 else one) for one in items),
        chance.choice(_CURRENCIES),
        "1.50" if chance.random() < 0.1 else None,
        tuple(chance.sample(_TAGS, chance.choice((0, 0, 0, 1, 2)))),
        chance.random() < 0.15,
    )


def _reduced(of: dict[str, Any]) -> dict[str, Any]:
    """A tenth off the line."""
    price = Decimal(of["unit_price"]) * of["quantity"]
    return {**of, "discount": str((price / 10).quantize(_CENT))}


def _taxed(of: dict[str, Any]) -> dict[str, Any]:
    net = Decimal(of["unit_price"]) * of["quantity"] - Decimal(of.get("discount", "0"))
    tax = (net * _TAX_RATE / (100 + _TAX_RATE)).quantize(_CENT)
    return {**of, "tax": str(tax), "tax_rate": str(_TAX_RATE), "tax_name": "VAT"}


def item(sku: str, name: str, unit_price: str, *, quantity: int) -> dict[str, Any]:
    return {"sku": sku, "name": name, "quantity": quantity, "unit_price": unit_price}


def extra_item(chance: Random) -> dict[str, Any]:
    return item(*chance.choice(_GOODS), quantity=1)
