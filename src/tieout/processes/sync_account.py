"""A customer account: made where it is needed, kept up to date where it is."""

from __future__ import annotations

from tieout.canonical.ids import Ref
from tieout.canonical.model import encode
from tieout.canonical.party import Customer, LegalEntity
from tieout.canonical.write import CustomerWrite
from tieout.engine.process import process
from tieout.engine.run import Run
from tieout.engine.stops import Facts, Ignored, Parked


@process("account")
async def sync_account(run: Run, ref: Ref) -> None:
    """Make the customer at every connection where somebody needs it, and set what changed where it stands."""
    wanted = await run.wanted("customer", ref)
    if not wanted and not run.documents:
        raise Ignored("nobody needs this customer yet")
    customer = await run.read(Customer, ref)
    if customer.merged_into is not None:
        raise Parked(
            "account_merged",
            f"the account was merged into {customer.merged_into.id}; documents were made for it before",
            "move its contracts to the remaining account by a change order",
            Facts(number=customer.name),
        )
    if customer.deleted:
        raise Parked(
            "account_deleted",
            "the account was deleted while documents of it are needed",
            "restore it in the CRM, then `tieout exceptions retry`",
            Facts(number=customer.name),
        )
    standing = {(parse_source(document.source), document.connection) for document in run.documents.values()}
    for source, at in sorted(standing | wanted, key=str):
        await _make(run, customer, source, at)
    # From here on the CRM's sweep tells of every change of this account.
    await run.assign(ref, "status", {"status": "synced"}, optional=True)


def parse_source(text: str) -> Ref:
    """The source reference of a document row."""
    connection, kind, id_ = text.split("|", 2)
    return Ref(connection=connection, kind=kind, id=id_)


async def _make(run: Run, customer: Customer, source: Ref, at: str) -> None:
    """One customer at one connection: `source` is the account, at an ERP with `#` and the legal entity."""
    entity = _entity_of(run, source, at)
    write = customer_of(customer, source, entity, erp=at == entity.erp)
    facts = Facts(entity=entity.code, number=customer.name)
    made = run.standing(at, "customer.create", source)
    if made is None:
        await run.create(at, "customer.create", write, source=source, facts=facts)
        return
    receipt = await run.settled(made, facts)
    target = Ref(connection=at, kind="customer", id=receipt.external_id)
    if encode(run.frozen_write(made)) != encode(write) or run.assigned(target, "customer"):
        fields = {"name": write.name, "email": write.email}
        await run.assign(target, "customer", dict(fields), optional=True)


def _entity_of(run: Run, source: Ref, at: str) -> LegalEntity:
    _, _, code = source.id.partition("#")
    return run.masterdata.legal_entity(code) if code else run.masterdata.entity_of_billing(at)


def customer_of(customer: Customer, source: Ref, entity: LegalEntity, *, erp: bool) -> CustomerWrite:
    """The request for a customer at billing or at the ERP of a legal entity."""
    # Terms of a customer are a default only: each invoice carries its own.
    terms = ""
    return CustomerWrite(
        source=source,
        name=customer.name,
        email=customer.invoice_email,
        currencies=entity.currencies if erp else (),
        billing_address=customer.billing_address,
        shipping_address=customer.shipping_address,
        tax_ids=customer.tax_ids,
        subsidiary=entity.subsidiary if erp else "",
        terms=terms,
        trace="",
    )
