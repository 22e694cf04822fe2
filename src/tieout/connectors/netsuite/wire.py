"""What NetSuite says, as far as we read it. Unknown fields are ignored; numbers are Decimal."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from tieout.connectors.http import BadBody

W = TypeVar("W")


class Wire(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of the record API's structs (camelCase)."""


class Reference(Wire, frozen=True):
    """A reference or an enumeration: `{"id": "1", "refName": "..."}`."""

    id: str | int = ""
    ref_name: str = ""

    @property
    def key(self) -> str:
        return str(self.id)


NOTHING = Reference()


class ItemLine(Wire, frozen=True):
    """One line of an invoice or credit memo; `amount` is net."""

    item: Reference = NOTHING
    amount: Decimal = Decimal(0)
    quantity: Decimal | None = None
    department: Reference | None = None
    tax_details_reference: str | int = ""
    custcol_tieout_source_line: str = msgspec.field(default="", name="custcol_tieout_source_line")


class ItemSublist(Wire, frozen=True):
    """The lines."""

    items: tuple[ItemLine, ...] = ()


class TaxLine(Wire, frozen=True):
    """Tax of one line."""

    tax_code: Reference | None = None
    tax_amount: Decimal = Decimal(0)
    tax_basis: Decimal = Decimal(0)
    tax_rate: Decimal = Decimal(0)


class TaxSublist(Wire, frozen=True):
    """The tax lines."""

    items: tuple[TaxLine, ...] = ()


class ApplyLine(Wire, frozen=True):
    """One document that could be settled; `apply` says that it is."""

    doc: Reference = NOTHING
    apply: bool = False
    amount: Decimal | None = None


class ApplySublist(Wire, frozen=True):
    """The apply list, with open documents that are not applied too."""

    items: tuple[ApplyLine, ...] = ()
    has_more: bool = False


class JournalEntryLine(Wire, frozen=True):
    """A line of a journal entry."""

    account: Reference = NOTHING
    debit: Decimal | None = None
    credit: Decimal | None = None


class JournalSublist(Wire, frozen=True):
    """The lines of a journal entry."""

    items: tuple[JournalEntryLine, ...] = ()


class Transaction(Wire, frozen=True):
    """Invoice, credit memo, customer payment, customer refund or journal entry, sublists expanded."""

    id: str | int
    tran_id: str = ""
    external_id: str = ""
    tran_date: str = ""
    status: Reference | None = None
    approval_status: Reference | None = None
    subsidiary: Reference | None = None
    currency: Reference | None = None
    posting_period: Reference | None = None
    account: Reference | None = None
    entity: Reference | None = None
    customer: Reference | None = None
    total: Decimal | None = None
    tax_total: Decimal | None = None
    payment: Decimal | None = None
    item: ItemSublist | None = None
    tax_details: TaxSublist | None = None
    apply: ApplySublist | None = None
    line: JournalSublist | None = None
    source_id: str = msgspec.field(default="", name="custbody_tieout_source")


class Customer(Wire, frozen=True):
    """A customer."""

    id: str | int
    external_id: str = ""
    entity_id: str = ""
    company_name: str = ""
    email: str = ""
    subsidiary: Reference | None = None
    terms: Reference | None = None
    crm_account: str = msgspec.field(default="", name="custentity_crm_account")


class Credit(Wire, frozen=True):
    """What of a customer tells a credit hold: a read of chosen fields, which leaves out even the id."""

    balance: Decimal | None = None
    credit_limit: Decimal | None = None
    credit_hold_override: Reference | None = None


class Period(Wire, frozen=True):
    """An accounting period record."""

    id: str | int
    period_name: str = ""
    start_date: str = ""
    end_date: str = ""
    closed: bool = False
    ar_locked: bool = False
    all_locked: bool = False
    is_year: bool = False
    is_quarter: bool = False
    is_adjust: bool = False
    is_posting: bool = True
    is_inactive: bool = False


class ListedId(Wire, frozen=True):
    """One record of a list: its id alone."""

    id: str | int


class IdPage(Wire, frozen=True):
    """One page of a list of records."""

    items: tuple[ListedId, ...] = ()
    has_more: bool = False


class GovernanceLimits(Wire, frozen=True):
    """How many calls the account may have in flight."""

    account_concurrency_limit: int = 0


class Job(Wire, frozen=True):
    """An asynchronous job; `progress` is pending, processing, succeeded or failed."""

    completed: bool = False
    progress: str = ""


Row = dict[str, Any]


class RowPage(Wire, frozen=True):
    """One page of a query: values are text, an empty column is missing or null."""

    items: list[Row]
    has_more: bool = False


class ErrorDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One fault: the vendor's words, its code, the path it is about."""

    detail: str = ""
    code: str = msgspec.field(default="", name="o:errorCode")
    path: str = msgspec.field(default="", name="o:errorPath")


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """The vendor's error body. The token endpoint answers `error` instead (RFC 6749)."""

    title: str = ""
    status: int = 0
    error: str = ""
    details: tuple[ErrorDetail, ...] = msgspec.field(default=(), name="o:errorDetails")


class TokenAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The token endpoint's answer; `expires_in` is seconds, as text."""

    access_token: str
    expires_in: str | int = "3600"


class TokenClaims(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of the access token: `aud` names application id and account, joined by a semicolon."""

    aud: str | list[str] = ""


class Structs:
    """One decoder per answer, made once."""

    transaction = msgspec.json.Decoder(Transaction)
    customer = msgspec.json.Decoder(Customer)
    credit = msgspec.json.Decoder(Credit)
    period = msgspec.json.Decoder(Period)
    ids = msgspec.json.Decoder(IdPage)
    limits = msgspec.json.Decoder(GovernanceLimits)
    job = msgspec.json.Decoder(Job)
    rows = msgspec.json.Decoder(RowPage, float_hook=Decimal)
    error = msgspec.json.Decoder(ErrorBody)
    token = msgspec.json.Decoder(TokenAnswer)
    claims = msgspec.json.Decoder(TokenClaims)


def read(decoder: msgspec.json.Decoder[W], body: bytes) -> W:
    """A body as what the vendor documents. Raises BadBody, which never quotes the body."""
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadBody(f"not the documented answer ({type(error).__name__})") from None
