"""What settles an invoice after it was written off, a payment or a credit memo: so much of the write-off is taken back
by a document of its own, which it then settles. The invoice and its write-off stay as they stand."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from tieout.canonical.ids import Ref
from tieout.canonical.invoice import CreditMemo, Invoice, Obligation
from tieout.canonical.party import LegalEntity
from tieout.engine.run import Run
from tieout.engine.stops import Facts, Ignored
from tieout.finance.posting import post_invoice
from tieout.processes.periods import in_period


def written_off_at(invoice: Invoice) -> datetime | None:
    """When the invoice was given up, if it was."""
    return next((moment for kind, moment in invoice.transitions if kind == "written_off"), None)


def applied_minor(memo: CreditMemo) -> int:
    """What of a memo settles its invoice: all but what is refunded, kept as balance, or returned elsewhere."""
    returned = sum(amount for _, amount in memo.refunds) + memo.to_balance_minor + memo.out_of_band_minor
    return memo.total_minor - returned


def after_write_off(memo: CreditMemo, invoice: Invoice) -> bool:
    """Whether a memo was issued when its invoice had been given up; billing dates by the second, and what came in the
    very second of the write-off counts as after it, of a payment too."""
    given_up = written_off_at(invoice)
    return given_up is not None and given_up <= memo.issued_at


async def memos_of(run: Run, invoice: Invoice) -> tuple[CreditMemo, ...]:
    """The memos of an invoice that stand."""
    refs = [replace(invoice.ref, kind="credit_memo", id=id_) for id_ in invoice.memos]
    return tuple([await run.read(CreditMemo, ref) for ref in refs])


async def take_back_write_off(
    run: Run,
    invoice: Ref,
    source: Ref,
    amount_minor: int,
    moment: datetime,
    entity: LegalEntity,
    customer: str,
) -> str:
    """The document that takes back so much of an invoice's write-off on the day of what settles it (`source`); once it
    stands, its ERP id."""
    standing = run.standing(entity.erp, "invoice.recover", source)
    if standing is not None:
        # As it was frozen: what is credited or renamed afterwards does not change it.
        receipt = await run.settled(standing, Facts(amount_minor=amount_minor, entity=entity.code))
    else:
        found = await run.read(Invoice, invoice)
        before = tuple(memo for memo in await memos_of(run, found) if not after_write_off(memo, found))
        posting = run.posting(
            post_invoice,
            found,
            Obligation(kind="recovered", subject=source, occurred_at=moment),
            entity,
            customer,
            run.masterdata,
            memos=before,
            open_minor=amount_minor,
        )
        if posting.write is None:
            raise Ignored(posting.explanation[0])
        # Under the invoice's own number it would look like the invoice, made twice.
        write = await in_period(run, entity, replace(posting.write, number=source.id), None)
        facts = Facts(
            amount_minor=amount_minor, currency=found.currency, entity=entity.code, number=found.number
        )
        receipt = await run.create(
            entity.erp, "invoice.create", write, source=source, obligation="invoice.recover", facts=facts
        )
    await run.posted(entity.erp, "invoice.create", receipt, source=source, obligation="invoice.recover")
    return receipt.external_id
