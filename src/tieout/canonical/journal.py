"""What is debited and credited, and the accounting period it falls into."""

from __future__ import annotations

from datetime import date, datetime
from zoneinfo import ZoneInfo

from tieout.canonical.model import Value


class JournalLine(Value, frozen=True):
    """One debit (positive) or credit (negative) in the document's currency, with what it stems from."""

    account: str
    amount_minor: int
    currency: str
    entity: str
    customer: str = ""
    department: str = ""
    service_start: date | None = None
    service_end: date | None = None
    source_line: str = ""
    rule: str = ""


class AccountingPeriod(Value, frozen=True, tag_field="type", tag="accounting_period.v1"):
    """A posting period of an ERP; `end` is inclusive. `status` is `open`, `locked` or `closed`."""

    id: str
    name: str
    start: date
    end: date
    status: str


class AccountingDate(Value, frozen=True):
    """The day a document hits the books: derived once, in the entity's time zone, and kept with its rule."""

    day: date
    rule: str
    time_zone: str


def accounting_date(moment: datetime, time_zone: str, *, rule: str) -> AccountingDate:
    """The calendar day of an aware moment in the legal entity's IANA time zone."""
    if moment.tzinfo is None:
        raise ValueError("an accounting date needs an aware moment")
    return AccountingDate(day=moment.astimezone(ZoneInfo(time_zone)).date(), rule=rule, time_zone=time_zone)
