"""The contracted value: the one number that CRM, billing and hub must agree on."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from fractions import Fraction

import pytest

from tieout.canonical.ids import Ref
from tieout.canonical.order import (
    Order,
    OrderLine,
    add_months,
    contracted_minor,
    months_between,
    period_minor,
)
from tieout.processes.close_won import contracted_minor as contracted_of_order

YEAR = {"start": date(2026, 2, 1), "end": date(2027, 2, 1)}
THREE_YEARS = {"start": date(2026, 2, 1), "end": date(2029, 2, 1)}


@pytest.mark.parametrize(
    ("start", "months", "day"),
    [
        (date(2026, 1, 31), 1, date(2026, 2, 28)),
        (date(2026, 12, 15), 1, date(2027, 1, 15)),
        (date(2024, 2, 29), 12, date(2025, 2, 28)),
        (date(9999, 12, 1), 1, date.max),
    ],
)
def test_months_later(start: date, months: int, day: date) -> None:
    assert add_months(start, months) == day


@pytest.mark.parametrize(
    ("start", "end", "months"),
    [
        (date(2026, 2, 1), date(2027, 2, 1), 12),
        (date(2026, 1, 31), date(2027, 1, 31), 12),
        (date(2026, 1, 31), date(2026, 2, 28), 1),
        (date(2026, 1, 31), date(2026, 3, 31), 2),
        (date(2026, 12, 15), date(2027, 1, 15), 1),
        (date(2026, 1, 1), date(2026, 2, 15), 1 + Fraction(14, 28)),
        (date(2026, 1, 15), date(2026, 1, 20), Fraction(5, 31)),
        (date(2026, 1, 15), date(2026, 2, 1), Fraction(17, 31)),
        (date(9998, 12, 31), date.max, 12),
    ],
)
def test_months_between(start: date, end: date, months: Fraction) -> None:
    assert months_between(start, end) == months


@pytest.mark.parametrize(
    ("quantity", "unit", "net"),
    [
        (Decimal(10), Decimal("4500.5"), 45005),
        (Decimal(3), Decimal("333.5"), 1001),  # 1000.5, half up
        (Decimal(-3), Decimal("333.5"), -1001),  # away from zero
        (Decimal("0.5"), Decimal(1), 1),
    ],
)
def test_net_of_one_period_is_rounded_half_up(quantity: Decimal, unit: Decimal, net: int) -> None:
    assert period_minor(quantity, unit) == net


@pytest.mark.parametrize(
    ("net", "frequency", "term", "value"),
    [
        (17991, "month", YEAR, 17991 * 12),
        (1000, "quarter", YEAR, 4000),
        (1000, "quarter", {"term_months": 12}, 4000),
        (1000, "year", THREE_YEARS, 3000),
        (1000, "year", {"term_months": 36}, 3000),
        (1001, "year", {"term_months": 18}, 1502),  # one and a half periods: 1501.5
        (-1001, "year", {"term_months": 18}, -1502),
        (1000, "month", {"start": date(2026, 1, 1), "end": date(2026, 2, 15)}, 1500),
        (1000, "quarter", {"start": date(2026, 1, 1), "end": date(2026, 5, 1)}, 1333),
        (500, "month", {"start": date(2026, 1, 1)}, 500),  # no end: one period
        (500, "month", {"start": date(2026, 1, 1), "end": date(2026, 1, 1)}, 500),
        (500, "month", {"start": date(2026, 1, 1), "end": date(2026, 1, 1), "term_months": 12}, 500),
        (500, "month", {"end": date(2027, 1, 1), "term_months": 12}, 6000),
        (500, "month", {**YEAR, "term_months": 36}, 6000),  # the dates are the contract
        (500, "pending: Weekly", YEAR, 500),
        (500, "once", YEAR, 500),
        (50000, "month", {**YEAR, "charge": "one_time"}, 50000),
        (50000, "month", {**YEAR, "charge": "pending: Usage"}, 50000),
    ],
)
def test_contracted_value(net: int, frequency: str, term: dict[str, date | int | str], value: int) -> None:
    assert contracted_minor(net, frequency, **term) == value


def test_the_whole_order_is_the_sum_of_its_lines() -> None:
    def line(id: str, net_minor: int, charge: str) -> OrderLine:
        return OrderLine(
            id=id,
            product="PLATFORM",
            description="",
            quantity=Decimal(1),
            unit_price=Decimal(net_minor) / 100,
            discount_percent=Decimal(0),
            net_minor=net_minor,
            charge=charge,
        )

    order = Order(
        ref=Ref(connection="crm", kind="opportunity", id="006A"),
        name="Acme",
        account=Ref(connection="crm", kind="account", id="001A"),
        legal_entity="us",
        currency="USD",
        lines=(line("00kA", 1001, "recurring"), line("00kB", 50000, "one_time")),
        start=date(2026, 1, 1),
        end=date(2027, 7, 1),
        term_months=18,
        frequency="year",
        payment_terms="NET30",
        po_number="",
        won=True,
        closed=True,
        approved=True,
    )
    assert contracted_of_order(order) == 1502 + 50000
