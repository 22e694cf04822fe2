"""The demo company as the account holds it before the first call: master data, periods, exchange rates."""

from __future__ import annotations

import calendar
from datetime import date
from decimal import Decimal
from typing import Any

from tieout_lab.twins.netsuite.state import Record
from tieout_lab.twins.netsuite.tenant import Tenant

CURRENCIES = {
    "1": ("US Dollar", "USD", 2, "$"),
    "2": ("Euro", "EUR", 2, "€"),
    "3": ("Japanese Yen", "JPY", 0, "¥"),
    "4": ("British Pound", "GBP", 2, "£"),
    "5": ("Swiss Franc", "CHF", 2, "CHF"),
    "6": ("Korean Won", "KRW", 0, "₩"),
    "7": ("Chilean Peso", "CLP", 0, "CLP"),
    "8": ("Icelandic Krona", "ISK", 0, "kr"),
    # Three decimals elsewhere: the vendor knows two and none.
    "9": ("Kuwaiti Dinar", "KWD", 2, "KD"),
    "10": ("Bahraini Dinar", "BHD", 2, "BD"),
}
# US dollars for one unit, of the currencies that nothing here moves.
IN_DOLLARS = {"3": "0.0067", "4": "1.27", "5": "1.12", "6": "0.00072", "7": "0.00105", "8": "0.0072", "9": "3.25",
              "10": "2.65"}  # fmt: skip
SUBSIDIARIES = {"1": ("Tieout Demo Inc", "US", "1", None), "2": ("Tieout Demo KK", "JP", "3", "1")}
# In this account the internal id of an account is its number.
ACCOUNTS = {
    "1000": ("Bank", "Bank"),
    "1050": ("Gateway clearing", "OthCurrAsset"),
    "1100": ("Accounts receivable", "AcctRec"),
    "1150": ("Disputes receivable", "OthCurrAsset"),
    "2200": ("Tax payable", "OthCurrLiab"),
    "2300": ("Customer deposits", "OthCurrLiab"),
    "2400": ("Deferred revenue", "DeferRevenue"),
    "4000": ("Subscription revenue", "Income"),
    "4100": ("Services revenue", "Income"),
    "6100": ("Gateway fees", "Expense"),
    "6110": ("Dispute fees", "Expense"),
    "6500": ("Bad debt", "Expense"),
    "7100": ("Realised FX", "OthIncome"),
}
ITEMS = {
    "101": ("PLATFORM-DEF", "Platform, deferred", "2400"),
    "102": ("SUPPORT-DEF", "Premium support, deferred", "2400"),
    "103": ("ANALYTICS-DEF", "Analytics add-on, deferred", "2400"),
    "104": ("PLATFORM-IMM", "Platform", "4000"),
    "105": ("SUPPORT-IMM", "Premium support", "4000"),
    "106": ("ANALYTICS-IMM", "Analytics add-on", "4000"),
    "107": ("ONBOARD-IMM", "Onboarding", "4000"),
    "108": ("BADDEBT", "Bad debt", "6500"),
}
DEPARTMENTS = {"10": "Sales", "20": "Services"}
TERMS = {
    "1": ("Net 15", 15),
    "2": ("Net 30", 30),
    "3": ("Net 60", 60),
    "4": ("Due on receipt", 0),
    "5": ("Net 45", 45),
}
TAX_TYPES = {"1": ("US Sales Tax", "US"), "2": ("JP Consumption Tax", "JP"), "3": ("Exempt", None)}
TAX_CODES = {
    "501": ("CA_725", Decimal("7.25"), "1", "US"),
    "502": ("NY_8875", Decimal("8.875"), "1", "US"),
    "503": ("JP_10", Decimal(10), "2", "JP"),
    "504": ("EXEMPT", Decimal(0), "3", None),
}
PAYMENT_METHODS = {"1": "Cash", "2": "Check", "3": "Credit Card", "4": "Wire"}
YEARS = (2025, 2026, 2027)


def plant(tenant: Tenant) -> None:
    """Fill an empty account."""
    for id_, (name, symbol, precision, sign) in CURRENCIES.items():
        _add(
            tenant,
            "currency",
            id_,
            symbol,
            name=name,
            symbol=symbol,
            currencyPrecision=precision,
            displaySymbol=sign,
            exchangeRate=Decimal(1),
            isBaseCurrency=id_ == "1",
        )
    for id_, (name, land, currency, parent) in SUBSIDIARIES.items():
        _add(tenant, "subsidiary", id_, None, name=name, legalName=name, country=land, currency=currency)
        tenant.state.get("subsidiary", id_).fields.update(parent=parent, fullName=name, isElimination=False)
    for id_, (name, kind) in ACCOUNTS.items():
        _add(
            tenant,
            "account",
            id_,
            None,
            acctName=name,
            acctNumber=id_,
            acctType=kind,
            subsidiaries=["1", "2"],
        )
    for id_, (item, display, income) in ITEMS.items():
        _add(
            tenant,
            "serviceSaleItem",
            id_,
            item,
            itemId=item,
            displayName=display,
            salesDescription=display,
            incomeAccount=income,
            subsidiaries=["1", "2"],
            includeChildren=True,
        )
    for id_, name in DEPARTMENTS.items():
        _add(tenant, "department", id_, None, name=name, fullName=name)
    for id_, (name, days) in TERMS.items():
        _add(tenant, "term", id_, None, name=name, daysUntilNetDue=days, dateDriven=False)
    for id_, (name, country) in TAX_TYPES.items():
        _add(tenant, "taxType", id_, None, name=name, country=country)
    for id_, (name, rate, kind, country) in TAX_CODES.items():
        _add(tenant, "salesTaxItem", id_, name, name=name, description=name, rate=rate, taxType=kind)
        tenant.state.get("salesTaxItem", id_).fields.update(
            nexusCountry=country, saleAccount="2200", itemType="TaxItem"
        )
    for id_, name in PAYMENT_METHODS.items():
        _add(tenant, "paymentMethod", id_, None, name=name)
    _plant_periods(tenant)
    _plant_rates(tenant)
    # Document ids start above those of the master data.
    tenant.state.counters["transaction"] = 1000
    tenant.state.counters["customer"] = 600
    tenant.state.counters["serviceSaleItem"] = 200


def _add(tenant: Tenant, type_: str, id_: str, external_id: str | None, **fields: Any) -> Record:
    now = tenant.now()
    record = Record(type_, id_, now, now, external_id, {"isInactive": False, **fields})
    tenant.state.add(record)
    return record


def _plant_periods(tenant: Tenant) -> None:
    """Months under quarters under years, ids ascending in time, a parent before its children; then for each year the
    adjustment period of its last day."""
    next_id = 1
    for year in YEARS:
        year_id = next_id
        _period(tenant, year_id, f"FY {year}", date(year, 1, 1), date(year, 12, 31), None, "isYear")
        next_id += 1
        for quarter in range(4):
            first = quarter * 3 + 1
            quarter_id = next_id
            end = date(year, first + 2, calendar.monthrange(year, first + 2)[1])
            _period(
                tenant,
                quarter_id,
                f"Q{quarter + 1} {year}",
                date(year, first, 1),
                end,
                str(year_id),
                "isQuarter",
            )
            next_id += 1
            for month in range(first, first + 3):
                last = date(year, month, calendar.monthrange(year, month)[1])
                name = f"{calendar.month_abbr[month]} {year}"
                _period(tenant, next_id, name, date(year, month, 1), last, str(quarter_id), None)
                next_id += 1
    for year in YEARS:
        end = date(year, 12, 31)
        _period(tenant, next_id, f"Adjust FY {year}", end, end, None, "isAdjust")
        next_id += 1


def _period(
    tenant: Tenant, id_: int, name: str, start: date, end: date, parent: str | None, level: str | None
) -> None:
    flags = {name: level == name for name in ("isYear", "isQuarter", "isAdjust")}
    flags["isPosting"] = level in (None, "isAdjust")
    _add(
        tenant,
        "accountingPeriod",
        str(id_),
        None,
        periodName=name,
        startDate=start.isoformat(),
        endDate=end.isoformat(),
        parent=parent,
        closed=False,
        arLocked=False,
        apLocked=False,
        allLocked=False,
        allowNonGLChanges=False,
        **flags,
    )


def _plant_rates(tenant: Tenant) -> None:
    """EUR in USD: 1.08 through 2025, 1.10 from 2026-01-01, another rate each month; the rest steady."""
    rates = tenant.state.rates
    rates[("2", "1")] = [(date(2025, 1, 1), Decimal("1.08"))]
    step = (0, 2, -1, 3, 1, -2, 4, 0, 2, -3, 1, 5)
    for year in YEARS[1:]:
        for month, hundredths in enumerate(step, start=1):
            rate = (
                Decimal("1.10")
                + Decimal(hundredths).scaleb(-2)
                + (Decimal("0.03") if year > 2026 else Decimal(0))
            )
            rates[("2", "1")].append((date(year, month, 1), rate))
    start = date(2025, 1, 1)
    for currency, dollars in IN_DOLLARS.items():
        rates[(currency, "1")] = [(start, Decimal(dollars))]
    rates[("1", "3")] = [(start, Decimal("149.5"))]
    rates[("2", "3")] = [(start, Decimal("163.25"))]
    rates[("4", "3")] = [(start, Decimal("190.1"))]
