"""A payment: full, partial, over several invoices, or more than is owed. The money first, then what it settles."""

from __future__ import annotations

from msgspec.structs import replace

from tieout.canonical.announcement import AppliedPart, PaymentApplied
from tieout.canonical.ids import Ref
from tieout.canonical.party import LegalEntity
from tieout.canonical.payment import Payment
from tieout.canonical.write import Fields
from tieout.engine.keys import trace_of
from tieout.engine.ledger import posted_need
from tieout.engine.process import process
from tieout.engine.run import Run
from tieout.engine.stops import Facts, Ignored, Need, NotYet
from tieout.finance.cash import post_payment
from tieout.processes.periods import in_period
from tieout.processes.recovery import take_back_write_off
from tieout.processes.routes import customer_at_erp, join_deal
from tieout.processes.write_back import show_at_billing


@process("payment")
async def apply_payment(run: Run, ref: Ref) -> None:
    """Record the money at the ERP, then settle every invoice of it that stands there; wait for the others."""
    payment = await run.read_or_wait(Payment, ref)
    if payment.status != "succeeded":
        raise Ignored(f"the payment is {payment.status}")
    entity = run.masterdata.entity_of_billing(ref.connection)
    run.decided(entity, entity.erp)
    await join_deal(run, *(part.invoice for part in payment.applications))
    if len(payment.applications) > 1:
        for part in payment.applications:
            run.tell_in_story_of(part.invoice)
    customer = await customer_at_erp(run, payment.customer, entity)
    facts = Facts(
        amount_minor=payment.amount_minor,
        currency=payment.currency,
        entity=entity.code,
        number=payment.reference,
    )
    posting = run.posting(post_payment, payment, entity, customer, run.masterdata, trace=trace_of(ref))
    if posting.write is None:
        raise Ignored(posting.explanation[0])
    standing = run.standing(entity.erp, "payment.create", ref)
    write = await in_period(run, entity, posting.write, standing)
    receipt = await run.create(entity.erp, "payment.create", write, source=ref, facts=facts)
    receipt = await run.posted(entity.erp, "payment.create", receipt, source=ref)
    settled, missing = await _applications(run, payment, entity, customer)
    target = Ref(connection=entity.erp, kind="payment", id=receipt.external_id)
    if settled or run.assigned(target, "applications"):
        # The whole list, the empty one too: what it settles no longer is open again.
        fields: Fields = {"applications": settled, "currency": payment.currency}
        revision = await run.assign(target, "applications", fields)
        if revision:
            applied = _applied(payment, entity, target, missing)
            run.announce(applied, ref, occurrence=f"{revision}|{settled}")
    await show_at_billing(run, ref, receipt, "applied" if not missing else "partly applied")
    if missing:
        raise NotYet(*missing)


def _applied(payment: Payment, entity: LegalEntity, document: Ref, missing: list[Need]) -> PaymentApplied:
    """What is told of a payment: the part of its invoices that it settles by now."""
    waiting = {need.producer for need in missing}
    return PaymentApplied(
        payment=payment.ref,
        document=document,
        entity=entity.code,
        currency=payment.currency,
        amount_minor=payment.amount_minor,
        applications=tuple(
            AppliedPart(invoice=part.invoice, amount_minor=part.amount_minor)
            for part in payment.applications
            if part.invoice not in waiting
        ),
    )


async def _applications(
    run: Run, payment: Payment, entity: LegalEntity, customer: str
) -> tuple[tuple[tuple[str, int], ...], list[Need]]:
    """The whole apply list as far as its invoices stand in the ERP, and the needs of the rest."""
    settled: dict[str, int] = {}
    missing: list[Need] = []
    for part in payment.applications:
        key = posted_need(part.invoice, "invoice", entity.erp)
        document = await run.met(key)
        if document is None:
            what = f"invoice {part.invoice.id} to be posted at {entity.erp}"
            missing.append(Need(key=key, what=what, on_lane=str(part.invoice), producer=part.invoice))
        else:
            if part.after_write_off:
                source = replace(part.invoice, kind="invoice_payment", id=part.id)
                document = await take_back_write_off(
                    run, part.invoice, source, part.amount_minor, part.applied_at, entity, customer
                )
            settled[document] = settled.get(document, 0) + part.amount_minor
    return tuple(sorted(settled.items())), missing
