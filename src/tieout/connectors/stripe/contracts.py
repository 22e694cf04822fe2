"""Subscriptions and schedules: pure mapping."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from tieout.canonical.ids import Ref
from tieout.canonical.order import Subscription, SubscriptionLine, contracted_minor, period_minor
from tieout.connectors.contract import ListedLine
from tieout.connectors.stripe import wire
from tieout.connectors.stripe.config import StripeConfig
from tieout.connectors.stripe.mapping import moment, ours
from tieout.connectors.stripe.money import exact_minor

SUBSCRIPTION_STATUS = {
    "active": "active",
    "trialing": "active",
    "past_due": "active",
    "unpaid": "active",
    "paused": "paused",
    "canceled": "cancelled",
    "incomplete_expired": "cancelled",
    "incomplete": "pending",
}
# A schedule with a subscription has the subscription's status; these are of one that has none.
SCHEDULE_STATUS = {"not_started": "future", "canceled": "cancelled", "completed": "cancelled"}
FREQUENCIES = {("month", 1): "month", ("month", 3): "quarter", ("year", 1): "year", ("month", 12): "year"}


def frequency_of(price: wire.Price) -> str:
    """`month`, `quarter` or `year`; another interval in Stripe's words (`6 month`); `once` without one."""
    recurring = price.recurring
    if recurring is None:
        return "once"
    found = FREQUENCIES.get((recurring.interval, recurring.interval_count))
    return found or f"{recurring.interval_count} {recurring.interval}"


def tiered(price: wire.Price, quantity: Decimal) -> Decimal:
    """What a quantity comes to by a price's tiers, in the vendor's smallest unit. Volume: the tier that the quantity
    falls into prices all of it; graduated: each tier prices the part that lies in it."""
    total, below = Decimal(0), Decimal(0)
    for tier in price.tiers or ():
        unit, flat = tier.unit_amount_decimal or Decimal(0), tier.flat_amount_decimal or Decimal(0)
        last = tier.up_to is None or quantity <= tier.up_to
        if price.tiers_mode == "volume":
            if last:
                return unit * quantity + flat
            continue
        reached = quantity if tier.up_to is None else min(quantity, Decimal(tier.up_to))
        total += unit * (reached - below) + flat
        if last:
            break
        below = reached
    return total


def unit_of(price: wire.Price, quantity: Decimal) -> Decimal:
    """The unit price in minor units, decimals included; with tiers, the quantity's average."""
    if price.billing_scheme == "tiered" and quantity:
        return exact_minor(tiered(price, quantity) / quantity, price.currency)
    unit = (
        price.unit_amount_decimal
        if price.unit_amount_decimal is not None
        else Decimal(price.unit_amount or 0)
    )
    return exact_minor(unit, price.currency)


def day(seconds: int, config: StripeConfig) -> date:
    """The calendar day of a moment in the account's time zone."""
    return local_day(moment(seconds), config)


def end_day(seconds: int, config: StripeConfig) -> date:
    """The day before which a contract ends. An end may stand an hour before midnight: summer time (see bodies)."""
    return day(seconds + 2 * 3600, config)


def local_day(at: datetime, config: StripeConfig) -> date:
    """The calendar day of an aware moment in the account's time zone."""
    return at.astimezone(ZoneInfo(config.time_zone)).date()


def map_item(item: wire.SubscriptionItem | wire.PhaseItem, id: str, config: StripeConfig) -> SubscriptionLine:
    """One line of a subscription or of a phase, whose price was asked for whole."""
    price = item.price if isinstance(item.price, wire.Price) else wire.Price(id=item.price)
    metered = price.recurring is not None and price.recurring.usage_type == "metered"
    # What will be used is not known before: nothing of it is contracted.
    quantity = Decimal(0) if metered else Decimal(1 if item.quantity is None else item.quantity)
    return SubscriptionLine(
        id=id,
        contract_line=(item.metadata or {}).get(config.metadata.line, ""),
        product=ours(config.product_prefix, price.product),
        quantity=quantity,
        unit_minor=unit_of(price, quantity),
        charge="metered" if metered else "one_time" if price.recurring is None else "recurring",
    )


def once_line(line: wire.Line, contract_line: str, currency: str, product_prefix: str) -> SubscriptionLine:
    """A one-time line as an invoice charged it, with its price."""
    pricing = line.pricing
    quantity = Decimal(1 if line.quantity is None else line.quantity)
    unit = pricing.unit_amount_decimal if pricing else None
    return SubscriptionLine(
        id=line.id,
        contract_line=contract_line,
        product=ours(
            product_prefix, pricing.price_details.product if pricing and pricing.price_details else None
        ),
        quantity=quantity,
        unit_minor=exact_minor(Decimal(unit) if unit else Decimal(line.amount) / (quantity or 1), currency),
        charge="one_time",
    )


def map_subscription(
    name: str, id: str, found: wire.Subscription, items: list[wire.SubscriptionItem], config: StripeConfig
) -> Subscription:
    """A subscription, under the id it is known by (its schedule's where that was asked for)."""
    metadata, keys = found.metadata or {}, config.metadata
    end = found.ended_at or found.cancel_at
    return Subscription(
        ref=Ref(connection=name, kind="subscription", id=id),
        customer=Ref(connection=name, kind="customer", id=found.customer),
        currency=found.currency.upper(),
        status=SUBSCRIPTION_STATUS.get(found.status, "pending"),
        start=day(found.start_date, config),
        end=end_day(end, config) if end is not None else None,
        frequency=frequency_of(items[0].price) if items else "",
        lines=tuple(map_item(item, item.id, config) for item in items),
        document_key=metadata.get(keys.document) or metadata.get(keys.origin) or "",
        opportunity=metadata.get(keys.opportunity, ""),
    )


def map_schedule(name: str, schedule: wire.Schedule, config: StripeConfig) -> Subscription:
    """A schedule that has not become a subscription. ValueError when it has no phase."""
    if not schedule.phases:
        raise ValueError(f"{schedule.id}: a schedule without a phase")
    first, last = schedule.phases[0], schedule.phases[-1]
    metadata, keys = schedule.metadata or {}, config.metadata
    recurring = [item.price for item in first.items if isinstance(item.price, wire.Price)]
    lines = [*first.items, *first.add_invoice_items]
    return Subscription(
        ref=Ref(connection=name, kind="subscription", id=schedule.id),
        customer=Ref(connection=name, kind="customer", id=schedule.customer),
        currency=first.currency.upper(),
        status=SCHEDULE_STATUS.get(schedule.status, "pending"),
        start=day(first.start_date, config),
        end=schedule_end(schedule, last, config),
        frequency=frequency_of(recurring[0]) if recurring else "",
        lines=tuple(map_item(item, f"{schedule.id}/{place}", config) for place, item in enumerate(lines)),
        document_key=metadata.get(keys.document, ""),
        opportunity=metadata.get(keys.opportunity, ""),
    )


def schedule_end(schedule: wire.Schedule, last: wire.Phase, config: StripeConfig) -> date | None:
    """The day the contract ends (exclusive); None when the subscription goes on after the schedule."""
    ends = schedule.end_behavior == "cancel" and last.end_date is not None
    return end_day(last.end_date, config) if ends and last.end_date is not None else None


def listed_line(
    found: Subscription, line: SubscriptionLine, config: StripeConfig, frequency: str
) -> ListedLine:
    """One contract line as billing holds it."""
    frequency = "once" if line.charge == "one_time" else frequency
    return ListedLine(
        contract=found.opportunity,
        line=line.contract_line,
        entity=config.entity,
        currency=found.currency,
        product=line.product,
        quantity=line.quantity,
        unit_minor=line.unit_minor,
        frequency=frequency,
        start=found.start,
        end=found.end,
        contracted_minor=contracted_minor(
            period_minor(line.quantity, line.unit_minor),
            frequency,
            start=found.start,
            end=found.end,
            charge=line.charge,
        ),
        status=found.status,
    )
