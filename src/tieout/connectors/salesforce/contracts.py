"""Contracts and what changes them -> canonical values. Pure.

The ledger of a contract is CPQ's subscriptions: a change adds a row with the delta that revises the row before, and a
line's quantity is the sum of all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal

from tieout.canonical.money import exponent
from tieout.canonical.sale import ChangeLine, ChangeOrder, Contract, ContractLine, Quote, SaleLine
from tieout.connectors.salesforce import wire
from tieout.connectors.salesforce.cpq import (
    Papers,
    check_against_orders,
    contract_of,
    primary_quote,
    sold_status,
)
from tieout.connectors.salesforce.mapping import (
    Org,
    map_end,
    map_frequency,
    map_months,
    map_order,
    map_word,
)
from tieout.connectors.salesforce.sales import alive, ref_or_none, refuse
from tieout.connectors.salesforce.wire import Row

CONTRACT_STATUSES = {
    "Draft": "draft",
    "InApproval": "in_approval",
    "Activated": "activated",
    "Terminated": "terminated",
    "Expired": "expired",
}


def map_contract(row: Row, ledger: Sequence[Row], org: Org) -> Contract:
    """A Contract; with CPQ its subscription ledger and the fields of amending and renewing."""
    cpq = org.config.cpq.name
    currency = org.currency(row)
    lines = contract_lines(alive(ledger), currency, org)
    return Contract(
        ref=org.ref("contract", wire.text(row, "Id")),
        account=ref_or_none(org, "account", wire.text(row, "AccountId")),
        opportunity=ref_or_none(
            org, "opportunity", wire.text(row, cpq("Opportunity")) or wire.text(row, "SourceOpportunityId")
        ),
        quote=ref_or_none(org, "quote", wire.text(row, cpq("Quote"))),
        order=ref_or_none(org, "sales_order", wire.text(row, cpq("Order"))),
        master=ref_or_none(org, "contract", wire.text(row, cpq("MasterContract"))),
        renewal=ref_or_none(org, "opportunity", wire.text(row, cpq("RenewalOpportunity"))),
        status=map_word(wire.text(row, "StatusCode"), CONTRACT_STATUSES),
        start=wire.day(row, "StartDate"),
        end=map_end(wire.day(row, "EndDate")),
        term_months=map_months(wire.number(row, "ContractTerm")),
        renewal_months=map_months(wire.number(row, cpq("RenewalTerm"))),
        evergreen=wire.flag(row, cpq("Evergreen")),
        co_term=not wire.flag(row, cpq("DisableAmendmentCoTerm")),
        amendment_start=wire.day(row, cpq("AmendmentStartDate")),
        amendment_renewal=wire.text(row, cpq("AmendmentRenewalBehavior")),
        renewal_forecast=wire.flag(row, cpq("RenewalForecast")),
        renewal_quoted=wire.flag(row, cpq("RenewalQuoted")),
        lines=lines,
        deleted=wire.flag(row, "IsDeleted"),
    )


def contract_lines(rows: Sequence[Row], currency: str, org: Org) -> tuple[ContractLine, ...]:
    """The subscription ledger folded: one line for each row that revises none, with the sum of its deltas."""
    roots = ledger_roots(rows, org)
    name = org.config.cpq.name
    grouped: dict[str, list[SaleLine]] = {}
    for row in rows:
        product = wire.parent(row, org.config.cpq.parent("Product"))
        quantity = wire.number(row, name("Quantity")) or Decimal(0)
        price = wire.number(row, name("NetPrice")) or Decimal(0)
        value = (quantity * price).scaleb(exponent(currency))
        line = SaleLine(
            id=wire.text(row, "Id"),
            product=wire.text(product, "ProductCode"),
            description=wire.text(product, "Name"),
            quantity=quantity,
            unit_price=price,
            net_minor=int(value.quantize(Decimal(1), ROUND_HALF_UP)),
            charge="recurring",
            frequency=map_frequency(wire.text(row, name("BillingFrequency")), org),
            start=wire.day(row, name("SubscriptionStartDate")),
            end=map_end(wire.day(row, name("SubscriptionEndDate"))),
            bundle=wire.text(row, name("RequiredById")),
            segment=wire.text(row, name("SegmentKey")),
            segment_label=wire.text(row, name("SegmentLabel")),
            revises=wire.text(row, name("RevisedSubscription")),
            source=wire.text(row, name("QuoteLine")),
            terminated=wire.day(row, name("TerminatedDate")),
        )
        grouped.setdefault(roots[line.id], []).append(line)
    return tuple(
        ContractLine(
            first=next((line for line in lines if line.id == root), lines[0]),
            quantity=sum((line.quantity for line in lines), Decimal(0)),
            rows=tuple(
                sorted(lines, key=lambda line: (line.id != root, line.start is not None, line.start, line.id))
            ),
        )
        for root, lines in grouped.items()
    )


def ledger_roots(rows: Sequence[Row], org: Org) -> dict[str, str]:
    """Row -> the row that it began as, up all revisions. A ring or a row that is not there raises Failure: a sum over
    half a ledger would be a wrong quantity."""
    name = org.config.cpq.name
    above = {wire.text(row, "Id"): wire.text(row, name("RevisedSubscription")) for row in rows}
    roots: dict[str, str] = {}
    faults: list[str] = []
    for id in above:
        passed, at = [id], id
        while above[at]:
            at = above[at]
            if at in passed or at not in above:
                fault = "revises itself in a ring" if at in passed else f"revises {at}, which is not there"
                faults.append(f"subscription {id} {fault}")
                break
            passed.append(at)
        roots[id] = at
    refuse("LEDGER", faults)
    return roots


def change_order(papers: Papers, org: Org) -> ChangeOrder:
    """A change of a contract from its papers: the same value whichever of opportunity, quote, order and contract
    told of it, and whether or not order and contract exist already; where they do, they must agree."""
    deal = map_order(papers.deal, (), org)
    quote = primary_quote(papers, org)
    contract = contract_of(papers, quote, org)
    if not contract:
        refuse("NOT_A_CHANGE", ["the deal changes no contract: it is a new one"])
    if quote.kind.startswith("pending") or quote.kind == "new":
        refuse("QUOTE_TYPE", [f"the quote of a change of {contract} is of the type {quote.kind}"])
    check_against_orders(papers, quote, org)
    ledger = alive(papers.ledger)
    roots = ledger_roots(ledger, org)
    rows = {wire.text(row, "Id"): row for row in papers.lines}
    faults: list[str] = []
    lines = [_change_line(line, rows[line.id], quote, roots, org, faults) for line in quote.lines]
    faults += ledger_faults(lines, ledger, roots, quote, org)
    refuse("LEDGER", faults)
    to_nothing = quote.kind == "amendment" and lines and not any(line.after for line in lines)
    changed = tuple(line for line in lines if line.delta or line.net_minor)
    return ChangeOrder(
        ref=deal.ref,
        contract=org.ref("contract", contract),
        account=deal.account,
        quote=quote.ref,
        kind="cancellation" if to_nothing else quote.kind,
        currency=quote.currency or deal.currency,
        legal_entity=deal.legal_entity,
        start=quote.start,
        lines=changed,
        net_minor=sum(line.net_minor for line in changed),
        won=deal.won,
        closed=deal.closed,
        approved=deal.approved and sold_status(papers, org),
        deleted=deal.deleted,
        close_date=deal.close_date,
        accepted_status=deal.accepted_status,
    )


def _change_line(
    line: SaleLine, row: Row, quote: Quote, roots: Mapping[str, str], org: Org, faults: list[str]
) -> ChangeLine:
    """A renewal starts from nothing: over its term nothing stood before."""
    name = org.config.cpq.name
    after = wire.number(row, name("Quantity")) or Decimal(0)
    prior = wire.number(row, name("PriorQuantity"))
    before = Decimal(0) if quote.kind == "renewal" else prior if prior is not None else after - line.quantity
    if after - before != line.quantity:
        faults.append(
            f"line {line.id} ({line.product}): from {before} to {after} is no change by {line.quantity}"
        )
    if line.revises and line.revises not in roots:
        faults.append(
            f"line {line.id} ({line.product}) changes {line.revises}, which the contract does not hold"
        )
    return ChangeLine(
        line=roots.get(line.revises, line.revises),
        quote_line=line.id,
        product=line.product,
        description=line.description,
        before=before,
        after=after,
        net_minor=line.net_minor,
        charge=line.charge,
        frequency=line.frequency,
        start=line.start,
        end=line.end,
        bundle=line.bundle,
        segment=line.segment,
    )


def ledger_faults(
    lines: Sequence[ChangeLine], ledger: Sequence[Row], roots: Mapping[str, str], quote: Quote, org: Org
) -> list[str]:
    """Where ledger and quote disagree: the delta's own row, if it is there, else what stood before it."""
    if quote.kind != "amendment":
        return []
    name = org.config.cpq.name
    faults = []
    for line in lines:
        own = [row for row in ledger if wire.text(row, name("QuoteLine")) == line.quote_line]
        if own:
            booked = sum((wire.number(row, name("Quantity")) or Decimal(0) for row in own), Decimal(0))
            if booked != line.delta:
                faults.append(
                    f"line {line.quote_line} ({line.product}): quoted {line.delta}, booked {booked}"
                )
        elif line.line and line.line in roots.values():
            stood = sum(
                (
                    wire.number(row, name("Quantity")) or Decimal(0)
                    for row in ledger
                    if roots[wire.text(row, "Id")] == line.line
                ),
                Decimal(0),
            )
            if stood != line.before:
                faults.append(
                    f"line {line.quote_line} ({line.product}): quoted from {line.before}, the contract holds {stood}"
                )
    return faults
