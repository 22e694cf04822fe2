"""Salesforce CPQ's records -> canonical values. Pure.

Facts: an amendment quote shows new totals (Quantity) and deltas (EffectiveQuantity); order products and subscriptions
carry deltas; a subscription's quantity is the sum of its row and all rows that revise it. NetPrice is the price of one
unit for the line's whole term: list price x ProrateMultiplier less discounts. Ends are inclusive.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

import msgspec

from tieout.canonical.money import exponent, to_minor
from tieout.canonical.order import PERIOD_MONTHS, Order, OrderLine, contracted_minor
from tieout.canonical.sale import Quote, SaleLine
from tieout.connectors.contract import ListedLine
from tieout.connectors.salesforce import wire
from tieout.connectors.salesforce.mapping import (
    NO_CURRENCY,
    Org,
    map_end,
    map_frequency,
    map_months,
    map_order,
    map_word,
)
from tieout.connectors.salesforce.sales import (
    ORDER_STATUSES,
    QUOTE_STATUSES,
    alive,
    minor,
    one_term,
    ref_or_none,
    refuse,
)
from tieout.connectors.salesforce.wire import Row

QUOTE_KINDS = {"Quote": "new", "Renewal": "renewal", "Amendment": "amendment"}
DEFAULT_TERM_MONTHS = 12
YEAR_DAYS = 365
# More places than any price has; what a unit differs by after them is not money.
PRICE_PLACES, NO_MONEY = Decimal(1).scaleb(-10), Decimal(1).scaleb(-6)


class Papers(msgspec.Struct, frozen=True, kw_only=True):
    """The records around one deal, as they are now: its primary quote with lines, order products of that quote (their
    order as parent), and the ledger of the contract that it amends or renews."""

    deal: Row
    quotes: Sequence[Row] = ()
    lines: Sequence[Row] = ()
    items: Sequence[Row] = ()
    ledger: Sequence[Row] = ()


def map_cpq_quote(row: Row, lines: Sequence[Row], org: Org) -> Quote:
    """A CPQ quote; optional lines were not sold and are left out. Raises Failure where lines and total differ."""
    name = org.config.cpq.name
    currency = org.currency(row)
    kind = map_word(wire.text(row, name("Type")), QUOTE_KINDS)
    mapped: list[SaleLine] = []
    faults: list[str] = []
    for line in alive(lines):
        if wire.flag(line, name("Optional")):
            continue
        try:
            mapped.append(_quote_line(line, row, currency, org))
        except ValueError as error:
            faults.append(f"quote line {wire.text(line, 'Id')}: {error}")
    refuse("LINE_AMOUNT", faults)
    total = sum(line.net_minor for line in mapped)
    stated = wire.number(row, name("NetAmount"))
    if stated is not None and Decimal(total).scaleb(-exponent(currency)) != stated:
        lines_say = Decimal(total).scaleb(-exponent(currency))
        refuse(
            "QUOTE_TOTAL",
            [f"the quote's lines are {lines_say} {currency}, its total {stated}: calculate it anew"],
        )
    return Quote(
        ref=org.ref("quote", wire.text(row, "Id")),
        opportunity=ref_or_none(org, "opportunity", wire.text(row, name("Opportunity2"))),
        account=ref_or_none(org, "account", wire.text(row, name("Account"))),
        kind=kind,
        status=map_word(wire.text(row, name("Status")), QUOTE_STATUSES),
        primary=wire.flag(row, name("Primary")),
        currency=currency,
        lines=tuple(mapped),
        net_minor=total,
        contract=ref_or_none(org, "contract", wire.text(row, name("MasterContract"))),
        start=wire.day(row, name("StartDate")),
        end=map_end(wire.day(row, name("EndDate"))),
        term_months=_months(wire.number(row, name("SubscriptionTerm")), org),
        payment_terms=wire.text(row, name("PaymentTerms")),
        deleted=wire.flag(row, "IsDeleted"),
    )


def _months(term: Decimal | None, org: Org) -> int | None:
    """A term in months; one in days that is no whole number of months says nothing the dates do not say."""
    if term is None or org.config.cpq.term_unit == "month":
        return map_months(term)
    months = Fraction(term) * 12 / YEAR_DAYS
    return int(months) if months.denominator == 1 else None


def _quote_line(row: Row, quote: Row, currency: str, org: Org) -> SaleLine:
    name = org.config.cpq.name
    product = wire.parent(row, org.config.cpq.parent("Product"))
    delta = wire.number(row, name("EffectiveQuantity"))
    return SaleLine(
        id=wire.text(row, "Id"),
        product=wire.text(product, "ProductCode"),
        description=wire.text(row, name("Description")) or wire.text(product, "Name"),
        quantity=delta if delta is not None else wire.number(row, name("Quantity")) or Decimal(0),
        unit_price=wire.number(row, name("NetPrice")) or Decimal(0),
        net_minor=minor(row, name("NetTotal"), currency),
        charge=_charge(row, org),
        frequency=map_frequency(wire.text(row, name("BillingFrequency")), org),
        start=wire.day(row, name("EffectiveStartDate"))
        or wire.day(row, name("StartDate"))
        or wire.day(quote, name("StartDate")),
        end=map_end(
            wire.day(row, name("EffectiveEndDate"))
            or wire.day(row, name("EndDate"))
            or wire.day(quote, name("EndDate"))
        ),
        bundle=wire.text(row, name("RequiredBy")),
        segment=wire.text(row, name("SegmentKey")),
        segment_label=wire.text(row, name("SegmentLabel")),
        revises=wire.text(row, name("UpgradedSubscription")) or wire.text(row, name("RenewedSubscription")),
    )


def _charge(row: Row, org: Org) -> str:
    """By ChargeType; where the org has no billing package and leaves it empty, a subscription is recurring."""
    name = org.config.cpq.name
    word = wire.text(row, name("ChargeType"))
    if word:
        return map_word(word, org.config.charges)
    return "recurring" if wire.text(row, name("SubscriptionPricing")) else "one_time"


# ------------------------------------------------------------------------------------------------------------ deals


def order_from_quote(papers: Papers, org: Org) -> Order:
    """A new deal as its primary quote sells it. Raises Failure for a change (`change_order` reads that), a ramp,
    lines of several frequencies, and amounts that do not agree to the minor unit."""
    base = map_order(papers.deal, (), org)
    if not base.won or base.deleted:
        return base
    quote = primary_quote(papers, org)
    contract = contract_of(papers, quote, org)
    if quote.kind != "new" or contract:
        what = f"the quote is of the type {quote.kind}, the contract {contract or 'not named'}"
        refuse("CHANGE_ORDER", [f"the deal changes a contract: {what}; a change is not billed as a new deal"])
    check_against_orders(papers, quote, org)
    recurring = [line for line in quote.lines if line.charge == "recurring"]
    words = sorted({line.frequency for line in recurring})
    refuse("MIXED_FREQUENCY", [f"lines are billed {' and '.join(words)}"] if len(words) > 1 else [])
    frequency = words[0] if words else ""
    one_term(recurring, quote.start, quote.end)
    rows = {wire.text(row, "Id"): row for row in papers.lines}
    name = org.config.cpq.name
    sold = [line for line in quote.lines if line.net_minor or not wire.flag(rows[line.id], name("Bundled"))]
    lines, faults = [], []
    for line in sold:
        try:
            lines.append(_period_line(line, rows[line.id], quote, frequency, org))
        except ValueError as error:
            faults.append(f"quote line {line.id} ({line.product}): {error}")
    refuse("LINE_AMOUNT", faults)
    return msgspec.structs.replace(
        base,
        currency=quote.currency or base.currency,
        lines=tuple(lines),
        start=quote.start,
        end=quote.end,
        term_months=quote.term_months,
        frequency=frequency,
        payment_terms=quote.payment_terms or base.payment_terms,
        approved=base.approved and sold_status(papers, org),
    )


def primary_quote(papers: Papers, org: Org) -> Quote:
    """The one primary quote of a deal. Raises Failure where there is none, or more."""
    quotes = [row for row in alive(papers.quotes) if wire.flag(row, org.config.cpq.name("Primary"))]
    refuse("QUOTE", [] if len(quotes) == 1 else [f"the deal has {len(quotes)} primary quotes: one is needed"])
    of = wire.text(quotes[0], "Id")
    lines = [row for row in papers.lines if wire.text(row, org.config.cpq.name("Quote")) == of]
    return map_cpq_quote(quotes[0], lines, org)


def sold_status(papers: Papers, org: Org) -> bool:
    """Whether the primary quote's own word is one that counts as approved here."""
    name = org.config.cpq.name
    rows = [row for row in alive(papers.quotes) if wire.flag(row, name("Primary"))]
    return all(wire.text(row, name("Status")) in org.config.cpq.sold_statuses for row in rows)


def contract_of(papers: Papers, quote: Quote, org: Org) -> str:
    """The contract that a deal changes, as the deal or the quote says it; empty for a new deal."""
    name = org.config.cpq.name
    told = wire.text(papers.deal, name("AmendedContract")) or wire.text(papers.deal, name("RenewedContract"))
    return told or (quote.contract.id if quote.contract and quote.kind != "new" else "")


def _period_line(line: SaleLine, row: Row, quote: Quote, frequency: str, org: Org) -> OrderLine:
    """A quote line per billing period. ValueError where a period's price is finer than the minor unit, or the
    periods do not come to what the quote says."""
    price = line.unit_price
    if line.charge == "recurring":
        price = _period_price(line, row, frequency, org)
    exact = (line.quantity * price).scaleb(exponent(quote.currency))
    net_minor = int(exact.quantize(Decimal(1), ROUND_HALF_UP))
    if org.config.cpq.periods == "refuse":
        whole = contracted_minor(
            net_minor,
            frequency,
            start=line.start,
            end=line.end,
            term_months=quote.term_months,
            charge=line.charge,
        )
        if abs(exact - net_minor) > NO_MONEY * max(abs(line.quantity), Decimal(1)) or whole != line.net_minor:
            places = exponent(quote.currency)
            term, quoted = (Decimal(each).scaleb(-places) for each in (whole, line.net_minor))
            raise ValueError(
                f"{exact.scaleb(-places):.6f} {quote.currency} a {frequency or 'line'} comes to {term} over the term, "
                f"the quote says {quoted}"
            )
    return OrderLine(
        id=line.id,
        product=line.product,
        description=line.description,
        quantity=line.quantity,
        unit_price=price,
        discount_percent=Decimal(0),
        net_minor=net_minor,
        charge=line.charge,
    )


def _period_price(line: SaleLine, row: Row, frequency: str, org: Org) -> Decimal:
    """The net price of a unit for one billing period, from that of the line's whole term."""
    name = org.config.cpq.name
    months = PERIOD_MONTHS.get(frequency)
    if months is None:
        raise ValueError(f"its billing frequency is {frequency or 'empty'}")
    prorated = wire.number(row, name("ProrateMultiplier")) or Decimal(1)
    default = wire.number(row, name("DefaultSubscriptionTerm"))
    if default is None or default <= 0 or prorated <= 0:
        default = Decimal(DEFAULT_TERM_MONTHS if org.config.cpq.term_unit == "month" else YEAR_DAYS)
        prorated = prorated if prorated > 0 else Decimal(1)
    per_month = Fraction(line.unit_price) / Fraction(prorated) / Fraction(default)
    if org.config.cpq.term_unit == "day":
        per_month = per_month * YEAR_DAYS / 12
    exact = per_month * months
    return _plain((Decimal(exact.numerator) / Decimal(exact.denominator)).quantize(PRICE_PLACES))


def _plain(number: Decimal) -> Decimal:
    """The shortest form: 10, 10.0 and 1E1 must give one request hash."""
    return number.quantize(Decimal(1)) if number == number.to_integral_value() else number.normalize()


def check_against_orders(papers: Papers, quote: Quote, org: Org) -> None:
    """Raises Failure where order products of the quote's lines do not come to what the lines say, to the minor unit
    and the piece. Lines that are not ordered yet are not compared."""
    name = org.config.cpq.name
    money: dict[str, int] = {}
    pieces: dict[str, Decimal] = {}
    faults: list[str] = []
    for item in alive(papers.items):
        status = map_word(wire.text(wire.parent(item, "Order"), "StatusCode"), ORDER_STATUSES)
        line = wire.text(item, name("QuoteLine"))
        if status in ("cancelled", "expired") or not line:
            continue
        try:
            money[line] = money.get(line, 0) + minor(item, "TotalPrice", quote.currency)
        except ValueError as error:
            faults.append(f"order product {wire.text(item, 'Id')}: {error}")
        pieces[line] = pieces.get(line, Decimal(0)) + (wire.number(item, "Quantity") or Decimal(0))
    places = exponent(quote.currency)
    for each in quote.lines:
        if each.id not in pieces:
            continue
        if money.get(each.id) != each.net_minor or pieces[each.id] != each.quantity:
            ordered = Decimal(money.get(each.id, 0)).scaleb(-places)
            quoted = Decimal(each.net_minor).scaleb(-places)
            faults.append(
                f"line {each.id} ({each.product}): quoted {each.quantity} for {quoted}, "
                f"ordered {pieces[each.id]} for {ordered} {quote.currency}"
            )
    refuse("QUOTE_AND_ORDER", faults)


# Fields of a quote line that are numbers: in a Bulk file everything is text.
LINE_NUMBERS = (
    *("Quantity", "EffectiveQuantity", "PriorQuantity", "NetPrice", "NetTotal", "ProrateMultiplier"),
    "DefaultSubscriptionTerm",
)


def map_listed_quote_line(row: Row, org: Org) -> ListedLine | None:
    """A sold quote line as a listing shows it; None for a part of a bundle without a price, and for
    what is metered: nothing of it was sold. One that cannot be money
    or has no period's price is marked `pending`: one bad line must not hide all others."""
    name, cpq = org.config.cpq.name, org.config.cpq
    quote = wire.parent(row, cpq.parent("Quote"))
    deal = wire.parent(quote, cpq.parent("Opportunity2"))
    currency = org.currency(quote) or NO_CURRENCY
    total = wire.number(row, name("NetTotal")) or Decimal(0)
    if not total and wire.flag(row, name("Bundled")):
        return None
    status = wire.text(deal, org.names.opportunity_status)
    net_minor = to_minor(total, currency, rounding="half_up")
    if net_minor != total.scaleb(exponent(currency)):
        status = "pending: finer than the minor unit"
    rounded = dict(row) | {name("NetTotal"): Decimal(net_minor).scaleb(-exponent(currency))}
    line = _quote_line(rounded, quote, currency, org)
    if line.charge == "metered":
        return None
    unit = line.unit_price
    recurring = line.charge == "recurring"
    if recurring:
        try:
            unit = _period_price(line, row, line.frequency, org)
        except ValueError as error:
            status = f"pending: {error}"
    return ListedLine(
        contract=wire.text(quote, name("Opportunity2")),
        line=line.id,
        entity=wire.text(deal, org.names.opportunity_legal_entity),
        currency=org.currency(quote),
        product=line.product,
        quantity=line.quantity,
        unit_minor=_plain(unit.scaleb(exponent(currency))),
        frequency=line.frequency if recurring else "once",
        start=wire.day(quote, name("StartDate")),
        end=map_end(wire.day(quote, name("EndDate"))),
        contracted_minor=net_minor,
        status=status,
    )
