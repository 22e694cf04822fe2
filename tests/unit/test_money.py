"""Money in minor units: exponents, explicit rounding, allocation to the last unit."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tieout.canonical.money import Money, allocate, exponent, to_major, to_minor


@pytest.mark.parametrize(("currency", "digits"), [("USD", 2), ("JPY", 0), ("KWD", 3), ("EUR", 2), ("CLF", 4)])
def test_exponents_of_iso_4217(currency: str, digits: int) -> None:
    assert exponent(currency) == digits


@pytest.mark.parametrize("code", ["usd", "US", "DOLLAR", "", "ÜSD"])
def test_what_is_no_currency_code(code: str) -> None:
    with pytest.raises(ValueError, match="ISO 4217"):
        exponent(code)


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [("19.99", "USD", 1999), ("1200", "JPY", 1200), ("1.234", "KWD", 1234), ("-0.01", "USD", -1)],
)
def test_major_and_minor_units(amount: str, currency: str, minor: int) -> None:
    assert to_minor(amount, currency) == minor
    assert to_major(minor, currency) == Decimal(amount)


@pytest.mark.parametrize(("amount", "currency"), [("0.005", "USD"), ("0.5", "JPY"), ("0.0001", "KWD")])
def test_finer_than_the_minor_unit_is_refused_without_a_rounding(amount: str, currency: str) -> None:
    with pytest.raises(ValueError, match="finer"):
        to_minor(amount, currency)


def test_rounding_is_said() -> None:
    assert to_minor("0.125", "USD", rounding="half_up") == 13
    assert to_minor("0.125", "USD", rounding="half_even") == 12
    assert to_minor("-0.125", "USD", rounding="half_up") == -13


def test_currencies_do_not_mix() -> None:
    with pytest.raises(ValueError, match="cannot mix"):
        Money(amount_minor=1, currency="USD") + Money(amount_minor=1, currency="EUR")


@given(st.integers(-(10**15), 10**15), st.lists(st.integers(0, 10**9), min_size=1).filter(any))
def test_allocation_loses_nothing_and_stays_within_one_unit(total: int, weights: list[int]) -> None:
    parts = allocate(total, weights)
    assert sum(parts) == total
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part * sum(weights) - total * weight) < sum(weights)
        if weight == 0:
            assert part == 0


@given(st.integers(0, 10**9), st.lists(st.integers(0, 999), min_size=1).filter(any))
def test_a_negative_total_splits_as_its_absolute_value(total: int, weights: list[int]) -> None:
    assert allocate(-total, weights) == [-part for part in allocate(total, weights)]


@pytest.mark.parametrize("weights", [[], [0, 0], [1, -1, 3]])
def test_weights_that_mean_nothing(weights: list[int]) -> None:
    with pytest.raises(ValueError, match="weights"):
        allocate(10, weights)
