"""Reading back what was made, and polling what waits for approval: `Verifier` and `StatusReader`."""

from __future__ import annotations

from tieout.canonical.outcome import Failure, NotFound, Receipt, Transient
from tieout.canonical.write import (
    ApproveWrite,
    CustomerWrite,
    DocumentWrite,
    JournalWrite,
    Postable,
    Write,
)
from tieout.connectors.contract import Verified
from tieout.connectors.netsuite.assigning import Assigning
from tieout.connectors.netsuite.codes import MISS_SECONDS
from tieout.connectors.netsuite.looking import IN_LIST, kind_of
from tieout.connectors.netsuite.mapping import (
    RECORD,
    Difference,
    compare_head,
    compare_journal,
    compare_lines,
    compare_period,
    map_receipt,
    map_row_status,
    map_status,
)
from tieout.connectors.netsuite.wire import Structs, Transaction


class Reading(Assigning):
    """`Verifier` and `StatusReader` of the connection."""

    async def verify_document(self, operation: str, write: Write, external_id: str) -> Verified:
        """One call (the record with its sublists) and what is remembered of codes. Raises NotFound, Failure."""
        del operation
        kind = kind_of(write)
        if isinstance(write, CustomerWrite):
            return await self._verify_customer(write, external_id)
        path = f"{RECORD[kind]}/{external_id}?expandSubResources=true"
        document = await self.client.fetch(Structs.transaction, path, operation=f"read_back.{kind}")
        try:
            currency = await self.code_tables.code(
                "currency", document.currency.key if document.currency else ""
            )
            receipt = map_receipt(kind, document, currency)
            differences = _state(kind, document, approved=isinstance(write, ApproveWrite))
            if isinstance(write, Postable):
                differences += await self._compare(write, document)
                total = write.total_minor if isinstance(write, DocumentWrite) else write.amount_minor
                differences += compare_head(write, receipt, total)
                if isinstance(write, DocumentWrite) and receipt.tax_minor not in (None, write.tax_minor):
                    differences.append(("tax", str(write.tax_minor), str(receipt.tax_minor)))
        except (ValueError, ArithmeticError):
            raise Failure(
                Transient(reason=f"a {kind} with an amount, date or currency that is none")
            ) from None
        return Verified(receipt=receipt, differences=tuple(differences))

    async def _compare(self, write: Postable, document: Transaction) -> list[Difference]:
        """Customer, accounts, lines and posting period."""
        found: list[Difference] = []
        customer = document.entity or document.customer
        if isinstance(write, JournalWrite):
            lines = document.line.items if document.line else ()
            ids = {line.account.key for line in lines}
            accounts = {id: await self.code_tables.code("account", id) for id in ids}
            return compare_journal(write, document, accounts) + await self._compare_period(write, document)
        if customer is not None and customer.key != write.customer:
            found.append(("customer", write.customer, customer.key))
        account = await self.code_tables.code("account", document.account.key) if document.account else ""
        if isinstance(write, DocumentWrite):
            # The receivables account is the account's own choice: it must be one of those that the journal names.
            named = {line.account for line in write.journal}
            # A total of nothing has no line on it.
            if account and named and account not in named and write.total_minor:
                found.append(("account", ", ".join(sorted(named)), account))
            found += await self._compare_lines(write, document)
        elif account and account != write.account:
            found.append(("account", write.account, account))
        return found + await self._compare_period(write, document)

    async def _compare_period(self, write: Postable, document: Transaction) -> list[Difference]:
        differing = compare_period(write.posting_period, write.day, document, await self.known_periods())
        if differing:
            fresh = await self.known_periods(younger_than_seconds=MISS_SECONDS)
            differing = compare_period(write.posting_period, write.day, document, fresh)
        return differing

    async def _compare_lines(self, write: DocumentWrite, document: Transaction) -> list[Difference]:
        lines = document.item.items if document.item else ()
        accounts = {
            id: await self.code_tables.posting_account(id) for id in {line.item.key for line in lines}
        }
        used = (
            {one.tax_code.key for one in document.tax_details.items if one.tax_code}
            if document.tax_details
            else ()
        )
        taxes = {id: await self.code_tables.code("tax_code", id) for id in used}
        return compare_lines(write, document, accounts, taxes)

    async def _verify_customer(self, write: CustomerWrite, external_id: str) -> Verified:
        customer = await self.client.fetch(
            Structs.customer, f"customer/{external_id}", operation="read_back.customer"
        )
        found: list[Difference] = []
        if customer.crm_account != write.source.id:
            found.append(("crm_account", write.source.id, customer.crm_account))
        if customer.subsidiary is not None and customer.subsidiary.key != write.subsidiary:
            found.append(("subsidiary", write.subsidiary, customer.subsidiary.key))
        return Verified(
            receipt=Receipt(external_id=str(customer.id), number=customer.entity_id), differences=tuple(found)
        )

    async def statuses(self, kind: str, ids: tuple[str, ...]) -> dict[str, str]:
        """The states of many documents, a thousand to a query. A word that we do not know counts as `created`.

        An id that the query does not show is asked for by itself: a query lags behind what was saved."""
        answer: dict[str, str] = {}
        for start in range(0, len(ids), IN_LIST):
            some = [id for id in ids[start : start + IN_LIST] if id.isdigit()]
            if not some:
                continue
            rows = await self.client.query(
                "SELECT id, status, approvalstatus, posting, voided FROM transaction"
                f" WHERE id IN ({', '.join(some)})",
                operation="statuses",
            )
            for row in rows:
                answer[str(row["id"])] = _known(map_row_status(kind, row))
            for id in some:
                if id not in answer:
                    await self._single_status(kind, id, answer)
        return answer

    async def _single_status(self, kind: str, id: str, answer: dict[str, str]) -> None:
        try:
            document = await self.client.fetch(
                Structs.transaction, f"{RECORD[kind]}/{id}", operation="statuses"
            )
        except NotFound:
            return
        answer[id] = _known(_status(kind, document))


def _status(kind: str, document: Transaction) -> str:
    return map_status(
        kind,
        document.status.key if document.status else "",
        document.approval_status.key if document.approval_status else "",
    )


def _known(status: str) -> str:
    return "created" if status == "pending" else status


def _state(kind: str, document: Transaction, *, approved: bool) -> list[Difference]:
    """A document that was rejected or voided meanwhile does not stand as asked; one that was approved must be
    posted."""
    status = _status(kind, document)
    if status in ("post_rejected", "withdrawn") or (approved and status != "posted"):
        return [("status", "posted" if approved else "created", status)]
    return []
