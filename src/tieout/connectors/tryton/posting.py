"""Posting a draft, and finding out what became of it. Created is not posted."""

from __future__ import annotations

import hashlib
from datetime import date

from tieout.canonical.journal import AccountingPeriod
from tieout.canonical.outcome import Confirmed, Misconfigured, Receipt, Rejected, SendOutcome, Transient
from tieout.canonical.write import ApproveWrite
from tieout.connectors.contract import Keys
from tieout.connectors.tryton.client import NotDone
from tieout.connectors.tryton.mapping import INVOICE, MOVE, internal_id, invoice_day
from tieout.connectors.tryton.settling import Settling

INVOICE_FIELDS = [
    "number",
    "state",
    "party",
    "company",
    "account",
    "currency",
    "total_amount",
    "tax_amount",
    "invoice_date",
    "accounting_date",
    "payment_term_date",
    "description",
    "reference",
    "move",
]
MOVE_FIELDS = ["number", "state", "company", "date", "period", "description", "journal"]


class Posting(Settling):
    """Base of the writer: the second half of making a document."""

    async def post(self, write: ApproveWrite, keys: Keys) -> SendOutcome:
        """Post a draft, then settle what it settles. Each step looks first, so that the whole may be repeated."""
        invoice, move = internal_id(write.document, INVOICE), internal_id(write.document, MOVE)
        row = await self.document_row(write.document)
        if row is None:
            return Rejected(code="VANISHED", message=f"there is no {write.kind} {write.document}")
        company = str(row["company"])
        model, id = ("account.invoice", invoice) if invoice is not None else ("account.move", move)
        async with self.poster(company):
            if row.get("state") in ("draft", "validated"):
                try:
                    await self._answer_before(row, company)
                    await self.client.write(
                        f"model.{model}.post",
                        [id],
                        operation=f"{write.kind}.post",
                        lane=keys.effect,
                        company=int(company),
                    )
                except NotDone as error:
                    return await self._post_refused(write, row, company, error)
                row = await self.document_row(write.document) or row
            if row.get("state") not in ("posted", "paid"):
                message = f"{write.kind} {write.document} is {row.get('state')} after posting"
                return Rejected(code="NOT_POSTED", message=message)
            if write.kind == "refund":
                await self.settle_lines(id or 0, company)
            elif write.kind == "credit_memo" and write.applies_to:
                await self.settle(write.document, dict(write.applies_to), company)
        return Confirmed(
            receipt=Receipt(external_id=write.document, number=str(row.get("number") or ""), posted=True)
        )

    async def _answer_before(self, row: dict[str, object], company: str) -> None:
        """Answer the one question that is sure to come, where it may be answered: whether an invoice that is due
        already is meant. Asked, it would roll back a whole posting first."""
        due, warning = row.get("payment_term_date"), "invoice_payment_term"
        past = isinstance(due, date) and due < self.client.http.now().date()
        if past and warning in self.config.warnings:
            # As the server names it: the hash of the record, then the question.
            record = hashlib.md5(f"account.invoice,{row['id']}".encode(), usedforsecurity=False).hexdigest()
            await self.client.write(
                "model.res.user.warning.skip",
                f"{record}.{warning}",
                False,
                operation="answer_warning",
                company=int(company),
            )

    async def _post_refused(
        self, write: ApproveWrite, row: dict[str, object], company: str, error: NotDone
    ) -> SendOutcome:
        """A refused posting: by the period where that is shut, by what stands there where the server broke off, else by
        the server's words."""
        outcome = error.outcome
        if not isinstance(outcome, Rejected):
            return outcome
        if outcome.code == "exception":
            now = await self.document_row(write.document)
            if now is not None and now.get("state") in ("posted", "paid"):
                return Transient(reason=f"posted, then: {outcome.message}")
            return outcome
        day = invoice_day(row) if internal_id(write.document, INVOICE) is not None else row.get("date")
        if isinstance(day, date):
            periods = await self.known_periods(company, younger_than_seconds=0)
            period = next((one for one in periods if one.start <= day <= one.end), None)
            if period is None or period.status != "open":
                return period_closed(self.config.entity(company), day, period)
        message = (
            f"{outcome.message} (draft {write.document} stays as it is; mend the cause there, then retry)"
        )
        return Rejected(code=outcome.code, message=message)

    async def document_row(self, external: str) -> dict[str, object] | None:
        """An invoice or a move by our name of it, or None. Raises Failure."""
        invoice = internal_id(external, INVOICE)
        id = invoice if invoice is not None else internal_id(external, MOVE)
        if id is None:
            return None
        model, fields = (
            ("account.invoice", INVOICE_FIELDS) if invoice is not None else ("account.move", MOVE_FIELDS)
        )
        rows = await self.client.rows(model, [["id", "=", id]], fields, operation="find.document")
        return rows[0] if rows else None

    async def posted(self, write: ApproveWrite) -> list[Receipt]:
        """Posted, and what it settles settled; else it is to be posted again, which does what is missing."""
        row = await self.document_row(write.document)
        if row is None or row.get("state") not in ("posted", "paid"):
            return []
        if write.kind == "refund" and await self.untied(internal_id(write.document, MOVE) or 0):
            return []
        memo = write.kind == "credit_memo" and write.applies_to
        if memo and not await self.settles(write.document, dict(write.applies_to), str(row["company"])):
            return []
        return [Receipt(external_id=write.document, number=str(row.get("number") or ""), posted=True)]


def period_closed(entity: str, day: date, period: AccountingPeriod | None) -> Misconfigured:
    """What a posting into a period that is not open ends as."""
    said = f"period {period.name} is {period.status}" if period else f"there is no period for {day}"
    return Misconfigured(
        scope="period",
        key=f"{entity}|{period.start if period else day:%Y-%m}",
        message=f"the accounting period is closed: {said}",
        remedy="approve the release of the waiting documents into an open period",
    )
