"""Who buys: customers in five places, under names that break what is not careful with text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tieout_lab.scenario.draws import Draws

HOSTILE = (
    'O\'Brien & Sons, "Ltd"',
    "=SUM(A1:A9)*1.0",
    "日本産業株式会社 東京",
    "شركة النور للتجارة",
    "Rocket 🚀 Labs, Inc.",
    "Robert'); DROP TABLE invoices;--",
    "<b>Bold</b> & Co. <script>alert(1)</script>",
    "Müller, Söhne & Çelik GmbH",
    "@cmd|' /C calc'!A0",
    "{{7*7}} ${jndi} %s %(name)s",
    "\u202eesreveR gnitsuJ LLC",
    "null",
    "+1-800-Pay; Later | Holdings",
    "Ａｃｍｅ　Ｆｕｌｌｗｉｄｔｈ",
)
PLAIN = ("Northwind", "Blue Harbor", "Cedar Works", "Lakeside", "Orbit", "Granite", "Fernhill", "Summit")
SUFFIX = ("Systems", "Foods", "Logistics", "Robotics", "Media", "Health", "Energy", "Textiles")


@dataclass(frozen=True)
class Place:
    """Where a customer sits, who sells to it, and in which currency."""

    name: str
    entity: str
    currency: str
    address: dict[str, str] = field(hash=False)


PLACES = (
    Place(
        "california",
        "us",
        "USD",
        {"street": "1 Market St\nSuite 400", "city": "San Francisco", "state_code": "CA", "postal_code": "94105",
         "country_code": "US"},
    ),
    Place(
        "tokyo",
        "jp",
        "JPY",
        {"street": "千代田区丸の内 1-1", "city": "Tokyo", "postal_code": "100-0005", "country_code": "JP"},
    ),
    Place(
        "berlin",
        "us",
        "EUR",
        {"street": "Straße des 17. Juni 1", "city": "Berlin", "postal_code": "10557", "country_code": "DE"},
    ),
    Place(
        "new york",
        "us",
        "USD",
        {"street": "350 5th Ave", "city": "New York", "state_code": "NY", "postal_code": "10118", "country_code": "US"},
    ),
    Place(
        "texas",
        "us",
        "USD",
        {"street": "100 Congress Ave", "city": "Austin", "state_code": "TX", "postal_code": "78701",
         "country_code": "US"},
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Customer:
    """One account of the CRM before it has an id."""

    key: str
    name: str
    place: Place
    terms: str
    po_required: bool

    def account(self) -> dict[str, Any]:
        """As the CRM's control action takes it."""
        return {
            "name": self.name,
            "currency": self.place.currency,
            "billing": self.place.address,
            "invoice_email": f"ap+{self.key}@customer.example",
            "payment_terms": self.terms,
            "po_required": self.po_required,
        }


def make_customers(draws: Draws, count: int) -> tuple[Customer, ...]:
    """So many customers, spread over all places, every third under a hostile name."""
    found = []
    for number in range(count):
        key = f"c{number:03d}"
        if number % 3 == 0:
            name = f"{HOSTILE[number // 3 % len(HOSTILE)]} {number}"
        else:
            name = f"{draws.pick(PLAIN, key, 'first')} {draws.pick(SUFFIX, key, 'last')} {number}"
        found.append(
            Customer(
                key=key,
                name=name,
                place=PLACES[number % len(PLACES)],
                terms=draws.pick(("NET30", "NET30", "NET60", "NET0"), key, "terms"),
                po_required=draws.chance(20, key, "po"),
            )
        )
    return tuple(found)
