"""What Tryton says, in our words. Pure; an unknown state is `pending`, never success."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from tieout.canonical.journal import AccountingPeriod
from tieout.canonical.money import to_minor
from tieout.canonical.outcome import Receipt
from tieout.canonical.write import Postable
from tieout.connectors.tryton.wire import Row

Difference = tuple[str, str, str]
SEPARATOR = " | "
# Invoices and moves are numbered each on their own: their kind stands before the id.
INVOICE, MOVE = "I", "M"


def external_id(model: str, id: int) -> str:
    """Our name of a record: `I12` is an invoice or credit note, `M34` a move."""
    return f"{model}{id}"


def internal_id(external: str, *models: str) -> int | None:
    """The record's own id, or None for a name that is not of these models."""
    return int(external[1:]) if external[:1] in models and external[1:].isdigit() else None


def minor(amount: object, currency: str) -> int:
    """An amount of the server, signed, in minor units."""
    return to_minor(Decimal(str(amount or 0)), currency, rounding="half_up")


def map_state(state: str) -> str:
    """`created`, `posted`, `withdrawn`, or `pending` for a word that we do not know."""
    match state:
        case "posted" | "paid":
            return "posted"
        case "draft" | "validated":
            return "created"
        case "cancelled":
            return "withdrawn"
        case _:
            return "pending"


def map_period(row: Row) -> AccountingPeriod:
    """A period; what is neither open nor closed counts as locked. KeyError without name or dates."""
    state = str(row.get("state"))
    return AccountingPeriod(
        id=str(row["id"]),
        name=str(row["name"]),
        start=row["start_date"],
        end=row["end_date"],
        status={"open": "open", "closed": "closed"}.get(state, "locked"),
    )


def describe(*parts: str) -> str:
    """What a document says of itself: parts that are read back by their place."""
    return SEPARATOR.join(part.replace("|", "/") for part in parts)


def described(row: Row, place: int) -> str:
    """One part of a description, empty where it has not so many."""
    parts = str(row.get("description") or "").split(SEPARATOR)
    return parts[place] if len(parts) > place else ""


# Places in the description of an invoice (billing's number, reason, source) and of a move (key, kind, source; of a
# journal its reason besides).
NUMBER, REASON, SOURCE = 0, 1, 2
KEY, KIND, WHY = 0, 1, 3


def invoice_kind(row: Row) -> str:
    """A customer's document with a total below zero is a credit note."""
    return "credit_memo" if Decimal(str(row.get("total_amount") or 0)) < 0 else "invoice"


def invoice_day(row: Row) -> date | None:
    """The day on which it is in the books."""
    found = row.get("accounting_date") or row.get("invoice_date")
    return found if isinstance(found, date) else None


def map_invoice_receipt(row: Row, currency: str) -> Receipt:
    """An invoice or credit note as a receipt; amounts positive."""
    return Receipt(
        external_id=external_id(INVOICE, int(row["id"])),
        number=str(row.get("number") or ""),
        posted=map_state(str(row.get("state"))) == "posted",
        total_minor=abs(minor(row.get("total_amount"), currency)),
        tax_minor=abs(minor(row.get("tax_amount"), currency)),
        currency=currency,
        day=invoice_day(row),
    )


def map_move_receipt(row: Row, total_minor: int | None, currency: str) -> Receipt:
    """A move as a receipt."""
    return Receipt(
        external_id=external_id(MOVE, int(row["id"])),
        number=str(row.get("number") or ""),
        posted=str(row.get("state")) == "posted",
        total_minor=total_minor,
        currency=currency,
        day=row.get("date"),
    )


def compare_head(write: Postable, receipt: Receipt, total_minor: int, period: str) -> list[Difference]:
    """Total, currency, date and period as (field, ours, theirs). `period`: the one that was asked for, else empty."""
    found: list[Difference] = []
    differ(found, "total", total_minor, receipt.total_minor)
    differ(found, "currency", write.currency, receipt.currency)
    if not period:
        differ(found, "date", write.day, receipt.day)
    return found


def compare_sums(field: str, ours: dict[str, int], theirs: dict[str, int]) -> list[Difference]:
    """Sums by code, a missing one being nothing."""
    found: list[Difference] = []
    for key in sorted({*ours, *theirs}):
        differ(found, f"{field}:{key}", ours.get(key, 0), theirs.get(key, 0))
    return found


def differ(found: list[Difference], field: str, ours: object, theirs: object) -> None:
    """Note a field that is not as asked."""
    if ours != theirs:
        found.append((field, "" if ours is None else str(ours), "" if theirs is None else str(theirs)))
