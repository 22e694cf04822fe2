"""What is sold: deals with their lines, negotiated starts and terms."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from tieout_lab.scenario.customers import Customer
from tieout_lab.scenario.draws import Draws

# List prices per billing period of a month, in major units.
PRICES = {
    "USD": {"PLATFORM": 50, "SUPPORT": 200, "ONBOARD": 1500, "ANALYTICS": 20, "GHOST": 10},
    "EUR": {"PLATFORM": 45, "SUPPORT": 180, "ONBOARD": 1350, "ANALYTICS": 18, "GHOST": 9},
    "JPY": {"PLATFORM": 6000, "SUPPORT": 24000, "ONBOARD": 180000, "ANALYTICS": 2400, "GHOST": 1200},
}
# A deal closes on the seller's own day.
ZONES = {"us": "America/Los_Angeles", "jp": "Asia/Tokyo"}
MONTHS = {"Monthly": 1, "Quarterly": 3, "Annual": 12}


@dataclass(frozen=True)
class Line:
    """One sold line: net price per unit and billing period in major units, discount in per cent."""

    product: str
    quantity: int
    price: int
    discount: int = 0

    def item(self) -> dict[str, Any]:
        """As the CRM's control action takes it."""
        line: dict[str, Any] = {
            "product": self.product,
            "quantity": self.quantity,
            "unit_price": str(self.price),
        }
        return line | ({"discount": str(self.discount)} if self.discount else {})


@dataclass(frozen=True)
class Deal:
    """One contract. `closes` is the business moment of its signature, `habit` how its invoices are paid: `card`,
    `wire`, `never` (nobody pays them), or `by hand` (the plan says when and how)."""

    key: str
    name: str
    customer: str
    entity: str
    currency: str
    lines: tuple[Line, ...]
    closes: datetime
    start: date
    term_months: int
    frequency: str
    habit: str
    po_number: str = ""
    end: date | None = None

    def opportunity(self, account: str) -> dict[str, Any]:
        """As the CRM's control action takes it."""
        return {
            "account": account,
            "name": self.name,
            "currency": self.currency,
            "legal_entity": self.entity,
            "contract_start": self.start.isoformat(),
            "contract_end": self.end.isoformat() if self.end else None,
            "term_months": self.term_months,
            "billing_frequency": self.frequency,
            "po_number": self.po_number or None,
            "close_date": self.closes.astimezone(ZoneInfo(ZONES[self.entity])).date().isoformat(),
            "lines": [line.item() for line in self.lines],
        }


def make_lines(draws: Draws, key: str, currency: str, frequency: str) -> tuple[Line, ...]:
    """A platform line, and by chance support, analytics, onboarding; prices within a fifth of the list."""
    products = ["PLATFORM"]
    products += [code for code, percent in (("SUPPORT", 50), ("ANALYTICS", 40), ("ONBOARD", 35))
                 if draws.chance(percent, key, code)]  # fmt: skip
    return tuple(make_line(draws, key, code, currency, frequency) for code in products)


def make_line(draws: Draws, key: str, product: str, currency: str, frequency: str) -> Line:
    """One line at a negotiated price."""
    months = 1 if product == "ONBOARD" else MONTHS[frequency]
    step = 100 if currency == "JPY" else 1
    price = PRICES[currency][product] * months * (80 + draws.below(41, key, product, "price")) // 100
    quantity = 1 + draws.below(40, key, product, "quantity") if product in ("PLATFORM", "ANALYTICS") else 1
    return Line(
        product=product,
        quantity=quantity,
        price=max(step, price // step * step),
        discount=draws.pick((0, 0, 5, 10, 20), key, product, "discount"),
    )


def make_deal(
    draws: Draws,
    key: str,
    customer: Customer,
    closes: datetime,
    *,
    start: date,
    habit: str,
    frequency: str = "Monthly",
    term_months: int = 12,
    lines: tuple[Line, ...] | None = None,
    end: date | None = None,
) -> Deal:
    """A deal of this customer."""
    place = customer.place
    return Deal(
        key=key,
        name=f"{key} {customer.name}"[:120],
        customer=customer.key,
        entity=place.entity,
        currency=place.currency,
        lines=lines or make_lines(draws, key, place.currency, frequency),
        closes=closes,
        start=start,
        term_months=term_months,
        frequency=frequency,
        habit=habit,
        po_number=f"PO-{key}" if customer.po_required or draws.chance(20, key, "po") else "",
        end=end,
    )
