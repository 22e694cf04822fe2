"""Stripe's documents to canonical ones: pure, exhaustive in statuses; what is unknown is `pending`, never a success."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from tieout.canonical.ids import Ref
from tieout.canonical.invoice import CreditMemo, Invoice, InvoiceLine, LineTax
from tieout.canonical.outcome import Failure, Rejected, Transient
from tieout.canonical.party import Address
from tieout.connectors.stripe import wire
from tieout.connectors.stripe.config import StripeConfig
from tieout.connectors.stripe.money import minor

# Tax rates by id, as (jurisdiction, rate in percent).
Rates = Mapping[str, tuple[str, Decimal]]
NO_RATE = ("", Decimal(0))

INVOICE_STATUS = {
    "draft": "draft",
    "open": "open",
    "paid": "paid",
    "uncollectible": "written_off",
    "void": "voided",
}
CREDIT_STATUS = {"issued": "issued", "void": "voided"}


def moment(seconds: int) -> datetime:
    """Seconds since 1970 as an aware moment."""
    return datetime.fromtimestamp(seconds, UTC)


def ours(prefix: str, product: str | None) -> str:
    """Stripe's product id as our product code."""
    return (product or "").removeprefix(prefix)


def map_tax_rate(rate: wire.TaxRate) -> tuple[str, Decimal]:
    """Jurisdiction key (`US-CA`, else the country) and the rate that applied, in percent."""
    place = Address(country=rate.country or "", region=rate.state or "")
    percent = rate.percentage if rate.effective_percentage is None else rate.effective_percentage
    return place.jurisdiction, percent


def rate_ids(taxes: Iterable[wire.Tax] | None) -> Iterator[str]:
    """The ids of the tax rates behind these taxes."""
    for tax in taxes or ():
        if tax.tax_rate_details is not None and tax.tax_rate_details.tax_rate:
            yield tax.tax_rate_details.tax_rate


def invoice_rate_ids(lines: Iterable[wire.Line | wire.CreditLine]) -> set[str]:
    """The ids of all tax rates of a document's lines."""
    return {found for line in lines for found in rate_ids(line.taxes)}


def map_taxes(
    taxes: list[wire.Tax] | None, currency: str, net_minor: int, rates: Rates, place: str
) -> tuple[LineTax, ...]:
    """Taxes of one line. `place` is the customer's jurisdiction, for a tax of nothing that names no rate."""
    found = []
    for tax in taxes or ():
        details = tax.tax_rate_details
        known = rates.get(details.tax_rate, NO_RATE) if details is not None and details.tax_rate else NO_RATE
        basis = net_minor if tax.taxable_amount is None else minor(tax.taxable_amount, currency)
        found.append(
            LineTax(
                jurisdiction=known[0] or place,
                rate_percent=known[1],
                basis_minor=basis,
                tax_minor=minor(tax.amount, currency),
                reason=tax.taxability_reason or "",
            )
        )
    return tuple(found)


def net_of(line: wire.Line | wire.CreditLine, currency: str) -> tuple[int, int]:
    """Net (after discounts and billing credits, without tax) and the discount, in minor units.

    A line's amount is before discounts and holds inclusive tax only."""
    taken = sum(part.amount for part in line.discount_amounts or ())
    # Billing credits stand here beside the discounts, which are in `discount_amounts` already.
    taken += sum(part.amount for part in line.pretax_credit_amounts or () if part.type != "discount")
    inclusive = sum(tax.amount for tax in line.taxes or () if tax.tax_behavior == "inclusive")
    return minor(line.amount - taken - inclusive, currency), minor(taken, currency)


def customer_place(invoice: wire.Invoice) -> str:
    """The customer's jurisdiction by the shipping address, else the billing address, as the invoice froze it."""
    shipping = invoice.customer_shipping.address if invoice.customer_shipping else None
    for address in (shipping, invoice.customer_address):
        if address is not None and address.country:
            return Address(country=address.country, region=address.state or "").jurisdiction
    return ""


def contract_lines(metadata: wire.Metadata, config: StripeConfig) -> dict[tuple[str, str], str]:
    """(product, unit amount) -> our contract line, as the subscription's metadata keeps it; (product, "") where the
    product stands on one line only. Invoice lines show the subscription's metadata, never the item's."""
    found: dict[tuple[str, str], str] = {}
    once: dict[str, str | None] = {}
    ordinal = 1
    while text := metadata.get(chunk_key(config, ordinal)):
        try:
            entries = msgspec.json.decode(text, type=list[tuple[str, str, str]])
        except msgspec.DecodeError:
            break  # someone edited it: the line goes without, nothing rests on it
        for product, unit, line in entries:
            found[product, unit] = line
            once[product] = None if product in once else line
        ordinal += 1
    found.update({(product, ""): line for product, line in once.items() if line})
    return found


def chunk_key(config: StripeConfig, ordinal: int) -> str:
    """`crm_lines`, `crm_lines_2`, ...: a metadata value holds 500 characters."""
    return config.metadata.lines if ordinal == 1 else f"{config.metadata.lines}_{ordinal}"


def map_line(
    line: wire.Line,
    currency: str,
    rates: Rates,
    place: str,
    lines: Mapping[tuple[str, str], str],
    config: StripeConfig,
) -> InvoiceLine:
    """One invoice line."""
    net, discount = net_of(line, currency)
    pricing, parent, period = line.pricing, line.parent, line.period
    product = pricing.price_details.product if pricing and pricing.price_details else None
    details = (parent.subscription_item_details or parent.invoice_item_details) if parent else None
    contract_line = (line.metadata or {}).get(config.metadata.line, "")
    if not contract_line and product:
        unit = plain(pricing.unit_amount_decimal) if pricing else ""
        contract_line = lines.get((product, unit)) or lines.get((product, "")) or ""
    quantity = line.quantity_decimal if line.quantity_decimal is not None else line.quantity
    return InvoiceLine(
        id=line.id,
        description=line.description or "",
        product=ours(config.product_prefix, product),
        quantity=None if quantity is None else Decimal(quantity),
        net_minor=net,
        discount_minor=discount,
        service_start=moment(period.start) if period and period.end > period.start else None,
        service_end=moment(period.end) if period and period.end > period.start else None,
        taxes=map_taxes(line.taxes, currency, net, rates, place),
        contract_line=contract_line,
        proration=details is not None and details.proration,
    )


def plain(text: str | Decimal | None) -> str:
    """A decimal in one way of writing only: 4500, 45.5; empty when there is none."""
    if text is None or text == "":
        return ""
    number = Decimal(text)
    return f"{number.quantize(Decimal(1)) if number == number.to_integral_value() else number.normalize():f}"


def map_shipping(
    id: str, cost: wire.ShippingCost | None, currency: str, place: str
) -> tuple[InvoiceLine, ...]:
    """Shipping as one more line of the document."""
    if cost is None or not cost.amount_total:
        return ()
    net, tax = minor(cost.amount_total - cost.amount_tax, currency), minor(cost.amount_tax, currency)
    taxes = LineTax(jurisdiction=place, rate_percent=Decimal(0), basis_minor=net, tax_minor=tax)
    return (
        InvoiceLine(
            id=f"{id}_shipping",
            description="Shipping",
            product="",
            quantity=None,
            net_minor=net,
            taxes=(taxes,) if tax else (),
        ),
    )


def check_totals(id: str, lines: tuple[InvoiceLine, ...], total_minor: int, currency: str) -> tuple[int, int]:
    """Net and tax, whose sum is the document's total; else Failure naming the difference."""
    net, tax = sum(line.net_minor for line in lines), sum(line.tax_minor for line in lines)
    if net + tax != total_minor:
        message = (
            f"{id}: lines {net} + tax {tax} = {net + tax}, but the document's total is {total_minor}: "
            f"a difference of {net + tax - total_minor} {currency} (minor units)"
        )
        raise Failure(Rejected(code="totals", message=message))
    return net, tax


def map_transitions(invoice: wire.Invoice) -> tuple[tuple[str, datetime], ...]:
    """What happened to it, oldest first. The invoice stands on the books from its issue date."""
    told = invoice.status_transitions
    issued = None if told.finalized_at is None else invoice.effective_at or told.finalized_at
    found = [
        (kind, moment(seconds))
        for kind, seconds in (
            ("finalised", issued),
            ("written_off", told.marked_uncollectible_at),
            ("paid", told.paid_at),
            ("voided", told.voided_at),
        )
        if seconds is not None
    ]
    # Nothing precedes the issue, not even when `effective_at` dates it later than what followed.
    return tuple(sorted(found, key=lambda pair: (pair[0] != "finalised", pair[1])))


def map_invoice(
    name: str, invoice: wire.Invoice, lines: list[wire.Line], rates: Rates, config: StripeConfig
) -> Invoice:
    """An invoice with all its lines. Raises Failure(Rejected) when lines and tax do not sum to its total."""
    currency, keys = invoice.currency, config.metadata
    snapshot = invoice.parent.subscription_details if invoice.parent else None
    metadata = {**((snapshot.metadata if snapshot else None) or {}), **(invoice.metadata or {})}
    place = customer_place(invoice)
    known = contract_lines(metadata, config)
    mapped = tuple(map_line(line, currency, rates, place, known, config) for line in lines)
    mapped += map_shipping(invoice.id, invoice.shipping_cost, currency, place)
    total = minor(invoice.total, currency)
    net, tax = check_totals(invoice.id, mapped, total, currency.upper())
    transitions = map_transitions(invoice)
    subscription = snapshot.subscription if snapshot else None
    return Invoice(
        ref=Ref(connection=name, kind="invoice", id=invoice.id),
        number=invoice.number or "",
        customer=Ref(connection=name, kind="customer", id=invoice.customer or ""),
        subscription=Ref(connection=name, kind="subscription", id=subscription) if subscription else None,
        currency=currency.upper(),
        status=INVOICE_STATUS.get(invoice.status or "", "pending"),
        issued_at=transitions[0][1] if transitions and transitions[0][0] == "finalised" else None,
        due_at=moment(invoice.due_date) if invoice.due_date is not None else None,
        lines=mapped,
        net_minor=net,
        tax_minor=tax,
        total_minor=total,
        transitions=transitions,
        opportunity=metadata.get(keys.opportunity, ""),
        account=metadata.get(keys.account, ""),
        trace=metadata.get(keys.trace, ""),
        po_number=metadata.get(keys.po_number, ""),
        paid_minor=minor(invoice.amount_paid, currency),
        credited_minor=minor(invoice.pre_payment_credit_notes_amount, currency),
        balance_minor=balance_used(invoice),
    )


def balance_used(invoice: wire.Invoice) -> int:
    """What of the customer's credit settled it when it was finalised, in minor units; negative where it collects what
    the customer owed. A negative invoice uses none: it makes credit."""
    if invoice.ending_balance is None or invoice.total < 0:
        return 0
    return minor(invoice.ending_balance - invoice.starting_balance, invoice.currency)


def map_credit_line(
    line: wire.CreditLine, currency: str, rates: Rates, place: str, corrected: Mapping[str, InvoiceLine]
) -> InvoiceLine:
    """One line of a credit note; product, service period and contract line are those of the line it corrects."""
    net, discount = net_of(line, currency)
    whole = corrected.get(line.invoice_line_item or "")
    return InvoiceLine(
        id=line.id,
        description=line.description or (whole.description if whole else ""),
        product=whole.product if whole else "",
        quantity=None if line.quantity is None else Decimal(line.quantity),
        net_minor=net,
        discount_minor=discount,
        service_start=whole.service_start if whole else None,
        service_end=whole.service_end if whole else None,
        taxes=map_taxes(line.taxes, currency, net, rates, place),
        contract_line=whole.contract_line if whole else "",
        proration=whole.proration if whole else False,
        invoice_line=line.invoice_line_item or "",
    )


def refund_id(part: wire.CreditRefund) -> str:
    """The id of the refund behind a part of a credit note: Stripe's own, or `record:group` for money that went back
    outside Stripe, of which there is no object."""
    if part.refund:
        return part.refund
    record = part.payment_record_refund
    return f"{record.payment_record}:{record.refund_group}" if record else ""


def map_credit_memo(
    name: str,
    note: wire.CreditNote,
    lines: list[wire.CreditLine],
    invoice: wire.Invoice,
    invoice_lines: list[wire.Line],
    rates: Rates,
    config: StripeConfig,
) -> CreditMemo:
    """A credit note with all its lines. Raises Failure(Rejected) when they do not sum to its total."""
    currency = note.currency
    place = customer_place(invoice)
    snapshot = invoice.parent.subscription_details if invoice.parent else None
    known = contract_lines((snapshot.metadata if snapshot else None) or {}, config)
    corrected = {line.id: map_line(line, currency, {}, "", known, config) for line in invoice_lines}
    mapped = tuple(map_credit_line(line, currency, rates, place, corrected) for line in lines)
    mapped += map_shipping(note.id, note.shipping_cost, currency, place)
    total = minor(note.total, currency)
    net, tax = check_totals(note.id, mapped, total, currency.upper())
    refunds = tuple((refund_id(part), minor(part.amount_refunded, currency)) for part in note.refunds or ())
    outside = minor(note.out_of_band_amount or 0, currency)
    after_payment = minor(note.post_payment_amount, currency)
    return CreditMemo(
        ref=Ref(connection=name, kind="credit_memo", id=note.id),
        number=note.number,
        invoice=Ref(connection=name, kind="invoice", id=invoice.id),
        customer=Ref(connection=name, kind="customer", id=note.customer),
        currency=currency.upper(),
        status=CREDIT_STATUS.get(note.status, "pending"),
        issued_at=moment(note.effective_at or note.created),
        voided_at=moment(note.voided_at) if note.voided_at is not None else None,
        lines=mapped,
        net_minor=net,
        tax_minor=tax,
        total_minor=total,
        refunds=refunds,
        to_balance_minor=max(0, after_payment - outside - sum(amount for _, amount in refunds)),
        out_of_band_minor=outside,
        reason=note.reason or "",
    )


def whole(kind: str, found: str | wire.Invoice) -> wire.Invoice:
    """The expanded invoice. Raises Failure when the answer holds only its id."""
    if isinstance(found, str):
        raise Failure(Transient(reason=f"{kind}: the invoice was asked for whole and came as an id"))
    return found
