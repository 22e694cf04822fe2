"""Who is who: customers as the CRM knows them, and the company's own legal entities."""

from __future__ import annotations

from datetime import date

from tieout.canonical.ids import Ref
from tieout.canonical.model import Value


class Address(Value, frozen=True):
    """A postal address. `country` is ISO 3166-1 alpha-2, `region` the state or prefecture as the CRM has it."""

    line1: str = ""
    line2: str = ""
    city: str = ""
    region: str = ""
    postal_code: str = ""
    country: str = ""

    @property
    def jurisdiction(self) -> str:
        """The tax jurisdiction key: `US-CA`, else the country alone."""
        return f"US-{self.region}" if self.country == "US" and self.region else self.country


class TaxId(Value, frozen=True):
    """A tax registration number of a customer."""

    scheme: str
    number: str


class Customer(Value, frozen=True, tag_field="type", tag="customer.v1"):
    """A customer account as its CRM holds it now. `parent` is the next account up the hierarchy; `payer`,
    `bill_to`, `sold_to`, `ship_to` are accounts of the same CRM (the account itself where nothing else is said)."""

    ref: Ref
    name: str
    parent: Ref | None = None
    ancestors: tuple[Ref, ...] = ()
    sold_to: Ref | None = None
    bill_to: Ref | None = None
    ship_to: Ref | None = None
    payer: Ref | None = None
    billing_address: Address = Address()
    shipping_address: Address = Address()
    tax_ids: tuple[TaxId, ...] = ()
    invoice_email: str = ""
    currency: str = ""
    payment_terms: str = ""
    po_required: bool = False
    deleted: bool = False
    merged_into: Ref | None = None


class TaxRegistration(Value, frozen=True):
    """The legal entity is registered for tax in a jurisdiction from a day until another (exclusive)."""

    jurisdiction: str
    number: str
    valid_from: date
    valid_to: date | None = None

    def in_force(self, on: date) -> bool:
        return self.valid_from <= on and (self.valid_to is None or on < self.valid_to)


class LegalEntity(Value, frozen=True, tag_field="type", tag="legal_entity.v1"):
    """A company of ours that issues invoices: its books, its time zone, its routes."""

    code: str
    name: str
    time_zone: str
    functional_currency: str
    currencies: tuple[str, ...]
    billing: str
    erp: str
    subsidiary: str
    registrations: tuple[TaxRegistration, ...] = ()
    unregistered_jurisdictions: tuple[str, ...] = ()
    zero_total: str = "ignore"
    closed_period: str = "hold"
    gateway_refund: str = "park"
    dispute_lost: str = "person"
    write_off_tax_relief: bool = False
