"""What we ask of an outside system, in our words: the canonical requests that the effect ledger freezes.

A connector translates them and decides nothing. Amounts are minor units, positive unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import TypeAlias

import msgspec

from tieout.canonical.ids import Ref
from tieout.canonical.journal import JournalLine
from tieout.canonical.model import Value, encode
from tieout.canonical.party import Address, TaxId


class CustomerWrite(Value, frozen=True, tag_field="write", tag="customer.v1"):
    """Make a customer at billing or at the ERP. `subsidiary`, `currencies` and `terms` are the ERP's own keys."""

    source: Ref
    name: str
    email: str
    currencies: tuple[str, ...]
    billing_address: Address
    shipping_address: Address
    tax_ids: tuple[TaxId, ...] = ()
    subsidiary: str = ""
    terms: str = ""
    trace: str = ""


class SubscriptionWriteLine(Value, frozen=True):
    """`unit_minor` is the negotiated net price per unit and billing period, in minor units, may have decimals."""

    contract_line: str
    product: str
    description: str
    quantity: Decimal
    unit_minor: Decimal
    charge: str


class SubscriptionWrite(Value, frozen=True, tag_field="write", tag="subscription.v1"):
    """Make a subscription. `starts_at` is midnight of the first day in the legal entity's time zone (aware UTC),
    `ends_at` exclusive or None; `as_of` is the day by which past and future are told apart when the order is
    accepted."""

    source: Ref
    account: str
    customer: str
    currency: str
    lines: tuple[SubscriptionWriteLine, ...]
    starts_at: datetime
    ends_at: datetime | None
    future: bool
    frequency: str
    days_until_due: int
    as_of: date | None = None
    po_number: str = ""
    trace: str = ""


class TaxDetail(Value, frozen=True):
    """Tax of one line under one ERP tax code."""

    code: str
    jurisdiction: str
    rate_percent: Decimal
    basis_minor: int
    tax_minor: int


class DocumentLine(Value, frozen=True):
    """One line of a receivables document: the ERP item that was chosen by rule, and the account it must lead to."""

    item: str
    account: str
    description: str
    quantity: Decimal | None
    net_minor: int
    department: str = ""
    service_start: date | None = None
    service_end: date | None = None
    taxes: tuple[TaxDetail, ...] = ()
    source_line: str = ""
    rule: str = ""


class DocumentWrite(Value, frozen=True, tag_field="write", tag="document.v1"):
    """Make an invoice or a credit memo in the receivables ledger. `kind` is `invoice` or `credit_memo`; `reason`
    is `finalised`, `voided`, `written_off`, `credited` or `negative_invoice`. `customer` and `applies_to` are the
    ERP's ids. `journal` is what must stand in the general ledger; the read-back checks it. `posting_period` is set
    only by an approved release into another period."""

    kind: str
    reason: str
    source: Ref
    number: str
    entity: str
    subsidiary: str
    customer: str
    currency: str
    day: date
    due: date | None
    lines: tuple[DocumentLine, ...]
    net_minor: int
    tax_minor: int
    total_minor: int
    journal: tuple[JournalLine, ...]
    applies_to: tuple[tuple[str, int], ...] = ()
    posting_period: str = ""
    terms: str = ""
    po_number: str = ""
    trace: str = ""


class PaymentWrite(Value, frozen=True, tag_field="write", tag="payment.v1"):
    """Record money received, unapplied: applications follow as one `assign` of the whole list."""

    source: Ref
    entity: str
    subsidiary: str
    customer: str
    account: str
    currency: str
    amount_minor: int
    day: date
    journal: tuple[JournalLine, ...]
    posting_period: str = ""
    reference: str = ""
    trace: str = ""


class RefundWrite(Value, frozen=True, tag_field="write", tag="refund.v1"):
    """Record money returned: settles credit memos or unapplied payments, given as (ERP id, amount)."""

    source: Ref
    entity: str
    subsidiary: str
    customer: str
    account: str
    currency: str
    amount_minor: int
    day: date
    settles: tuple[tuple[str, int], ...]
    journal: tuple[JournalLine, ...]
    posting_period: str = ""
    trace: str = ""


class JournalWrite(Value, frozen=True, tag_field="write", tag="journal.v1"):
    """Book what has no document of receivables: a payout, a dispute. `reason` is `payout`, `payout_fees`,
    `payout_returned`, `dispute_taken`, `dispute_given_back` or `dispute_lost`; `amount_minor` is the sum of the debits.
    ValueError when debits and credits differ: such a journal cannot even be written down."""

    reason: str
    source: Ref
    number: str
    entity: str
    subsidiary: str
    currency: str
    amount_minor: int
    day: date
    journal: tuple[JournalLine, ...]
    posting_period: str = ""
    trace: str = ""

    def __post_init__(self) -> None:
        amounts = [line.amount_minor for line in self.journal]
        if sum(amounts) or sum(amount for amount in amounts if amount > 0) != self.amount_minor:
            raise ValueError(f"debits and credits of {self.reason} {self.number} differ, or its amount does")
        if any(line.currency != self.currency for line in self.journal):
            raise ValueError(f"a line of {self.reason} {self.number} is in another currency")


class ApproveWrite(Value, frozen=True, tag_field="write", tag="approve.v1", omit_defaults=True):
    """Approve (post) a document that was created pending. `applies_to` is what the document settles, where an ERP
    settles only what is posted; left out where nothing is."""

    document: str
    kind: str
    applies_to: tuple[tuple[str, int], ...] = ()


class UsageWrite(Value, frozen=True, tag_field="write", tag="usage.v1"):
    """Report to a meter of billing what a customer used at a moment (aware UTC). `customer` is billing's id; the id of
    `source` is the identifier that names this report for good; `quantity` is in the meter's unit."""

    source: Ref
    customer: str
    meter: str
    quantity: Decimal
    at: datetime


Write: TypeAlias = (
    CustomerWrite
    | SubscriptionWrite
    | DocumentWrite
    | PaymentWrite
    | RefundWrite
    | JournalWrite
    | ApproveWrite
    | UsageWrite
)
# What leaves no document of its own outside: it stands in the ledger of effects alone.
BARE = (ApproveWrite, UsageWrite)
_decoder: msgspec.json.Decoder[Write] = msgspec.json.Decoder(Write)


def encode_write(write: Write) -> bytes:
    """The bytes that the ledger freezes and hashes."""
    return encode(write)


def decode_write(raw: bytes) -> Write:
    """The frozen request back as a value."""
    return _decoder.decode(raw)


# What stands in the books, with a day and a period of its own.
Postable: TypeAlias = DocumentWrite | PaymentWrite | RefundWrite | JournalWrite

# An assign sets fields of one outside record: flat, by our names; None clears.
FieldValue: TypeAlias = str | int | bool | tuple[tuple[str, int], ...] | None
Fields: TypeAlias = Mapping[str, FieldValue]
