"""A small company for the pure tests: two legal entities, their tables, and documents to vary."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from tieout.canonical.ids import Ref
from tieout.canonical.invoice import Invoice, InvoiceLine, LineTax
from tieout.canonical.order import Order, OrderLine
from tieout.canonical.party import Address, Customer, LegalEntity, TaxRegistration
from tieout.masterdata.rules import RuleFile
from tieout.masterdata.tables import MasterData, load

US = LegalEntity(
    code="us",
    name="Example Inc",
    time_zone="America/Los_Angeles",
    functional_currency="USD",
    currencies=("USD", "EUR"),
    billing="billing-us",
    erp="erp-main",
    subsidiary="1",
    registrations=(TaxRegistration(jurisdiction="US-CA", number="1", valid_from=date(2020, 1, 1)),),
    unregistered_jurisdictions=("DE",),
)
JP = LegalEntity(
    code="jp",
    name="Example KK",
    time_zone="Asia/Tokyo",
    functional_currency="JPY",
    currencies=("JPY", "KWD"),
    billing="billing-jp",
    erp="erp-main",
    subsidiary="2",
    unregistered_jurisdictions=("*",),
)

TEXTS = {
    "products": """rule_id,crm_product,billing_connection,billing_product,name,valid_from,valid_to
P1,PLATFORM,billing-us,prod_PLATFORM,Platform,,
P2,PLATFORM,billing-jp,prod_PLATFORM,Platform,,
P3,ONBOARD,billing-us,prod_ONBOARD,Onboarding,,
P4,GHOST,billing-us,prod_GHOST,Ghost,,
""",
    "items": """rule_id,billing_product,entity,recognition,item,account,department,valid_from,valid_to
I1,prod_PLATFORM,us,deferred,PLATFORM-DEF,2400,10,,2026-02-01
I1b,prod_PLATFORM,us,deferred,PLATFORM-DEF-2,2410,10,2026-02-01,
I2,prod_PLATFORM,us,immediate,PLATFORM-IMM,4000,10,,
I3,prod_PLATFORM,jp,deferred,PLATFORM-DEF,2400,10,,
I4,prod_PLATFORM,jp,immediate,PLATFORM-IMM,4000,10,,
I5,prod_ONBOARD,us,immediate,ONBOARD-IMM,4100,20,,
""",
    "tax_codes": """rule_id,entity,jurisdiction,rate_percent,code,valid_from,valid_to
T1,us,US-CA,7.25,CA_725,,
T2,us,*,0,EXEMPT,,
T3,jp,JP,10.0,JP_10,,
""",
    "terms": """rule_id,crm_terms,days,erp_terms,valid_from,valid_to
N30,NET30,30,2,,
""",
    "accounts": """rule_id,entity,purpose,connection,currency,account,item,valid_from,valid_to
A1,us,receivables,*,*,1100,,,
A2,us,clearing,billing-us,USD,1050,,,
A3,us,clearing,*,*,1051,,,
A4,us,bank,*,*,1000,,,
A5,us,tax_payable,*,*,2200,,,
A6,us,bad_debt,*,*,6500,BADDEBT,,
B1,jp,receivables,*,*,1100,,,
B2,jp,clearing,*,*,1050,,,
B3,jp,tax_payable,*,*,2200,,,
""",
}


def rule_files(**changed: str) -> list[RuleFile]:
    return [
        RuleFile(table=table, path=f"rules/{table}.csv", text=changed.get(table, text))
        for table, text in TEXTS.items()
    ]


def master_data(**changed: str) -> MasterData:
    return load(rule_files(**changed), [US, JP])


def at(entity: LegalEntity, *moment: int) -> datetime:
    """A local moment of an entity, as UTC."""
    return datetime(*moment, tzinfo=ZoneInfo(entity.time_zone)).astimezone(UTC)  # type: ignore[misc, arg-type]


def invoice_line(
    net: int,
    *,
    entity: LegalEntity = US,
    id: str = "il_1",
    product: str = "prod_PLATFORM",
    service: tuple[tuple[int, ...], tuple[int, ...]] | None = ((2026, 1, 15), (2026, 2, 15)),
    tax: int = 0,
    rate: str = "7.25",
    jurisdiction: str = "US-CA",
    invoice_line: str = "",
) -> InvoiceLine:
    taxes = ()
    if tax:
        taxes = (
            LineTax(jurisdiction=jurisdiction, rate_percent=Decimal(rate), basis_minor=net, tax_minor=tax),
        )
    return InvoiceLine(
        id=id,
        description="Platform",
        product=product,
        quantity=Decimal(10),
        net_minor=net,
        service_start=at(entity, *service[0]) if service else None,
        service_end=at(entity, *service[1]) if service else None,
        taxes=taxes,
        invoice_line=invoice_line,
    )


def invoice(
    *lines: InvoiceLine,
    entity: LegalEntity = US,
    currency: str = "USD",
    issued: tuple[int, ...] = (2026, 1, 15, 9),
    transitions: tuple[tuple[str, datetime], ...] = (),
    off_by: int = 0,
) -> Invoice:
    net, tax = sum(line.net_minor for line in lines), sum(line.tax_minor for line in lines)
    moment = at(entity, *issued)
    return Invoice(
        ref=Ref(connection=entity.billing, kind="invoice", id="in_1"),
        number="INV-1",
        customer=Ref(connection=entity.billing, kind="customer", id="cus_1"),
        subscription=None,
        currency=currency,
        status="open",
        issued_at=moment,
        due_at=None,
        lines=lines,
        net_minor=net,
        tax_minor=tax,
        total_minor=net + tax + off_by,
        transitions=(("finalised", moment), *transitions),
        trace="trace-1",
    )


def account_ref(id: str = "001A") -> Ref:
    return Ref(connection="crm-main", kind="account", id=id)


def customer(**changed: object) -> Customer:
    values: dict[str, object] = {
        "ref": account_ref(),
        "name": "Acme, Inc.",
        "shipping_address": Address(country="US", region="CA"),
        "payment_terms": "NET30",
    }
    return Customer(**{**values, **changed})  # type: ignore[arg-type]


def order_line(**changed: object) -> OrderLine:
    values: dict[str, object] = {
        "id": "00k1",
        "product": "PLATFORM",
        "description": "Platform",
        "quantity": Decimal(10),
        "unit_price": Decimal("100.00"),
        "discount_percent": Decimal(10),
        "net_minor": 90000,
        "charge": "recurring",
    }
    return OrderLine(**{**values, **changed})  # type: ignore[arg-type]


def order(**changed: object) -> Order:
    values: dict[str, object] = {
        "ref": Ref(connection="crm-main", kind="opportunity", id="006A"),
        "name": "Acme 2026",
        "account": account_ref(),
        "legal_entity": "us",
        "currency": "USD",
        "lines": (order_line(),),
        "start": date(2026, 1, 15),
        "end": date(2027, 1, 15),
        "term_months": 12,
        "frequency": "month",
        "payment_terms": "",
        "po_number": "",
        "won": True,
        "closed": True,
        "approved": True,
    }
    return Order(**{**values, **changed})  # type: ignore[arg-type]
