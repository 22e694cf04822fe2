"""Money in integer minor units. No float ever touches an amount, a quantity or a rate."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal

from tieout.canonical.model import Value

# ISO 4217: currencies whose minor unit is not 1/100.
EXPONENTS = {
    **dict.fromkeys(
        "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split(),
        0,
    ),
    **dict.fromkeys("BHD IQD JOD KWD LYD OMR TND".split(), 3),
    "CLF": 4,
    "UYW": 4,
}
ROUNDINGS = {"half_up": ROUND_HALF_UP, "half_even": ROUND_HALF_EVEN}


def exponent(currency: str) -> int:
    """Digits after the decimal point of an ISO 4217 code (0, 2, 3 or 4). ValueError when it is no such code."""
    if len(currency) != 3 or not currency.isascii() or not currency.isupper():
        raise ValueError(f"not an ISO 4217 code in upper case: {currency!r}")
    return EXPONENTS.get(currency, 2)


class Money(Value, frozen=True):
    """An amount of one currency, in minor units (cents of USD, yen of JPY, fils of KWD)."""

    amount_minor: int
    currency: str

    def __post_init__(self) -> None:
        exponent(self.currency)

    def __add__(self, other: Money) -> Money:
        return Money(amount_minor=self.amount_minor + self._same(other), currency=self.currency)

    def __sub__(self, other: Money) -> Money:
        return Money(amount_minor=self.amount_minor - self._same(other), currency=self.currency)

    def __neg__(self) -> Money:
        return Money(amount_minor=-self.amount_minor, currency=self.currency)

    def __str__(self) -> str:
        return f"{to_major(self.amount_minor, self.currency)} {self.currency}"

    def _same(self, other: Money) -> int:
        if other.currency != self.currency:
            raise ValueError(f"cannot mix {self.currency} and {other.currency}")
        return other.amount_minor


def to_major(amount_minor: int, currency: str) -> Decimal:
    """Minor units to the decimal number that a person or an ERP writes: 1999 USD -> 19.99."""
    return Decimal(amount_minor).scaleb(-exponent(currency))


def to_minor(amount: Decimal | int | str, currency: str, *, rounding: str | None = None) -> int:
    """A decimal amount to minor units.

    Without `rounding` an amount finer than the currency's minor unit is an error (ValueError): a third decimal of a
    dollar is a difference to be shown, not to be hidden. `rounding` is `half_up` or `half_even`.
    """
    scaled = Decimal(amount).scaleb(exponent(currency))
    if rounding is not None:
        return int(scaled.quantize(Decimal(1), rounding=ROUNDINGS[rounding]))
    if scaled != scaled.to_integral_value():
        raise ValueError(f"{amount} {currency} is finer than the minor unit of {currency}")
    return int(scaled)


def allocate(total_minor: int, weights: Sequence[int]) -> list[int]:
    """Split an amount by weights so that the parts sum to it exactly (largest remainder; ties to the first).

    Negative totals split as their absolute value does. ValueError when the weights sum to nothing.
    """
    whole = sum(weights)
    if whole <= 0 or any(weight < 0 for weight in weights):
        raise ValueError("weights must be non-negative and not all zero")
    sign = -1 if total_minor < 0 else 1
    size = abs(total_minor)
    parts = [size * weight // whole for weight in weights]
    remainders = sorted(range(len(weights)), key=lambda i: (-(size * weights[i] % whole), i))
    for index in remainders[: size - sum(parts)]:
        parts[index] += 1
    return [sign * part for part in parts]
