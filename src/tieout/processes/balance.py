"""A customer's credit balance at billing, as the ledger has it: the memo that made the credit settles the invoice that
used it. The lane of the document that made it writes its whole apply list, so that no two lanes write one list."""

from __future__ import annotations

from tieout.canonical.balance import CustomerBalance
from tieout.canonical.ids import Ref
from tieout.canonical.invoice import Invoice
from tieout.canonical.party import LegalEntity
from tieout.canonical.write import Fields
from tieout.engine.ledger import posted_need
from tieout.engine.run import Run
from tieout.engine.stops import ByHand, Facts, Need, NotYet
from tieout.finance.balance import BalanceUse, settle_balance

Applied = tuple[tuple[str, int], ...]


async def credit_was_used(run: Run, invoice: Invoice, facts: Facts) -> None:
    """Start the lanes of the documents whose credit this invoice used; they settle it. Ends the run where no document
    of the ledger stands behind the credit."""
    if not invoice.balance_minor:
        return
    mine = [use for use in await _uses(run, invoice.customer, invoice.currency) if use.invoice == invoice.ref]
    for source in dict.fromkeys(use.made.document for use in mine if use.made is not None):
        if source is not None:
            run.start(source)
    known = sum(use.amount_minor for use in mine if use.made is not None)
    fact = f"balance {invoice.balance_minor}, known {known}"
    if known != invoice.balance_minor and not await run.settled_by_hand(fact):
        raise ByHand(
            "balance_without_document",
            f"the customer's balance settled {invoice.balance_minor} of it (minor units), but documents of the ledger "
            f"stand behind {known} only: the rest was entered by hand, or was owed",
            "post that rest at the ERP by hand and settle the invoice there",
            facts,
            fact=fact,
        )


async def settle_with_credit(
    run: Run, made: Ref, reason: str, document: str, applied: Applied, invoice: Invoice, entity: LegalEntity
) -> None:
    """Write the whole apply list of the memo `document` (ERP id), which stands for the credit that `made` made for this
    `reason`: what it settles already (`applied`) and every invoice that used it. Waits for those not yet posted."""
    uses = [
        use
        for use in await _uses(run, invoice.customer, invoice.currency)
        if use.made is not None and (use.made.document, use.made.reason) == (made, reason) and use.invoice
    ]
    if not uses:
        return
    settled, missing = dict(applied), list[Need]()
    for use in uses:
        assert use.invoice is not None  # noqa: S101  filtered above
        key = posted_need(use.invoice, "invoice", entity.erp)
        target = await run.met(key)
        if target is None:
            what = f"invoice {use.invoice.id} to be posted at {entity.erp}"
            missing.append(Need(key=key, what=what, on_lane=str(use.invoice), producer=use.invoice))
        else:
            settled[target] = settled.get(target, 0) + use.amount_minor
    fields: Fields = {"applications": tuple(sorted(settled.items())), "currency": invoice.currency}
    await run.assign(Ref(connection=entity.erp, kind="credit_memo", id=document), "applications", fields)
    if missing:
        raise NotYet(*missing)


async def _uses(run: Run, customer: Ref, currency: str) -> tuple[BalanceUse, ...]:
    return settle_balance(await run.read(CustomerBalance, customer), currency)
