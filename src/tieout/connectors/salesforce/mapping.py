"""Salesforce records -> canonical values. Pure: no clock, no socket.

What Salesforce says in words of its org (frequency, charge) is matched by the connection's tables; a word that is
not in them becomes `pending: <word>`, which no process takes for a valid value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal

from tieout.canonical.ids import Ref
from tieout.canonical.money import exponent, to_minor
from tieout.canonical.order import Order, OrderLine, add_months, contracted_minor
from tieout.canonical.outcome import Failure, Rejected
from tieout.canonical.party import Address, Customer, TaxId
from tieout.connectors.contract import ListedDocument, ListedLine
from tieout.connectors.salesforce import wire
from tieout.connectors.salesforce.config import FieldNames, SalesforceConfig
from tieout.connectors.salesforce.places import COUNTRIES, US_STATES
from tieout.connectors.salesforce.wire import Row

HUNDRED = Decimal(100)
NO_CURRENCY = "XTS"  # ISO 4217's code for tests: two decimals, and no amount of ours is ever in it


class Org:
    """What the mapping must know of one connection: its name, its field names, its tables of words."""

    __slots__ = ("approval", "config", "connection", "names")

    def __init__(self, connection: str, config: SalesforceConfig, names: FieldNames) -> None:
        self.connection = connection
        self.config = config
        self.names = names
        self.approval = config.approval_field

    def ref(self, kind: str, id: str) -> Ref:
        return Ref(connection=self.connection, kind=kind, id=id)

    def currency(self, row: Row) -> str:
        return wire.text(row, self.config.currency_field) or self.config.default_currency


def map_word(word: str, table: Mapping[str, str]) -> str:
    """The canonical word; an unknown one is `pending: <word>`, never a valid value."""
    return table.get(word) or (f"pending: {word}" if word else "pending")


def map_frequency(word: str, org: Org) -> str:
    """`month`, `quarter`, `year`; empty stays empty (a deal of one-time lines has none)."""
    return map_word(word, org.config.frequencies) if word else ""


def map_end(last_day: date | None) -> date | None:
    """The inclusive last day as an exclusive end. Raises Failure for the calendar's last day."""
    if last_day is None:
        return None
    try:
        return last_day + timedelta(days=1)
    except OverflowError as error:
        raise Failure(Rejected(code="BAD_DATE", message=f"the contract's last day is {last_day}")) from error


def map_months(value: Decimal | None) -> int | None:
    """A term in whole months. Raises Failure when it is none."""
    if value is None:
        return None
    if value != value.to_integral_value():
        raise Failure(Rejected(code="BAD_TERM", message=f"a term of {value} months: write whole months"))
    return int(value)


# ---------------------------------------------------------------------------------------------------------- orders


def map_order(row: Row, lines: Sequence[Row], org: Org) -> Order:
    """A deal with its lines. Raises Failure(Rejected) naming every line whose amount cannot be money."""
    names = org.names
    currency = org.currency(row)
    deleted = wire.flag(row, "IsDeleted")
    account = wire.text(row, "AccountId")
    return Order(
        ref=org.ref("opportunity", wire.text(row, "Id")),
        name=wire.text(row, "Name"),
        account=org.ref("account", account),
        legal_entity=wire.text(row, names.opportunity_legal_entity),
        currency=currency,
        lines=_map_lines(_alive(lines, deal_deleted=deleted), currency, org),
        start=wire.day(row, names.opportunity_start),
        end=map_end(wire.day(row, names.opportunity_end)),
        term_months=map_months(wire.number(row, names.opportunity_term_months)),
        frequency=map_frequency(wire.text(row, names.opportunity_frequency), org),
        payment_terms=wire.text(wire.parent(row, "Account"), names.account_payment_terms),
        po_number=wire.text(row, names.opportunity_po_number),
        won=wire.flag(row, "IsWon"),
        closed=wire.flag(row, "IsClosed"),
        approved=wire.flag(row, org.approval) if org.approval else True,
        deleted=deleted,
        close_date=wire.day(row, "CloseDate"),
        accepted_status=wire.text(row, names.opportunity_status),
        external_id=wire.text(row, names.opportunity_external_id),
    )


def _alive(lines: Sequence[Row], *, deal_deleted: bool) -> Sequence[Row]:
    """A query that shows deleted deals shows deleted lines too; those of a living deal do not count."""
    return lines if deal_deleted else [line for line in lines if not wire.flag(line, "IsDeleted")]


def _map_lines(rows: Sequence[Row], currency: str, org: Org) -> tuple[OrderLine, ...]:
    lines: list[OrderLine] = []
    faults: list[str] = []
    for row in rows:
        try:
            lines.append(map_line(row, currency, org))
        except ValueError as error:
            code = wire.text(wire.parent(row, "Product2"), "ProductCode")
            faults.append(f"line {wire.text(row, 'Id')} ({code}): {error}")
    if faults:
        raise Failure(Rejected(code="LINE_AMOUNT", message="; ".join(faults)))
    return tuple(lines)


def map_line(row: Row, currency: str, org: Org) -> OrderLine:
    """One line. ValueError when its total is missing or finer than the currency's minor unit."""
    product = wire.parent(row, "Product2")
    total = wire.number(row, "TotalPrice")
    if total is None:
        raise ValueError("it has no total price")
    return OrderLine(
        id=wire.text(row, "Id"),
        product=wire.text(product, "ProductCode"),
        description=wire.text(row, "Description") or wire.text(product, "Name"),
        quantity=wire.number(row, "Quantity") or Decimal(0),
        unit_price=wire.number(row, "UnitPrice") or Decimal(0),
        discount_percent=wire.number(row, "Discount") or Decimal(0),
        net_minor=to_minor(total, currency),
        charge=map_word(wire.text(product, org.names.product_charge_type), org.config.charges),
    )


# ------------------------------------------------------------------------------------------------------- customers


def map_customer(row: Row, ancestors: Sequence[str], org: Org) -> Customer:
    """An account. `ancestors` are ids upwards; a cycle shows as an id that occurs twice (the account included)."""
    names = org.names
    own = org.ref("account", wire.text(row, "Id"))
    billing = map_address(row, "Billing", org)
    shipping = map_address(row, "Shipping", org)
    master = wire.text(row, "MasterRecordId")
    parent = wire.text(row, "ParentId")
    number = wire.text(row, names.account_tax_id).strip()
    return Customer(
        ref=own,
        name=wire.text(row, "Name"),
        parent=org.ref("account", parent) if parent else None,
        ancestors=tuple(org.ref("account", id) for id in ancestors),
        sold_to=own,
        bill_to=own,
        ship_to=own,
        payer=own,
        billing_address=billing,
        shipping_address=shipping,
        tax_ids=(TaxId(scheme=billing.country or shipping.country, number=number),) if number else (),
        invoice_email=wire.text(row, names.account_invoice_email),
        currency=org.currency(row),
        payment_terms=wire.text(row, names.account_payment_terms),
        po_required=wire.flag(row, names.account_po_required),
        deleted=wire.flag(row, "IsDeleted"),
        merged_into=org.ref("account", master) if master else None,
    )


def map_address(row: Row, kind: str, org: Org) -> Address:
    """The `Billing` or `Shipping` address: country and US state as codes, where the words are known."""
    config = org.config
    first, _, rest = wire.text(row, f"{kind}Street").replace("\r\n", "\n").partition("\n")
    suffix = "Code" if config.address_codes else ""
    country = wire.text(row, f"{kind}Country{suffix}").strip()
    country = config.countries.get(country) or COUNTRIES.get(country.lower()) or country
    country = country.upper() if len(country) == 2 else country
    region = wire.text(row, f"{kind}State{suffix}").strip()
    region = config.regions.get(region) or (
        US_STATES.get(region.lower(), region) if country == "US" else region
    )
    return Address(
        line1=first.strip(),
        line2=", ".join(part.strip() for part in rest.split("\n") if part.strip()),
        city=wire.text(row, f"{kind}City"),
        region=region.upper() if len(region) == 2 else region,
        postal_code=wire.text(row, f"{kind}PostalCode"),
        country=country,
    )


# -------------------------------------------------------------------------------------------------------- listings


def map_contract_line(row: Row, org: Org) -> ListedLine | None:
    """A sold line with its deal as a listing shows it; None for what is metered: nothing of it was sold. An amount
    finer than the currency is rounded half up and marked `pending`, and a deal without currency is counted in
    hundredths: one bad line must not hide all others."""
    names, deal = org.names, wire.parent(row, "Opportunity")
    currency = org.currency(deal) or NO_CURRENCY
    quantity = wire.number(row, "Quantity") or Decimal(0)
    total = wire.number(row, "TotalPrice") or Decimal(0)
    net_minor = to_minor(total, currency, rounding="half_up")
    rounded = net_minor != total.scaleb(exponent(currency))
    product = wire.parent(row, "Product2")
    charge = map_word(wire.text(product, names.product_charge_type), org.config.charges)
    if charge == "metered":
        return None
    frequency = map_frequency(wire.text(deal, names.opportunity_frequency), org)
    start = wire.day(deal, names.opportunity_start)
    end = map_end(wire.day(deal, names.opportunity_end))
    months = wire.number(deal, names.opportunity_term_months)
    term = int(months) if months is not None and months == months.to_integral_value() else None
    if end is None and start is not None and term is not None and term > 0:
        end = add_months(start, term)
    recurring = charge == "recurring"
    return ListedLine(
        contract=wire.text(row, "OpportunityId"),
        line=wire.text(row, "Id"),
        entity=wire.text(deal, names.opportunity_legal_entity),
        currency=org.currency(deal),
        product=wire.text(product, "ProductCode"),
        quantity=quantity,
        unit_minor=net_unit_minor(row, currency),
        frequency=frequency if recurring else "once",
        start=start,
        end=end,
        contracted_minor=contracted_minor(
            net_minor, frequency, start=start, end=end, term_months=term, charge=charge
        ),
        status="pending: finer than the minor unit" if rounded else wire.text(deal, names.opportunity_status),
    )


def net_unit_minor(row: Row, currency: str) -> Decimal:
    """UnitPrice less the line's discount, in minor units, exact."""
    price = wire.number(row, "UnitPrice") or Decimal(0)
    discount = wire.number(row, "Discount") or Decimal(0)
    value = (price * (HUNDRED - discount) / HUNDRED).scaleb(exponent(currency))
    return value.quantize(Decimal(1)) if value == value.to_integral_value() else value.normalize()


def map_mirror(row: Row, org: Org) -> ListedDocument:
    """An invoice as the CRM shows it: what was written back, for the check of the write-backs."""
    names = org.names
    currency = org.currency(row)
    amount = wire.number(row, names.mirror_amount) or Decimal(0)
    return ListedDocument(
        id=wire.text(row, "Id"),
        number=wire.text(row, names.mirror_number),
        kind="invoice",
        entity="",
        currency=currency,
        total_minor=to_minor(amount, currency, rounding="half_up") if currency else 0,
        tax_minor=0,
        day=wire.moment(row, "SystemModstamp").date(),
        status=wire.text(row, names.mirror_status),
        source=wire.text(row, names.mirror_external_id),
        reason=wire.text(row, names.mirror_erp_document),
    )
