"""Canonical writes as Stripe's forms: pure. Every body is a list of (field, value); the order is the same each time,
because Stripe refuses the same idempotency key with other parameters."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType

import msgspec

from tieout.canonical.outcome import Rejected
from tieout.canonical.party import Address
from tieout.canonical.write import CustomerWrite, SubscriptionWrite, SubscriptionWriteLine
from tieout.connectors.contract import Keys
from tieout.connectors.stripe.config import StripeConfig
from tieout.connectors.stripe.cycle import Form, anchor, day_moment, schedule_moment, seconds
from tieout.connectors.stripe.mapping import chunk_key, plain
from tieout.connectors.stripe.money import stripe_units
from tieout.connectors.stripe.tax_ids import TAX_ID_TYPES

MOST_ITEMS = 20
METERED = "metered"
# Stands for the price of a metered product where only the form of a request matters: it is looked up before it is sent.
SOME_PRICE = "price"
NO_PRICES: Mapping[str, str] = MappingProxyType({})
VALUE_LENGTH = 500
FIELD_LENGTH = 140
INTERVALS = {"month": ("month", 1), "quarter": ("month", 3), "year": ("year", 1)}


class Unsendable(Exception):
    """The write cannot be said to Stripe; `outcome` tells why and what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.outcome = Rejected(code=code, message=message)


def metadata(prefix: str, values: dict[str, str]) -> Form:
    """`prefix[key]=value` for every value there is."""
    return [(f"{prefix}[{key}]", value[:VALUE_LENGTH]) for key, value in values.items() if value]


def address(prefix: str, given: Address) -> Form:
    """An address; fields that are empty are left out."""
    fields = (
        ("line1", given.line1),
        ("line2", given.line2),
        ("city", given.city),
        ("state", given.region),
        ("postal_code", given.postal_code),
        ("country", given.country),
    )
    return [(f"{prefix}[{field}]", value) for field, value in fields if value]


def customer_body(write: CustomerWrite, keys: Keys, config: StripeConfig) -> Form:
    """POST /v1/customers. Tax id types that Stripe does not know go into metadata, so that they are not lost."""
    body: Form = [("name", write.name)]
    if write.email:
        body.append(("email", write.email))
    body += address("address", write.billing_address)
    shipping = address("shipping[address]", write.shipping_address)
    if shipping:
        body += [("shipping[name]", write.name), *shipping]
    known = [tax for tax in write.tax_ids if tax.scheme in TAX_ID_TYPES]
    for place, tax in enumerate(known):
        body += [(f"tax_id_data[{place}][type]", tax.scheme), (f"tax_id_data[{place}][value]", tax.number)]
    names = config.metadata
    values = {
        names.document: keys.document,
        names.account: write.source.id,
        names.trace: write.trace or keys.trace,
    }
    unknown = [tax for tax in write.tax_ids if tax.scheme not in TAX_ID_TYPES]
    for place, tax in enumerate(unknown, start=1):
        values[f"tax_id_{place}"] = f"{tax.scheme} {tax.number}".strip()
    return body + metadata("metadata", values)


def subscription_body(
    write: SubscriptionWrite, keys: Keys, config: StripeConfig, prices: Mapping[str, str] = NO_PRICES
) -> Form:
    """POST /v1/subscriptions: starts now, or started already. `prices`: product -> price of what is metered. Raises
    Unsendable."""
    recurring, once = split(write)
    body: Form = [("customer", write.customer), ("currency", write.currency.lower())]
    body += items("items", recurring, write, config, prices)
    body += items("add_invoice_items", once, write, config, prices)
    body += billing(config)
    body += [
        ("days_until_due", str(write.days_until_due)),
        ("billing_mode[type]", "flexible"),
        ("backdate_start_date", str(seconds(day_moment(write.starts_at, config)))),
    ]
    body += anchor(write, config)
    if write.ends_at is not None:
        body.append(("cancel_at", str(seconds(day_moment(write.ends_at, config)))))
    body += po_number("invoice_settings", write)
    values = {config.metadata.document: keys.document, **contract_facts(write, recurring, keys, config)}
    return body + metadata("metadata", values)


def schedule_body(
    write: SubscriptionWrite, keys: Keys, config: StripeConfig, prices: Mapping[str, str] = NO_PRICES
) -> Form:
    """POST /v1/subscription_schedules: one phase, from the start to the end of the term; a start that has passed is
    billed from then on. Raises Unsendable.

    The phase's metadata becomes the subscription's; it carries our key under the name `origin`, so that the key
    itself names one document only, the schedule."""
    recurring, once = split(write)
    phase = "phases[0]"
    body: Form = [
        ("customer", write.customer),
        ("start_date", str(seconds(schedule_moment(write.starts_at, write, config)))),
        ("end_behavior", "cancel" if write.ends_at is not None else "release"),
        ("billing_mode[type]", "flexible"),
        (f"{phase}[currency]", write.currency.lower()),
        (f"{phase}[billing_cycle_anchor]", "phase_start"),
    ]
    if write.ends_at is not None:
        end = schedule_moment(write.ends_at, write, config)
        body.append((f"{phase}[end_date]", str(seconds(end))))
    else:
        interval, count = INTERVALS[write.frequency]
        body += [
            (f"{phase}[duration][interval]", interval),
            (f"{phase}[duration][interval_count]", str(count)),
        ]
    body += items(f"{phase}[items]", recurring, write, config, prices)
    body += items(f"{phase}[add_invoice_items]", once, write, config, prices)
    body += [(f"{phase}{field(name)}", value) for name, value in billing(config)]
    body.append((f"{phase}[invoice_settings][days_until_due]", str(write.days_until_due)))
    body += po_number(f"{phase}[invoice_settings]", write)
    facts = contract_facts(write, recurring, keys, config)
    body += metadata(f"{phase}[metadata]", {config.metadata.origin: keys.document, **facts})
    return body + metadata("metadata", {config.metadata.document: keys.document, **facts})


def field(name: str) -> str:
    """`automatic_tax[enabled]` as a field of something else: `[automatic_tax][enabled]`."""
    head, bracket, rest = name.partition("[")
    return f"[{head}]{bracket}{rest}"


def split(write: SubscriptionWrite) -> tuple[list[SubscriptionWriteLine], list[SubscriptionWriteLine]]:
    """Lines that recur, metered ones among them, and one-time lines. Raises Unsendable when Stripe cannot hold them in
    one subscription."""
    recurring = [line for line in write.lines if line.charge in ("recurring", METERED)]
    once = [line for line in write.lines if line.charge not in ("recurring", METERED)]
    if not recurring:
        raise Unsendable(
            "no_recurring_line", "a subscription needs a recurring line; invoice one-time lines by hand"
        )
    if write.frequency not in INTERVALS:
        raise Unsendable(
            "frequency", f"billing frequency {write.frequency!r}; month, quarter and year are known"
        )
    for name, lines in (("recurring", recurring), ("one-time", once)):
        if len(lines) > MOST_ITEMS:
            raise Unsendable(
                "too_many_lines",
                f"{len(lines)} {name} lines, but a subscription holds {MOST_ITEMS}; split the order into "
                f"several of at most {MOST_ITEMS} lines with the same start, end and billing frequency",
            )
    for line in write.lines:
        if line.quantity != line.quantity.to_integral_value() or line.quantity < 0:
            raise Unsendable(
                "quantity",
                f"line {line.contract_line}: quantity {line.quantity}, but only whole numbers are taken; "
                "put the fraction into the price",
            )
    return recurring, once


def items(
    name: str,
    lines: list[SubscriptionWriteLine],
    write: SubscriptionWrite,
    config: StripeConfig,
    prices: Mapping[str, str],
) -> Form:
    """Lines with their negotiated prices, made inline: a price object of the catalogue would be the list price. What is
    metered has the catalogue's, because no inline price names a meter, and no quantity."""
    body: Form = []
    interval, count = INTERVALS[write.frequency]
    currency = write.currency.lower()
    for place, line in enumerate(lines):
        item = f"{name}[{place}]"
        price = f"{item}[price_data]"
        if line.charge == METERED:
            body.append((f"{item}[price]", prices.get(product_id(line.product, config), SOME_PRICE)))
            body += metadata(f"{item}[metadata]", {config.metadata.line: line.contract_line})
            continue
        body += [
            (f"{price}[currency]", currency),
            (f"{price}[product]", product_id(line.product, config)),
            (f"{price}[unit_amount_decimal]", unit_amount(line, currency)),
            (f"{price}[tax_behavior]", "exclusive"),
            (f"{item}[quantity]", f"{line.quantity.quantize(Decimal(1)):f}"),
        ]
        if line.charge == "recurring":
            body += [
                (f"{price}[recurring][interval]", interval),
                (f"{price}[recurring][interval_count]", str(count)),
            ]
        body += metadata(f"{item}[metadata]", {config.metadata.line: line.contract_line})
    return body


def product_id(product: str, config: StripeConfig) -> str:
    """Our product code as Stripe's product id."""
    prefix = config.product_prefix
    return product if product.startswith(prefix) else prefix + product


def unit_amount(line: SubscriptionWriteLine, currency: str) -> str:
    """The unit price in Stripe's smallest unit, in full; more than 12 decimals are refused. Raises Unsendable."""
    unit = plain(stripe_units(line.unit_minor, currency))
    if len(unit.partition(".")[2]) > 12:
        raise Unsendable("unit_price", f"line {line.contract_line}: a unit price of more than 12 decimals")
    return unit


def billing(config: StripeConfig) -> Form:
    """How it is collected and taxed."""
    body: Form = [("collection_method", "send_invoice")]
    if config.automatic_tax:
        body.append(("automatic_tax[enabled]", "true"))
    return body


def po_number(prefix: str, write: SubscriptionWrite) -> Form:
    """The customer's order number, printed on every invoice."""
    if not write.po_number:
        return []
    fields = f"{prefix}[custom_fields][0]"
    return [(f"{fields}[name]", "PO number"), (f"{fields}[value]", write.po_number[:FIELD_LENGTH])]


def contract_facts(
    write: SubscriptionWrite, recurring: list[SubscriptionWriteLine], keys: Keys, config: StripeConfig
) -> dict[str, str]:
    """Whose contract it is. The recurring lines stand here once more because invoice lines show this metadata, and
    never that of the item: `crm_lines` holds [[product, unit amount, contract line], ...] in pieces of 500."""
    names = config.metadata
    facts = {
        names.opportunity: write.source.id,
        names.account: write.account,
        names.trace: write.trace or keys.trace,
        names.po_number: write.po_number,
    }
    currency = write.currency.lower()
    piece: list[tuple[str, str, str]] = []
    ordinal = 1
    for line in recurring:
        entry = (product_id(line.product, config), unit_amount(line, currency), line.contract_line)
        if piece and len(msgspec.json.encode([*piece, entry])) > VALUE_LENGTH:
            piece, ordinal = [], ordinal + 1
        piece.append(entry)
        facts[chunk_key(config, ordinal)] = msgspec.json.encode(piece).decode()
    return facts
