"""Usage: reports to meters, and what is sold at a metered price."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import msgspec

from tieout.canonical.outcome import Confirmed, Receipt, Rejected, SendOutcome
from tieout.canonical.write import SubscriptionWrite, UsageWrite
from tieout.connectors.contract import UsedLine
from tieout.connectors.stripe.bodies import INTERVALS, METERED, Unsendable, product_id
from tieout.connectors.stripe.client import Client, path
from tieout.connectors.stripe.cycle import Form, seconds
from tieout.connectors.stripe.mapping import moment
from tieout.connectors.stripe.wire import Line, Thing

OPERATION = "usage.report"
EVENTS = "/v1/billing/meter_events"


class PayloadKey(msgspec.Struct, frozen=True):
    """Where in an event's payload a meter looks for something."""

    event_payload_key: str = ""


class Meter(Thing, kw_only=True):
    """A meter, and under which keys it wants the customer and the value of an event."""

    event_name: str
    customer_mapping: PayloadKey = PayloadKey()
    value_settings: PayloadKey = PayloadKey()

    @property
    def usual(self) -> bool:
        """Whether these are the vendor's defaults, which we write."""
        asked = (self.customer_mapping.event_payload_key, self.value_settings.event_payload_key)
        return asked == ("stripe_customer_id", "value")


class Recurs(msgspec.Struct):
    """For which period a price is, and which meter counts it."""

    interval: str = ""
    interval_count: int = 1
    usage_type: str = "licensed"
    meter: str | None = None


class ListPrice(Thing, kw_only=True):
    """A price of the catalogue."""

    recurring: Recurs | None = None

    @property
    def period(self) -> tuple[str, int]:
        """Interval and count of what is metered; empty for every other price."""
        given = self.recurring
        return (given.interval, given.interval_count) if given and given.usage_type == METERED else ("", 0)


class Summary(Thing, kw_only=True):
    """What a customer used in a span of time, as a meter aggregates it."""

    aggregated_value: Decimal


async def meters(client: Client) -> frozenset[str]:
    """Event names of the active meters that take the payload that we write. Raises Failure."""
    query = [("status", "active")]
    found = await client.every(Meter, "/v1/billing/meters", query, operation="meter.list")
    return frozenset(meter.event_name for meter in found if meter.usual)


def usage_body(write: UsageWrite) -> Form:
    """POST /v1/billing/meter_events. Raises Unsendable. Whether the moment is still taken, Stripe says itself: a
    customer on a test clock has another time than we."""
    if write.quantity < 0:
        raise Unsendable(
            "value", f"a quantity of {write.quantity}; usage that was reported by mistake is cancelled there"
        )
    return [
        ("event_name", write.meter),
        ("identifier", write.source.id),
        ("timestamp", str(seconds(write.at))),
        ("payload[stripe_customer_id]", write.customer),
        ("payload[value]", f"{write.quantity:f}"),
    ]


def counted(outcome: SendOutcome, write: UsageWrite) -> SendOutcome:
    """A report that is refused because its identifier stands already counts, and counts once."""
    known = (
        isinstance(outcome, Rejected)
        and "already exists" in outcome.message
        and write.source.id in outcome.message
    )
    return Confirmed(receipt=Receipt(external_id=write.source.id), replayed=True) if known else outcome


async def metered_prices(client: Client, write: SubscriptionWrite) -> dict[str, str]:
    """Product -> price of every line that is metered: the one metered price that the catalogue has of it, in this
    currency and for this period. Raises Unsendable, Failure."""
    wanted = INTERVALS.get(write.frequency)
    found = {}
    for line in write.lines:
        if line.charge != METERED:
            continue
        product = product_id(line.product, client.config)
        query = [("product", product), ("active", "true"), ("currency", write.currency.lower())]
        listed = await client.every(ListPrice, "/v1/prices", query, operation="price.list")
        prices = [price.id for price in listed if price.period == wanted]
        if len(prices) != 1:
            raise Unsendable(
                "metered_price",
                f"line {line.contract_line}: {product} has {len(prices)} active metered prices in {write.currency} per "
                f"{write.frequency}, where one is wanted",
            )
        found[product] = prices[0]
    return found


async def used(client: Client, customer: str, lines: Sequence[Line]) -> tuple[UsedLine, ...]:
    """Of an invoice's lines those that bill usage, each with what its meter holds. A sum is asked for in whole minutes,
    as the vendor wants it. Raises Failure."""
    found = []
    by_price: dict[str, ListPrice] = {}
    by_meter: dict[str, Meter] = {}
    for line in lines:
        details, period = line.pricing.price_details if line.pricing else None, line.period
        if details is None or not details.price or period is None:
            continue
        if details.price not in by_price:
            where = path("prices", details.price)
            by_price[details.price] = await client.get(ListPrice, where, operation="price.get")
        recurs = by_price[details.price].recurring
        if recurs is None or not recurs.meter:
            continue
        where = path("billing", "meters", recurs.meter)
        if recurs.meter not in by_meter:
            by_meter[recurs.meter] = await client.get(Meter, where, operation="meter.get")
        start, end = period.start // 60 * 60, period.end // 60 * 60
        query = [("customer", customer), ("start_time", str(start)), ("end_time", str(end))]
        sums = await client.every(Summary, f"{where}/event_summaries", query, operation="meter.summaries")
        billed = line.quantity_decimal if line.quantity_decimal is not None else Decimal(line.quantity or 0)
        found.append(
            UsedLine(
                line=line.id,
                customer=customer,
                meter=by_meter[recurs.meter].event_name,
                start=moment(start),
                end=moment(end),
                billed=billed,
                metered=sum((one.aggregated_value for one in sums), Decimal(0)),
            )
        )
    return tuple(found)
