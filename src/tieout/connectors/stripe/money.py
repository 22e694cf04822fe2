"""Stripe's smallest units against ISO 4217's: the same, but for three currencies.

Stripe keeps ISK and UGX with two decimals that are always zero, and takes MGA as if it had none."""

from __future__ import annotations

from decimal import Decimal

from tieout.canonical.outcome import Failure, Rejected

_STRIPE_PER_MINOR = {"isk": Decimal(100), "ugx": Decimal(100), "mga": Decimal("0.01")}


def minor(amount: int, currency: str) -> int:
    """Stripe's amount in minor units of ISO 4217. Raises Failure when it has decimals that the currency lacks."""
    ratio = _STRIPE_PER_MINOR.get(currency)
    if ratio is None:
        return amount
    found = amount / ratio
    if found != found.to_integral_value():
        raise Failure(
            Rejected(code="amount", message=f"{amount} {currency} has decimals that the currency lacks")
        )
    return int(found)


def exact_minor(amount: Decimal, currency: str) -> Decimal:
    """A unit price, which may have decimals, in minor units of ISO 4217."""
    ratio = _STRIPE_PER_MINOR.get(currency)
    return amount if ratio is None else amount / ratio


def stripe_units(amount: Decimal, currency: str) -> Decimal:
    """The inverse of `exact_minor`."""
    ratio = _STRIPE_PER_MINOR.get(currency)
    return amount if ratio is None else amount * ratio
