"""The demo companies as the server holds them before the first document: made over its own API, once, in a template."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import psycopg

from tieout_lab.tryton.rpc import Rpc

YEARS = (2025, 2026, 2027)
CURRENCIES = {
    "USD": ("US Dollar", "840", "$", 2, "0.01", "1"),
    "EUR": ("Euro", "978", "€", 2, "0.01", "0.9"),
    "JPY": ("Japanese Yen", "392", "¥", 0, "1", "149.5"),
}
# In the order in which they are made: the demo company's us is 1, its jp 2.
COMPANIES = {"us": ("Tieout Demo Inc", "USD"), "jp": ("Tieout Demo KK", "JPY")}
_BALANCE, _INCOME = {"statement": "balance"}, {"statement": "income"}
TYPES: dict[str, Mapping[str, Any]] = {
    "Liquid assets": {**_BALANCE, "assets": True},
    "Receivables": {**_BALANCE, "assets": True, "receivable": True},
    "Payables": {**_BALANCE, "payable": True},
    "Taxes": _BALANCE,
    "Revenue": {**_INCOME, "revenue": True},
    # A customer's invoice credits nothing but accounts of a type with Revenue: see docs/tryton.md.
    "Deferred revenue": {**_INCOME, "revenue": True},
    "Bad debt": {**_INCOME, "revenue": True, "expense": True},
}
ACCOUNTS = {
    "1000": ("Bank", "Liquid assets"),
    "1050": ("Gateway clearing", "Liquid assets"),
    "1100": ("Accounts receivable", "Receivables"),
    "1150": ("Disputes receivable", "Liquid assets"),
    "2100": ("Accounts payable", "Payables"),
    "2200": ("Tax payable", "Taxes"),
    "2400": ("Deferred revenue", "Deferred revenue"),
    "4000": ("Subscription revenue", "Revenue"),
    "4100": ("Services revenue", "Revenue"),
    "6100": ("Gateway fees", "Bad debt"),
    "6110": ("Dispute fees", "Bad debt"),
    "6500": ("Bad debt", "Bad debt"),
}
TAXES = {
    "us": {"CA_725": "7.25", "NY_8875": "8.875", "EXEMPT": "0"},
    "jp": {"JP_10": "10", "EXEMPT": "0"},
}
# Their names are the internal ids that the demo company's rules name.
TERMS = {"1": 15, "2": 30, "3": 60, "4": 0, "5": 45}
DEPARTMENTS = {"10": "Sales", "20": "Services"}


def plant(rpc: Rpc) -> None:
    """Fill an empty database. Raises Refused."""
    currencies = {code: _currency(rpc, code, *given) for code, given in CURRENCIES.items()}
    for code, days in TERMS.items():
        line = {"type": "remainder", "relativedeltas": [["create", [{"days": days}]]]}
        rpc.create("account.invoice.payment_term", name=code, lines=[["create", [line]]])
    _sequence_of_parties(rpc)
    made = []
    for name, currency in COMPANIES.values():
        party = rpc.create("party.party", name=name, code=f"COMPANY-{name.split()[-1]}")
        made.append(rpc.create("company.company", party=party, currency=currencies[currency]))
    # Without `all` its records are those of one company alone, whatever company a call is made for.
    user = {"companies": [["add", made]], "company": made[0], "company_filter": "all"}
    rpc.do("res.user.write", [rpc.user_id], user)
    for company, entity in zip(made, COMPANIES, strict=True):
        _company(rpc.company(company), company, entity)


def unhash(link: psycopg.Connection[Any], user: str, password: str) -> None:
    """Let the lab's user sign in by a reset password, which is compared as it is: to hash one takes longer than most of
    what the server is asked."""
    link.execute(
        "UPDATE res_user SET password_hash = NULL, password_reset = %s, password_reset_expire = '2999-01-01'"
        " WHERE login = %s",
        (password, user),
    )


def _currency(
    rpc: Rpc, code: str, name: str, number: str, symbol: str, digits: int, rounding: str, rate: str
) -> int:
    """Rates are units in one unit of the base currency, which here is the dollar."""
    made = rpc.create(
        "currency.currency",
        name=name,
        code=code,
        numeric_code=number,
        symbol=symbol,
        digits=digits,
        rounding=Decimal(rounding),
    )
    rpc.create("currency.currency.rate", currency=made, date=date(YEARS[0], 1, 1), rate=Decimal(rate))
    return made


def _sequence_of_parties(rpc: Rpc) -> None:
    """The hub gives parties their codes; the sequence would give others to those that come without."""
    rpc.do("party.configuration.write", [1], {"party_sequence": None})


def _company(rpc: Rpc, company: int, entity: str) -> None:
    types = {
        name: rpc.create("account.account.type", name=name, company=company, **given)
        for name, given in TYPES.items()
    }
    accounts = {}
    for code, (name, type_) in ACCOUNTS.items():
        holds_parties = type_ in ("Receivables", "Payables")
        accounts[code] = rpc.create(
            "account.account",
            name=name,
            code=code,
            company=company,
            type=types[type_],
            reconcile=holds_parties or type_ == "Liquid assets",
            party_required=holds_parties,
        )
    for code, rate in TAXES[entity].items():
        rpc.create(
            "account.tax",
            name=code,
            description=code,
            company=company,
            type="percentage",
            rate=Decimal(rate) / 100,
            invoice_account=accounts["2200"],
            credit_note_account=accounts["2200"],
        )
    root = rpc.create(
        "analytic_account.account", name="Departments", code="DEPARTMENT", company=company, type="root"
    )
    for code, name in DEPARTMENTS.items():
        rpc.create(
            "analytic_account.account",
            name=name,
            code=code,
            company=company,
            type="normal",
            root=root,
            parent=root,
        )
    for year in YEARS:
        _year(rpc, company, year)


def _year(rpc: Rpc, company: int, year: int) -> None:
    def sequence(what: str, kind: str) -> int:
        (type_,) = rpc.rows("ir.sequence.type", [["name", "=", kind]], ["id"])
        name, prefix = f"{what} {year}", f"{what[0].upper()}{year}-"
        return rpc.create(
            "ir.sequence.strict",
            name=name,
            sequence_type=type_["id"],
            prefix=prefix,
            padding=5,
            company=company,
        )

    numbering = {
        "company": company,
        "out_invoice_sequence": sequence("invoice", "Invoice"),
        "out_credit_note_sequence": sequence("credit", "Invoice"),
        "in_invoice_sequence": sequence("supplier invoice", "Invoice"),
        "in_credit_note_sequence": sequence("supplier credit", "Invoice"),
    }
    made = rpc.create(
        "account.fiscalyear",
        name=str(year),
        company=company,
        start_date=date(year, 1, 1),
        end_date=date(year, 12, 31),
        move_sequence=sequence("move", "Account Move"),
        invoice_sequences=[["create", [numbering]]],
    )
    start = {"frequency": "monthly", "interval": 1, "end_day": 31}
    rpc.wizard(
        "account.fiscalyear.create_periods",
        ("start", {}),
        ("create_periods", {"start": start}),
        active_model="account.fiscalyear",
        active_id=made,
        active_ids=[made],
    )
