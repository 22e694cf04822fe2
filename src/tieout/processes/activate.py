"""An accepted order becomes a subscription at the billing connection of its legal entity."""

from __future__ import annotations

from datetime import datetime, time
from decimal import Decimal
from zoneinfo import ZoneInfo

import msgspec

from tieout.canonical.ids import Ref
from tieout.canonical.money import exponent
from tieout.canonical.order import Order, OrderLine, add_months
from tieout.canonical.party import LegalEntity
from tieout.canonical.write import SubscriptionWrite, SubscriptionWriteLine
from tieout.connectors.contract import Catalogue
from tieout.engine.keys import need_key, trace_of
from tieout.engine.process import process
from tieout.engine.run import Run
from tieout.engine.stops import Facts, Ignored, Parked
from tieout.processes.close_won import CreditCopy, contracted_minor
from tieout.processes.routes import erp_customer


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


def subscription_of(run: Run, order: Order, entity: LegalEntity, customer: str) -> SubscriptionWrite:
    """The billing request of an accepted order."""
    if order.start is None:
        raise ValueError(f"order {order.ref} was accepted without a start")
    zone = ZoneInfo(entity.time_zone)
    # A term without a last day ends as many months after the start.
    end = order.end or (add_months(order.start, order.term_months) if order.term_months else None)
    terms = run.rule(run.masterdata.terms, order.payment_terms, order.start) if order.payment_terms else None
    # Past and future are told apart by the deal's own close date, so that a later re-run decides the same. The day
    # after is the future, or the subscription would be asked for before it may start; a start that has passed
    # meanwhile is taken for a future one all the same.
    return SubscriptionWrite(
        source=order.ref,
        account=order.account.id,
        customer=customer,
        currency=order.currency,
        lines=tuple(_line(run, order, entity, line) for line in order.lines),
        starts_at=datetime.combine(order.start, time(), zone).astimezone(_UTC),
        ends_at=datetime.combine(end, time(), zone).astimezone(_UTC) if end is not None else None,
        future=order.close_date is not None and order.start > order.close_date,
        frequency=order.frequency,
        as_of=order.close_date,
        days_until_due=terms.days if terms is not None else 30,
        po_number=order.po_number,
        trace=run.trace,
    )


_UTC = ZoneInfo("UTC")


def _line(run: Run, order: Order, entity: LegalEntity, line: OrderLine) -> SubscriptionWriteLine:
    start = order.start
    product = run.rule(run.masterdata.billing_product, line.product, entity.billing, start)
    minor = line.unit_price * (100 - line.discount_percent) / 100
    return SubscriptionWriteLine(
        contract_line=line.id,
        product=product,
        description=line.description,
        quantity=line.quantity,
        unit_minor=minor * Decimal(10) ** exponent(order.currency),
        charge=line.charge,
    )
