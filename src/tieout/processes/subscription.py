"""The billing request of an order: asked whether it can be made before the deal is accepted, and made afterwards."""

from __future__ import annotations

from datetime import datetime, time
from decimal import Decimal
from zoneinfo import ZoneInfo

from tieout.canonical.money import exponent
from tieout.canonical.order import Order, OrderLine, add_months
from tieout.canonical.party import LegalEntity
from tieout.canonical.write import SubscriptionWrite, SubscriptionWriteLine
from tieout.engine.run import Run

_UTC = ZoneInfo("UTC")


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
