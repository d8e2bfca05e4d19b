"""Money as an integer count of a currency's minor units.

The codes and digits are those of ISO 4217 (List One, 2026-01-01), without funds, metals and units
of account: https://www.six-group.com/en/products-services/financial-information/data-standards.html
A withdrawn currency keeps its digits for stored orders, but new orders cannot use it.
"""

from collections.abc import Sequence
from decimal import Context, Decimal
from functools import lru_cache

from order_service.errors import InvalidRequest

# for every amount, sums included: far inside BIGINT and exact in any JSON reader
AMOUNT_MINOR_MAX = 10**15
# Digits that a unit price may have beyond those of its currency.
PRICE_SCALE_MAX = 6
# More digits than any amount here has: the default of 28 would round 9.99...9 up.
_EXACT = Context(prec=100)

_TWO_DIGITS = """
    AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD
    CAD CDF CHF CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD
    GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD
    MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP
    PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS
    TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG
"""
_NO_DIGITS = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF"
_THREE_DIGITS = "BHD IQD JOD KWD LYD OMR TND"
EXPONENTS: dict[str, int] = (
    dict.fromkeys(_TWO_DIGITS.split(), 2)
    | dict.fromkeys(_NO_DIGITS.split(), 0)
    | dict.fromkeys(_THREE_DIGITS.split(), 3)
)
# Orders placed with version 0.1.0 may use these; XCG and EUR replaced them in 2025 and 2026.
WITHDRAWN = frozenset({"ANG", "BGN"})


def exponent(currency: str) -> int:
    """Digits after the decimal point. Raises `InvalidRequest` for a code that is neither current
    nor in `WITHDRAWN`."""
    digits = EXPONENTS.get(currency)
    if digits is None:
        raise InvalidRequest(
            "unknown-currency",
            "Unknown currency: expected an ISO 4217 code in capital letters, such as USD.",
        )
    return digits


def check_current(currency: str) -> None:
    """Raises `InvalidRequest` for a currency that new orders cannot use."""
    exponent(currency)
    if currency in WITHDRAWN:
        raise InvalidRequest(
            "unknown-currency",
            f"Currency {currency} is withdrawn from ISO 4217: use the currency that replaced it.",
        )


def to_minor(amount: Decimal, currency: str) -> int:
    """`amount` in minor units, exactly. Raises `InvalidRequest` if `amount` has more digits than
    the currency, zeros at its end not counted, or is negative or too large."""
    digits = exponent(currency)
    minor = amount.scaleb(digits, _EXACT)
    if not minor.is_finite() or minor != minor.to_integral_value(context=_EXACT):
        raise InvalidRequest(
            "validation", f"An amount in {currency} has at most {digits} digits after the point."
        )
    return within_bounds(int(minor))


@lru_cache(maxsize=4_096)  # prices repeat often: 0.2 us instead of 1.3
def to_fine_minor(price: Decimal, currency: str) -> tuple[int, int]:
    """A unit price, exactly: a count of parts of a minor unit, and the scale: one part is 10 to the
    power of -scale. Zeros at the end are not counted. Raises `InvalidRequest` like `to_minor`, if
    the price has more than `PRICE_SCALE_MAX` digits beyond the currency's."""
    digits = exponent(currency)
    minor = price.scaleb(digits, _EXACT)
    if not minor.is_finite():
        raise InvalidRequest("validation", "A price must be a number.")
    whole = minor.normalize(_EXACT)
    scale = max(0, -int(whole.as_tuple().exponent))
    if scale > PRICE_SCALE_MAX:
        raise InvalidRequest(
            "validation",
            f"A unit price in {currency} has at most {digits + PRICE_SCALE_MAX} digits after the "
            "point.",
        )
    return within_bounds(int(whole.scaleb(scale, _EXACT))), scale


def within_bounds(minor: int) -> int:
    if not 0 <= minor <= AMOUNT_MINOR_MAX:
        raise InvalidRequest(
            "validation", f"An amount must lie between 0 and {AMOUNT_MINOR_MAX} minor units."
        )
    return minor


@lru_cache(maxsize=4_096)  # prices and zeros repeat often: 0.1 us instead of 0.5
def to_text(minor: int, currency: str, scale: int = 0) -> str:
    """`12999, "USD"` becomes `"129.99"`: always with all digits of the currency, and `scale` more
    for a price that counts parts of a minor unit."""
    digits = EXPONENTS[currency] + scale
    if digits == 0:
        return str(minor)
    sign, whole = ("-", -minor) if minor < 0 else ("", minor)
    return f"{sign}{whole // 10**digits}.{whole % 10**digits:0{digits}d}"


def part(minor: int, units: int, of_units: int) -> int:
    """What `units` of `of_units` equal ones are worth that are worth `minor` together:
    `round_half_up(minor * units / of_units)`, so that whatever is taken in parts, as differences of
    this, sums to the whole: https://en.wikipedia.org/wiki/Rounding#Rounding_half_up."""
    return (2 * minor * units + of_units) // (2 * of_units)


def allocate(minor: int, weights: Sequence[int]) -> list[int]:
    """`minor` split in proportion to `weights`, so that the parts sum to `minor`.

    Minor units that integer division leaves over go to the parts with the largest remainders, of
    equal ones to the first (largest remainder method). `minor` must be 0 if all weights are.
    """
    whole = sum(weights)
    if whole == 0:
        assert minor == 0, "weights of 0 share nothing"
        return [0] * len(weights)
    parts = [minor * weight // whole for weight in weights]
    by_remainder = sorted(
        range(len(weights)), key=lambda i: minor * weights[i] % whole, reverse=True
    )
    for i in by_remainder[: minor - sum(parts)]:
        parts[i] += 1
    return parts
