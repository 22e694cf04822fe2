"""Standard orders and quotes -> canonical values. Pure. Salesforce CPQ is in `cpq.py`, contracts in `contracts.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

import msgspec

from tieout.canonical.ids import Ref
from tieout.canonical.money import to_minor
from tieout.canonical.order import Order, OrderLine
from tieout.canonical.outcome import Failure, Rejected
from tieout.canonical.sale import Quote, SaleLine, SalesOrder
from tieout.connectors.contract import ListedLine
from tieout.connectors.salesforce import wire
from tieout.connectors.salesforce.mapping import Org, map_contract_line, map_end, map_order, map_word
from tieout.connectors.salesforce.wire import Row

# A word that is not here becomes `pending: <word>`.
QUOTE_STATUSES = {
    "Draft": "draft",
    "Needs Review": "in_review",
    "In Review": "in_review",
    "Approved": "approved",
    "Presented": "presented",
    "Accepted": "accepted",
    "Rejected": "rejected",
    "Denied": "rejected",
}
# StatusCode, not Status: the words of Status are the org's own.
ORDER_STATUSES = {
    "Draft": "draft",
    "Activated": "activated",
    "Canceled": "cancelled",
    "Cancelled": "cancelled",
    "Expired": "expired",
}


def refuse(code: str, faults: Sequence[str]) -> None:
    """Raises Failure(Rejected) that names every fault, where there is one."""
    if faults:
        raise Failure(Rejected(code=code, message="; ".join(faults)))


def ref_or_none(org: Org, kind: str, id: str) -> Ref | None:
    """The record that an id field names."""
    return org.ref(kind, id) if id else None


def minor(row: Row, field: str, currency: str) -> int:
    """An amount in minor units. ValueError when it is missing or finer than the currency."""
    amount = wire.number(row, field)
    if amount is None:
        raise ValueError(f"it has no {field}")
    return to_minor(amount, currency)


def alive(rows: Sequence[Row]) -> list[Row]:
    """Rows that are not in the recycle bin."""
    return [row for row in rows if not wire.flag(row, "IsDeleted")]


def sale_lines(rows: Sequence[Row], currency: str, org: Org, revises: str) -> tuple[SaleLine, ...]:
    """Lines of a standard order or quote. Raises Failure naming every line whose amount cannot be money."""
    lines: list[SaleLine] = []
    faults: list[str] = []
    for row in rows:
        product = wire.parent(row, "Product2")
        try:
            net_minor = minor(row, "TotalPrice", currency)
        except ValueError as error:
            faults.append(f"line {wire.text(row, 'Id')} ({wire.text(product, 'ProductCode')}): {error}")
            continue
        quantity = wire.number(row, "Quantity") or Decimal(0)
        discount = wire.number(row, "Discount") or Decimal(0)
        price = wire.number(row, "UnitPrice") or Decimal(0)
        lines.append(
            SaleLine(
                id=wire.text(row, "Id"),
                product=wire.text(product, "ProductCode"),
                description=wire.text(row, "Description") or wire.text(product, "Name"),
                quantity=quantity,
                unit_price=price * (100 - discount) / 100 if discount else price,
                net_minor=net_minor,
                charge=map_word(wire.text(product, org.names.product_charge_type), org.config.charges),
                start=wire.day(row, "ServiceDate"),
                end=map_end(wire.day(row, "EndDate")),
                revises=wire.text(row, revises),
                source=wire.text(row, "QuoteLineItemId"),
            )
        )
    refuse("LINE_AMOUNT", faults)
    return tuple(lines)


def map_sales_order(row: Row, lines: Sequence[Row], org: Org) -> SalesOrder:
    """An Order with its OrderItems."""
    currency = org.currency(row)
    mapped = sale_lines(alive(lines), currency, org, "OriginalOrderItemId")
    return SalesOrder(
        ref=org.ref("sales_order", wire.text(row, "Id")),
        account=ref_or_none(org, "account", wire.text(row, "AccountId")),
        opportunity=ref_or_none(org, "opportunity", wire.text(row, "OpportunityId")),
        contract=ref_or_none(org, "contract", wire.text(row, "ContractId")),
        quote=ref_or_none(org, "quote", wire.text(row, "QuoteId")),
        original=ref_or_none(org, "sales_order", wire.text(row, "OriginalOrderId")),
        status=map_word(wire.text(row, "StatusCode"), ORDER_STATUSES),
        reduction=wire.flag(row, "IsReductionOrder"),
        currency=currency,
        lines=mapped,
        net_minor=sum(line.net_minor for line in mapped),
        start=wire.day(row, "EffectiveDate"),
        end=map_end(wire.day(row, "EndDate")),
        po_number=wire.text(row, "PoNumber"),
        deleted=wire.flag(row, "IsDeleted"),
    )


def map_quote(row: Row, lines: Sequence[Row], org: Org) -> Quote:
    """A standard Quote with its QuoteLineItems: always a new offer; the synced one is the primary."""
    currency = org.currency(row)
    mapped = sale_lines(alive(lines), currency, org, "")
    return Quote(
        ref=org.ref("quote", wire.text(row, "Id")),
        opportunity=ref_or_none(org, "opportunity", wire.text(row, "OpportunityId")),
        account=ref_or_none(org, "account", wire.text(row, "AccountId")),
        kind="new",
        status=map_word(wire.text(row, "Status"), QUOTE_STATUSES),
        primary=wire.flag(row, "IsSyncing"),
        currency=currency,
        lines=mapped,
        net_minor=sum(line.net_minor for line in mapped),
        contract=ref_or_none(org, "contract", wire.text(row, "ContractId")),
        deleted=wire.flag(row, "IsDeleted"),
    )


def order_from_orders(deal: Row, items: Sequence[Row], org: Org) -> Order:
    """The sold lines of a deal as its activated order holds them, less its activated reductions. Each item carries
    its order as parent. A deal whose order is not activated yet is not approved."""
    base = map_order(deal, (), org)
    active = [
        row
        for row in alive(items)
        if map_word(wire.text(wire.parent(row, "Order"), "StatusCode"), ORDER_STATUSES) == "activated"
    ]
    reductions = [row for row in active if wire.flag(wire.parent(row, "Order"), "IsReductionOrder")]
    originals = [row for row in active if row not in reductions]
    headers = {wire.text(wire.parent(row, "Order"), "Id"): wire.parent(row, "Order") for row in originals}
    if not headers:
        return msgspec.structs.replace(base, approved=False)
    if len(headers) > 1:
        refuse(
            "SEVERAL_ORDERS", [f"the deal has {len(headers)} activated orders: {', '.join(sorted(headers))}"]
        )
    header = next(iter(headers.values()))
    currency = org.currency(header) or base.currency
    start, end = wire.day(header, "EffectiveDate"), map_end(wire.day(header, "EndDate"))
    lines = sale_lines(originals, currency, org, "OriginalOrderItemId")
    taken = sale_lines(reductions, currency, org, "OriginalOrderItemId")
    unknown = [line.id for line in taken if line.revises not in {each.id for each in lines}]
    refuse("REDUCTION", [f"reduction line {id} names no line of the order" for id in unknown])
    one_term([line for line in lines if line.charge == "recurring"], start, end)
    return msgspec.structs.replace(
        base,
        currency=currency,
        start=start,
        end=end or base.end,
        po_number=wire.text(header, "PoNumber") or base.po_number,
        lines=tuple(_order_line(line, [each for each in taken if each.revises == line.id]) for line in lines),
    )


def _order_line(line: SaleLine, reductions: Sequence[SaleLine]) -> OrderLine:
    return OrderLine(
        id=line.id,
        product=line.product,
        description=line.description,
        quantity=line.quantity - sum(abs(each.quantity) for each in reductions),
        unit_price=line.unit_price,
        discount_percent=Decimal(0),
        net_minor=line.net_minor - sum(abs(each.net_minor) for each in reductions),
        charge=line.charge,
    )


def one_term(lines: Sequence[SaleLine], start: object, end: object) -> None:
    """Raises Failure where a recurring line does not run for the whole term: one subscription with one term could
    not bill it, and billing it from the first day on would be wrong."""
    odd = [
        f"line {line.id} ({line.product}) runs {line.start or start} to {line.end or end or 'no end'}"
        for line in lines
        if (line.start or start) != start or (line.end or end) != end
    ]
    refuse("RAMP", [*odd, f"the order runs {start} to {end or 'no end'}"] if odd else [])


# -------------------------------------------------------------------------------------------------------- listings


def reductions_by_line(rows: Sequence[Row]) -> dict[str, tuple[Decimal, Decimal]]:
    """What reductions take off each order line: (pieces, money)."""
    taken: dict[str, tuple[Decimal, Decimal]] = {}
    for row in rows:
        line = wire.text(row, "OriginalOrderItemId")
        pieces, money = taken.get(line, (Decimal(0), Decimal(0)))
        pieces += abs(wire.number(row, "Quantity") or Decimal(0))
        taken[line] = (pieces, money + abs(wire.number(row, "TotalPrice") or Decimal(0)))
    return taken


def map_listed_item(row: Row, taken: Mapping[str, tuple[Decimal, Decimal]], org: Org) -> ListedLine | None:
    """A line of an activated order as a listing shows it: the same as a deal's line, dates from the order."""
    order = wire.parent(row, "Order")
    pieces, money = taken.get(wire.text(row, "Id"), (Decimal(0), Decimal(0)))
    names, deal = org.names, dict(wire.parent(order, "Opportunity"))
    deal[names.opportunity_start] = order.get("EffectiveDate")
    deal[names.opportunity_end] = order.get("EndDate") or deal.get(names.opportunity_end)
    deal[org.config.currency_field or "CurrencyIsoCode"] = order.get(org.config.currency_field)
    as_line = dict(row) | {
        "Opportunity": deal,
        "OpportunityId": order.get("OpportunityId"),
        "Quantity": (wire.number(row, "Quantity") or Decimal(0)) - pieces,
        "TotalPrice": (wire.number(row, "TotalPrice") or Decimal(0)) - money,
    }
    return map_contract_line(as_line, org)
