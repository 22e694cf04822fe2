"""What the hub tells the outside: that something was made good, and stands. Ids, codes, dates and amounts; words that
people wrote only where they are asked for. Each is the `data` of a CloudEvent; `docs/events.md` is its contract."""

from __future__ import annotations

from datetime import date, datetime
from typing import TypeAlias

from tieout.canonical.ids import Ref
from tieout.canonical.model import Value


class ContractAccepted(Value, frozen=True):
    """A deal was accepted, once: from here on its subscription and invoices follow by themselves. `contracted_minor`:
    its value over the whole term in minor units, tax not included."""

    contract: Ref
    account: Ref
    entity: str
    currency: str
    contracted_minor: int
    start: date | None
    end: date | None
    term_months: int | None


class SubscriptionActivated(Value, frozen=True):
    """The subscription of a contract stands at billing; it may begin later (`starts_at`)."""

    contract: Ref
    subscription: Ref
    entity: str
    currency: str
    starts_at: datetime
    ends_at: datetime | None


class _Posted(Value, frozen=True):
    """A document stands in the ledger of the ERP. `source`: what bears it (billing's invoice, credit memo, ...), known
    to people as `source_number`; `document` and `number` are the ERP's. Amounts in minor units, tax included in
    `total_minor`. `reason`: finalised, voided, written_off, credited, negative_invoice, recovered, ..."""

    source: Ref
    source_number: str
    document: Ref
    number: str
    entity: str
    currency: str
    total_minor: int
    tax_minor: int
    day: str
    period: str
    reason: str


class InvoicePosted(_Posted, frozen=True):
    """An invoice stands in the ledger."""


class CreditIssued(_Posted, frozen=True):
    """A credit memo stands in the ledger: a credit, or the document that takes an invoice back."""


class AppliedPart(Value, frozen=True):
    """What of a payment settles one invoice."""

    invoice: Ref
    amount_minor: int


class PaymentApplied(Value, frozen=True):
    """A payment settles these invoices in the ledger: the whole list as it stands by now, which replaces the one told
    before. `amount_minor` is all of the payment."""

    payment: Ref
    document: Ref
    entity: str
    currency: str
    amount_minor: int
    applications: tuple[AppliedPart, ...]


class ExceptionOpened(Value, frozen=True, omit_defaults=True):
    """Something waits for a person. `document` is `connection|kind|id`, or the scope that is blocked. `cause`, `remedy`
    and `number` are people's words, which can name a customer: they are there only where the company asked for them."""

    exception_id: str
    code: str
    document: str
    entity: str
    currency: str
    amount_minor: int | None
    cause: str = ""
    remedy: str = ""
    number: str = ""


Announcement: TypeAlias = (
    ContractAccepted | SubscriptionActivated | InvoicePosted | PaymentApplied | CreditIssued | ExceptionOpened
)
TYPES: dict[type[Announcement], str] = {
    ContractAccepted: "contract.accepted",
    SubscriptionActivated: "subscription.activated",
    InvoicePosted: "invoice.posted",
    PaymentApplied: "payment.applied",
    CreditIssued: "credit.issued",
    ExceptionOpened: "exception.opened",
}
