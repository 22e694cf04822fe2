"""What NetSuite says, in our words. Pure; an unknown status is `pending`, never success."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

from tieout.canonical.journal import AccountingPeriod
from tieout.canonical.money import to_minor
from tieout.canonical.outcome import Receipt
from tieout.canonical.write import DocumentWrite, JournalWrite, Postable
from tieout.connectors.contract import ListedDocument
from tieout.connectors.netsuite.wire import Period, Row, Transaction

Difference = tuple[str, str, str]

RECORD = {
    "customer": "customer",
    "invoice": "invoice",
    "credit_memo": "creditMemo",
    "payment": "customerPayment",
    "refund": "customerRefund",
    "journal": "journalEntry",
}
TYPE = {
    "invoice": "CustInvc",
    "credit_memo": "CustCred",
    "payment": "CustPymt",
    "refund": "CustRfnd",
    "journal": "Journal",
}
# How a document moves receivables: an invoice and a refund raise them. A deposit does not, its application does.
RECEIVABLES_SIGN = {"CustInvc": 1, "CustCred": -1, "CustPymt": -1, "CustRfnd": 1, "DepAppl": -1}


def map_status(kind: str, status: str, approval: str = "", *, voided: bool = False) -> str:
    """`created`, `posted`, `post_rejected`, `withdrawn`, or `pending` for a word we do not know.

    `status` is the vendor's letter (queries may say `CustInvc:A`). An approval that is not given (the account does
    not route) says nothing."""
    letter = status.rpartition(":")[2]
    if voided or letter == "V":
        return "withdrawn"
    match approval:
        case "" | "2":
            pass
        case "1":
            return "created"
        case "3":
            return "post_rejected"
        case _:
            return "pending"
    match kind, letter:
        case (("invoice" | "credit_memo"), ("A" | "B")):
            return "posted"
        case (("invoice" | "credit_memo"), "D"):
            return "created"
        case (("invoice" | "credit_memo"), "E"):
            return "post_rejected"
        case "payment", ("B" | "C"):  # not deposited, deposited
            return "posted"
        case "payment", "A":  # unapproved payment
            return "created"
        case "payment", "R":
            return "post_rejected"
        case "refund", ("" | "A" | "B" | "C"):
            return "posted"
        # A journal's record shows no letter; its approval is told by `approvalStatus`, which has said its word above.
        case "journal", ("" | "B"):  # approved for posting
            return "posted"
        case "journal", "A":  # pending approval
            return "created"
        case _:
            return "pending"


def map_row_status(kind: str, row: Row) -> str:
    """The status of a row of `transaction`: the posting flag is the ledger's own word and outranks the letter."""
    status = map_status(
        kind,
        str(row.get("status") or ""),
        str(row.get("approvalstatus") or ""),
        voided=row.get("voided") == "T",
    )
    if row.get("posting") == "F" and status == "posted":
        return "created"
    if row.get("posting") == "T" and status in ("created", "pending") and kind in ("payment", "refund"):
        return "posted"
    return status


def minor(amount: object, currency: str) -> int:
    """An amount of the vendor to minor units, whatever its sign; doubles may carry dust below the minor unit."""
    return to_minor(Decimal(str(amount or 0)), currency, rounding="half_up")


def day(value: object) -> date:
    """A calendar day of the vendor (ISO; a time after it is dropped). ValueError."""
    return date.fromisoformat(str(value)[:10])


def map_receipt(kind: str, document: Transaction, currency: str) -> Receipt:
    """A record as a receipt."""
    total = document.payment if kind == "payment" and document.payment is not None else document.total
    if kind == "journal" and document.line is not None:
        total = sum((line.debit for line in document.line.items if line.debit is not None), Decimal(0))
    status = map_status(
        kind,
        document.status.key if document.status else "",
        document.approval_status.key if document.approval_status else "",
    )
    return Receipt(
        external_id=str(document.id),
        number=document.tran_id,
        posted=status == "posted",
        total_minor=None if total is None else abs(minor(total, currency)),
        tax_minor=None if document.tax_total is None else abs(minor(document.tax_total, currency)),
        currency=currency,
        period=document.posting_period.ref_name if document.posting_period else "",
        day=day(document.tran_date) if document.tran_date else None,
    )


def map_period(period: Period) -> AccountingPeriod | None:
    """A leaf period that documents post to, or None (years, quarters, adjustments, statistical ones)."""
    if period.is_year or period.is_quarter or period.is_adjust or period.is_inactive or not period.is_posting:
        return None
    if period.closed:
        status = "closed"
    elif period.ar_locked or period.all_locked:
        # Roles that may override period restrictions could post; the hub treats it as shut.
        status = "locked"
    else:
        status = "open"
    return AccountingPeriod(
        id=str(period.id),
        name=period.period_name,
        start=day(period.start_date),
        end=day(period.end_date),
        status=status,
    )


def map_period_row(row: Row) -> AccountingPeriod | None:
    """The same from a query, whose booleans are `T` and `F`."""
    return map_period(
        Period(
            id=str(row["id"]),
            period_name=str(row.get("periodname") or ""),
            start_date=str(row.get("startdate") or ""),
            end_date=str(row.get("enddate") or ""),
            closed=row.get("closed") == "T",
            ar_locked=row.get("arlocked") == "T",
            all_locked=row.get("alllocked") == "T",
            is_year=row.get("isyear") == "T",
            is_quarter=row.get("isquarter") == "T",
            is_adjust=row.get("isadjust") == "T",
            is_posting=row.get("isposting") != "F",
            is_inactive=row.get("isinactive") == "T",
        )
    )


def period_of(periods: tuple[AccountingPeriod, ...], on: date) -> AccountingPeriod | None:
    """The period that holds a day."""
    return next((period for period in periods if period.start <= on <= period.end), None)


def map_listed(
    kind: str,
    row: Row,
    *,
    entity: str,
    tax: object,
    period: AccountingPeriod | None,
    settled: tuple[tuple[str, int], ...],
    accounts: tuple[tuple[str, int, int], ...] = (),
) -> ListedDocument:
    """A row of a listing. Amounts are positive: the kind tells the direction."""
    currency = str(row.get("symbol") or "")
    open_amount = (
        row.get("foreignamountunpaid") if kind == "invoice" else row.get("foreignpaymentamountunused")
    )
    status = map_row_status(kind, row)
    # Tax lines are credits (negative) on an invoice, debits on a credit memo.
    tax_minor = minor(tax, currency) * (-1 if kind == "invoice" else 1)
    return ListedDocument(
        id=str(row["id"]),
        number=str(row.get("tranid") or ""),
        kind=kind,
        entity=entity,
        currency=currency,
        total_minor=abs(minor(row.get("foreigntotal"), currency)),
        tax_minor=tax_minor,
        day=day(row["day"]),
        status=status,
        document_key=str(row.get("externalid") or ""),
        source=str(row.get("custbody_tieout_source") or ""),
        reason=str(row.get("custbody_tieout_reason") or ""),
        period=period.name if period else "",
        period_start=period.start if period else None,
        open_minor=abs(minor(open_amount, currency)),
        posted=status == "posted",
        settled=settled,
        accounts=accounts,
    )


def map_accounts(rows: list[Row], currency: str, functional: str) -> tuple[tuple[str, int, int], ...]:
    """Net per ledger account, debit positive: (account, document currency, functional currency) in minor units. None
    where the subsidiary's functional currency is not configured: an amount without its currency says nothing."""
    if not functional:
        return ()
    nets = (
        (str(row["acctnumber"]), minor(row.get("amount"), currency), minor(row.get("functional"), functional))
        for row in rows
    )
    return tuple(net for net in nets if net[1] or net[2])


def compare_head(write: Postable, receipt: Receipt, total_minor: int) -> list[Difference]:
    """Total, currency and date of a document against what was asked, as (field, ours, theirs)."""
    found: list[Difference] = []
    _differ(found, "total", total_minor, receipt.total_minor)
    _differ(found, "currency", write.currency, receipt.currency)
    _differ(found, "date", write.day, receipt.day)
    return found


def compare_lines(
    write: DocumentWrite, document: Transaction, accounts: dict[str, str], taxes: dict[str, str]
) -> list[Difference]:
    """Net per account that the items lead to, and tax per code. `accounts` is account number by item id, `taxes` code
    by tax item id."""
    ours: dict[str, int] = {}
    theirs: dict[str, int] = {}
    for line in write.lines:
        ours[line.account] = ours.get(line.account, 0) + line.net_minor
    for wire in document.item.items if document.item else ():
        account = accounts.get(wire.item.key, f"#{wire.item.key}")
        theirs[account] = theirs.get(account, 0) + minor(wire.amount, write.currency)
    found = _compare_sums("account", ours, theirs)
    our_taxes: dict[str, int] = {}
    their_taxes: dict[str, int] = {}
    for line in write.lines:
        for tax in line.taxes:
            our_taxes[tax.code] = our_taxes.get(tax.code, 0) + tax.tax_minor
    for one in document.tax_details.items if document.tax_details else ():
        code = taxes.get(one.tax_code.key, f"#{one.tax_code.key}") if one.tax_code else "#"
        their_taxes[code] = their_taxes.get(code, 0) + minor(one.tax_amount, write.currency)
    if document.tax_details is None:
        return found
    return found + _compare_sums("tax", our_taxes, their_taxes)


def compare_journal(write: JournalWrite, document: Transaction, accounts: dict[str, str]) -> list[Difference]:
    """Net per account of a journal's lines. `accounts` is account number by internal id."""
    ours: dict[str, int] = {}
    theirs: dict[str, int] = {}
    for line in write.journal:
        ours[line.account] = ours.get(line.account, 0) + line.amount_minor
    for wire in document.line.items if document.line else ():
        account = accounts.get(wire.account.key, f"#{wire.account.key}")
        net = minor(wire.debit, write.currency) - minor(wire.credit, write.currency)
        theirs[account] = theirs.get(account, 0) + net
    return _compare_sums("account", ours, theirs)


def compare_period(
    write_period: str, day_: date, document: Transaction, periods: tuple[AccountingPeriod, ...]
) -> list[Difference]:
    """The posting period: the one that was asked for, else the one that holds the document's day."""
    if document.posting_period is None:
        return []
    theirs = next((one for one in periods if one.id == document.posting_period.key), None)
    shown = theirs.name if theirs else document.posting_period.ref_name or document.posting_period.key
    if write_period:
        asked = next((one for one in periods if write_period in (one.id, one.name)), None)
    else:
        asked = period_of(periods, day_)
    if asked is not None and asked.id == document.posting_period.key:
        return []
    return [("period", asked.name if asked else write_period or day_.isoformat(), shown)]


def _compare_sums(field: str, ours: dict[str, int], theirs: dict[str, int]) -> list[Difference]:
    found: list[Difference] = []
    for key in sorted({*ours, *theirs}):
        _differ(found, f"{field}:{key}", ours.get(key, 0), theirs.get(key, 0))
    return found


def _differ(found: list[Difference], field: str, ours: Any, theirs: Any) -> None:
    if ours != theirs:
        found.append((field, "" if ours is None else str(ours), "" if theirs is None else str(theirs)))
