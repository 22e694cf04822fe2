"""Where a document goes: the account behind a billing customer, and its customer at the ERP of a legal entity."""

from __future__ import annotations

import msgspec

from tieout.canonical.ids import Ref
from tieout.canonical.party import LegalEntity
from tieout.engine.keys import need_key
from tieout.engine.run import Run
from tieout.engine.stops import Need, NotYet


def erp_customer(account: Ref, entity: LegalEntity) -> Ref:
    """The customer of one legal entity at its ERP: one per account and entity, because books belong to entities."""
    return msgspec.structs.replace(account, id=f"{account.id}#{entity.code}")


async def account_of(run: Run, customer: Ref) -> Ref:
    """The CRM account behind a billing customer; one that we did not make is waited for, by name, until a deadline."""
    account = await run.known("customer", customer)
    if account is None:
        raise NotYet(
            Need(key=need_key("exists", customer, customer.connection), what=f"the account behind {customer}")
        )
    return account


async def join_deal(run: Run, *documents: Ref) -> None:
    """Take over the trace of the deal behind the first of these documents that the ERP has."""
    for document in documents:
        trace = await run.trace_of_document(document)
        if trace:
            run.trace = trace
            return


async def customer_at_erp(run: Run, customer: Ref, entity: LegalEntity) -> str:
    """The ERP's id of a billing customer; made by its account's process when it is not there yet."""
    account = await account_of(run, customer)
    return await run.need("customer", erp_customer(account, entity), at=entity.erp, producer=account)
