"""An accepted order becomes a subscription at the billing connection of its legal entity."""

from __future__ import annotations

import msgspec

from tieout.canonical.ids import Ref
from tieout.canonical.order import Order
from tieout.canonical.party import LegalEntity
from tieout.connectors.contract import Catalogue
from tieout.engine.keys import need_key, trace_of
from tieout.engine.process import process
from tieout.engine.run import Run
from tieout.engine.stops import Facts, Ignored, Parked
from tieout.processes.close_won import CreditCopy, contracted_minor
from tieout.processes.routes import erp_customer
from tieout.processes.subscription import subscription_of


@process("order")
async def activate(run: Run, ref: Ref) -> None:
    """Make the customer and the subscription, then show both on the deal."""
    opportunity = msgspec.structs.replace(ref, kind="opportunity")
    order = await run.record("order", str(opportunity), Order)
    if order is None:
        raise Ignored("the order was not accepted")
    run.trace = trace_of(opportunity)
    entity = run.masterdata.legal_entity(order.legal_entity)
    run.decided(entity, entity.billing)
    customer = await run.need("customer", order.account, at=entity.billing, producer=order.account)
    await run.hold(f"customer|{order.account}", f"contract|{opportunity}")
    if run.standing(entity.billing, "subscription.create", opportunity) is None:
        await _no_credit_hold(run, order, entity)
    receipt = await run.create(
        entity.billing,
        "subscription.create",
        subscription_of(run, order, entity, customer),
        source=opportunity,
        facts=_facts(order, entity),
    )
    status = {"status": "active", "subscription": receipt.external_id}
    await run.assign(opportunity, "status", status)


async def _no_credit_hold(run: Run, order: Order, entity: LegalEntity) -> None:
    """The ERP's credit hold, live; a customer that the ERP does not know has none."""
    source = erp_customer(order.account, entity)
    known = await run.met(need_key("customer", source, entity.erp))
    api = run.connection(entity.erp).api
    if known is None or not isinstance(api, Catalogue):
        return
    hold = await run.asked_of(api.credit_hold(known))
    run.note(run.save("credit_hold", f"{order.account}#{entity.code}", CreditCopy(hold=hold)))
    if hold:
        raise Parked(
            "credit_hold",
            f"the customer is on credit hold at {entity.erp}",
            "have the hold lifted there, then `tieout exceptions retry`",
            _facts(order, entity),
        )


def _facts(order: Order, entity: LegalEntity) -> Facts:
    amount_minor = contracted_minor(order)
    return Facts(amount_minor=amount_minor, currency=order.currency, entity=entity.code, number=order.name)
