"""What came of asking an outside system something. An outcome says what happens next; anything else is a bug."""

from __future__ import annotations

from datetime import date, datetime
from typing import TypeAlias

from tieout.canonical.model import Value


class Receipt(Value, frozen=True):
    """A document that exists outside: its stable id, its number, and what it says of itself where that is known.
    `posted` is False when it was created but does not stand in the ledger yet."""

    external_id: str
    number: str = ""
    posted: bool = True
    total_minor: int | None = None
    tax_minor: int | None = None
    currency: str = ""
    period: str = ""
    day: date | None = None


class Confirmed(Value, frozen=True, tag_field="outcome", tag="confirmed"):
    """Done, and known to be done. `replayed` marks a vendor's answer from its own idempotency store."""

    receipt: Receipt
    replayed: bool = False


class Rejected(Value, frozen=True, tag_field="outcome", tag="rejected"):
    """Definitely not done, and asking again unchanged will not help: parks this document. `message` keeps the
    vendor's words, `code` its code."""

    code: str
    message: str


class Transient(Value, frozen=True, tag_field="outcome", tag="transient"):
    """Definitely not done; asking again later may help."""

    reason: str
    retry_at: datetime | None = None


class RateLimited(Value, frozen=True, tag_field="outcome", tag="rate_limited"):
    """Definitely not done: the vendor's limit was reached."""

    reason: str
    retry_at: datetime | None = None


class OutcomeUnknown(Value, frozen=True, tag_field="outcome", tag="unknown"):
    """Time-out, reset, 5xx after sending: it may have been done, may yet be done, or not. `saved`: the vendor keeps
    this very answer under our wire key and would only repeat it, so that the way out is a look-up."""

    reason: str
    saved: bool = False


class Misconfigured(Value, frozen=True, tag_field="outcome", tag="misconfigured"):
    """Nothing of this scope can go on until a person changes something. `scope` names it: `connection`,
    `mapping` or `period`; `key` the thing in it (connection name, product x entity, entity x period)."""

    scope: str
    key: str
    message: str
    remedy: str = ""


SendOutcome: TypeAlias = Confirmed | Rejected | Transient | RateLimited | OutcomeUnknown | Misconfigured


class Found(Value, frozen=True, tag_field="found", tag="found"):
    """The look-up by document key answered; `others` are further documents under the same key (a duplicate)."""

    receipt: Receipt
    others: tuple[str, ...] = ()


class Absent(Value, frozen=True, tag_field="found", tag="absent"):
    """The look-up found nothing; this is conclusive only from `conclusive_at` on."""

    conclusive_at: datetime


class Inconclusive(Value, frozen=True, tag_field="found", tag="inconclusive"):
    """The look-up itself did not succeed."""

    reason: str
    ask_again_at: datetime | None = None


FindOutcome: TypeAlias = Found | Absent | Inconclusive


class Failure(Exception):
    """A read that did not succeed: carries the outcome that says what happens next. As a text it is that outcome's
    words."""

    def __init__(self, outcome: Transient | RateLimited | Rejected | Misconfigured) -> None:
        super().__init__(outcome.message if isinstance(outcome, Rejected | Misconfigured) else outcome.reason)
        self.outcome = outcome


class NotFound(Exception):
    """A read by id answered that there is no such document."""
