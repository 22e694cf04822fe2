"""Reading back what was made, before and after it is posted: `Verifier`, `StatusReader`, `Approver`."""

from __future__ import annotations

from tieout.canonical.outcome import NotFound, Receipt
from tieout.canonical.write import (
    CustomerWrite,
    DocumentWrite,
    JournalWrite,
    PaymentWrite,
    Postable,
    RefundWrite,
    Write,
)
from tieout.connectors.contract import Verified
from tieout.connectors.tryton.assigning import Assigning
from tieout.connectors.tryton.mapping import (
    INVOICE,
    MOVE,
    Difference,
    compare_head,
    compare_sums,
    differ,
    external_id,
    internal_id,
    map_invoice_receipt,
    map_move_receipt,
    map_state,
    minor,
)
from tieout.connectors.tryton.posting import DRAFT, WHOLE
from tieout.connectors.tryton.wire import Row

IN_LIST = 500


class Reading(Assigning):
    """`Verifier`, `StatusReader` and `Approver` of the connection."""

    def approves(self, write: Write) -> bool:
        """What the hub makes it posts: every document is read back and compared as a draft before that."""
        return isinstance(write, Postable)

    async def verify_document(self, operation: str, write: Write, external_id: str) -> Verified:
        """The document with its lines. Raises NotFound, Failure."""
        del operation
        if isinstance(write, CustomerWrite):
            return await self._verify_party(write, external_id)
        model = "account.invoice" if internal_id(external_id, INVOICE) is not None else "account.move"
        row = await self.document_row(external_id, WHOLE[model], operation="read_back")
        if row is None:
            raise NotFound(external_id)
        self.remember_draft(external_id, row)
        company = str(row["company"])
        currency = await self.code_tables.currency(company)
        if isinstance(write, DocumentWrite):
            receipt = map_invoice_receipt(row, currency)
            differences = await self._compare_invoice(write, row, company)
            differences += compare_head(write, receipt, write.total_minor, write.posting_period)
            differ(differences, "tax", write.tax_minor, receipt.tax_minor)
        elif isinstance(write, PaymentWrite | RefundWrite | JournalWrite):
            total, differences = await self._compare_move(write, row, company)
            receipt = map_move_receipt(row, total, currency)
            differences += compare_head(write, receipt, write.amount_minor, write.posting_period)
        else:
            receipt = Receipt(external_id=external_id, posted=row.get("state") in ("posted", "paid"))
            differences = [] if receipt.posted else [("status", "posted", map_state(str(row.get("state"))))]
        if map_state(str(row.get("state"))) == "withdrawn":
            differences.append(("status", "created", "withdrawn"))
        differences += await self._compare_period(write, receipt, company)
        return Verified(receipt=receipt, differences=tuple(differences))

    async def _compare_invoice(self, write: DocumentWrite, row: Row, company: str) -> list[Difference]:
        """Customer, receivables account, net per account, tax per code."""
        found: list[Difference] = []
        differ(found, "customer", write.customer, str(row.get("party")))
        if row.get("state") in DRAFT and not (row.get("party.") or {}).get("active"):
            found.append(("customer", "active", "not active"))
        account = await self.code_tables.code("account", row.get("account"), company)
        named = {line.account for line in write.journal}
        if named and account not in named:
            found.append(("account", ", ".join(sorted(named)), account))
        sign = 1 if write.kind == "invoice" else -1
        ours: dict[str, int] = {}
        theirs: dict[str, int] = {}
        our_taxes: dict[str, int] = {}
        their_taxes: dict[str, int] = {}
        for line in write.lines:
            ours[line.account] = ours.get(line.account, 0) + line.net_minor
            for tax in line.taxes:
                our_taxes[tax.code] = our_taxes.get(tax.code, 0) + tax.tax_minor
        for one in row.get("lines.") or ():
            code = await self.code_tables.code("account", one.get("account"), company)
            theirs[code] = theirs.get(code, 0) + sign * minor(one.get("amount"), write.currency)
        for one in row.get("taxes.") or ():
            code = await self.code_tables.code("tax_code", one.get("tax"), company)
            their_taxes[code] = their_taxes.get(code, 0) + sign * minor(one.get("amount"), write.currency)
        return found + compare_sums("account", ours, theirs) + compare_sums("tax", our_taxes, their_taxes)

    async def _compare_move(
        self, write: PaymentWrite | RefundWrite | JournalWrite, row: Row, company: str
    ) -> tuple[int, list[Difference]]:
        """The amount that it moves, and its net per account against the journal."""
        found: list[Difference] = []
        ours: dict[str, int] = {}
        theirs: dict[str, int] = {}
        total = 0
        for line in write.journal:
            ours[line.account] = ours.get(line.account, 0) + line.amount_minor
        for one in row.get("lines.") or ():
            code = await self.code_tables.code("account", one.get("account"), company)
            debit, credit = minor(one["debit"], write.currency), minor(one["credit"], write.currency)
            theirs[code] = theirs.get(code, 0) + debit - credit
            total += debit
            if one.get("party") is not None and not isinstance(write, JournalWrite):
                differ(found, "customer", write.customer, str(one["party"]))
        return total, found + compare_sums("account", ours, theirs)

    async def _compare_period(self, write: Write, receipt: Receipt, company: str) -> list[Difference]:
        """Where another period was asked for, the document's day must lie in it."""
        if not isinstance(write, Postable) or not write.posting_period:
            return []
        periods = await self.known_periods(company)
        asked = next((one for one in periods if write.posting_period in (one.id, one.name)), None)
        if asked is not None and receipt.day is not None and asked.start <= receipt.day <= asked.end:
            return []
        return [("period", asked.name if asked else write.posting_period, str(receipt.day))]

    async def _verify_party(self, write: CustomerWrite, external: str) -> Verified:
        rows = await self.client.rows(
            "party.party",
            [["id", "=", int(external)], ["active", "in", [True, False]]],
            ["code", "name", "active"],
            operation="read_back.customer",
        )
        if not rows:
            raise NotFound(external)
        found: list[Difference] = []
        differ(found, "code", write.source.id, rows[0].get("code"))
        number = str(rows[0].get("code") or "")
        return Verified(receipt=Receipt(external_id=external, number=number), differences=tuple(found))

    async def statuses(self, kind: str, ids: tuple[str, ...]) -> dict[str, str]:
        """The states of many documents. A word that we do not know counts as `created`."""
        model, letter = (
            ("account.move", MOVE)
            if kind in ("payment", "refund", "journal")
            else ("account.invoice", INVOICE)
        )
        answer: dict[str, str] = {}
        for start in range(0, len(ids), IN_LIST):
            some = [
                id for one in ids[start : start + IN_LIST] if (id := internal_id(one, letter)) is not None
            ]
            rows = (
                await self.client.rows(model, [["id", "in", some]], ["state"], operation="statuses")
                if some
                else []
            )
            for row in rows:
                state = map_state(str(row.get("state")))
                answer[external_id(letter, int(row["id"]))] = "created" if state == "pending" else state
        return answer
