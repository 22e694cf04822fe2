"""What is sold or billed and has no rule: asked by `check`, before a deal or an invoice finds out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import date
from decimal import Decimal
from functools import partial
from typing import TypeAlias

from tieout.canonical.decision import MissingRule
from tieout.connectors.contract import Finding
from tieout.masterdata.tables import RECOGNITIONS, MasterData

NEEDED = {"recurring": ("deferred", "immediate"), "one_time": ("immediate",), "metered": ("immediate",)}
ACCOUNTS = ("receivables", "clearing", "bank", "tax_payable", "bad_debt")

# What a finding is about, and a look-up that raises MissingRule where the hole is.
Ask: TypeAlias = tuple[str, Callable[[], object]]


def coverage(
    data: MasterData,
    *,
    on: date,
    sold: Iterable[tuple[str, str, str]] = (),
    billed: Iterable[tuple[str, str]] = (),
    taxed: Iterable[tuple[str, str, Decimal]] = (),
    terms: Iterable[str] = (),
    money: Iterable[tuple[str, str]] = (),
) -> tuple[Finding, ...]:
    """Every hole on one day, as errors; empty when all is covered.

    `sold` are (CRM product, charge, entity), `billed` (billing product, entity), `taxed` (entity, jurisdiction, rate
    in per cent), `terms` the CRM's payment terms, `money` (entity, currency) that need accounts of every purpose.
    """
    asks: list[Ask] = []
    for product, charge, entity in sorted(sold):
        asks += [
            (f"product {product}", partial(_sold, data, product, entity, recognition, on))
            for recognition in NEEDED.get(charge, RECOGNITIONS)
        ]
    asks += [
        (f"billing product {product}", partial(_billed, data, product, code, on))
        for product, code in sorted(billed)
    ]
    asks += [
        (f"tax {place}", partial(data.tax_code, code, place, rate, on)) for code, place, rate in sorted(taxed)
    ]
    asks += [(f"payment terms {name}", partial(data.terms, name, on)) for name in sorted(terms)]
    for code, currency in sorted(money):
        asks += [(f"{one} account", partial(_account, data, one, code, currency, on)) for one in ACCOUNTS]
    # Two deals of one product fall into one hole.
    return tuple({finding.message: finding for finding in _holes(asks)}.values())


def _holes(asks: list[Ask]) -> Iterator[Finding]:
    for subject, ask in asks:
        try:
            ask()
        except MissingRule as hole:
            yield Finding(
                level="error", subject=subject, message=hole.outcome.message, remedy=hole.outcome.remedy
            )


def _sold(data: MasterData, product: str, entity: str, recognition: str, on: date) -> None:
    billing = data.billing_product(product, data.legal_entity(entity).billing, on).value
    data.item(billing, entity, recognition, on)


def _billed(data: MasterData, product: str, entity: str, on: date) -> None:
    """One recognition is enough: which of them an invoice asks for depends on its service period."""
    try:
        data.item(product, entity, "immediate", on)
    except MissingRule:
        data.item(product, entity, "deferred", on)


def _account(data: MasterData, purpose: str, entity: str, currency: str, on: date) -> None:
    data.account(purpose, entity, data.legal_entity(entity).billing, currency, on)


def unknown_codes(
    data: MasterData, *, items: frozenset[str], accounts: frozenset[str]
) -> tuple[Finding, ...]:
    """Rows that name an item or an account which the ERP's catalogue does not hold."""
    known = {"item": items, "account": accounts}
    return tuple(
        Finding(
            level="error",
            subject=f"{row.path}:{row.line}",
            message=f"The ERP has no {column} {row.cells[column]!r} (rule {row.rule_id}).",
            remedy=f"Write an {column} that exists there, or make it in the ERP.",
        )
        for name in ("items", "accounts")
        for row in data.tables[name].rows
        for column, codes in known.items()
        # `*`: the ERP has none of that kind to choose from, and takes any.
        if row.cells[column] and row.cells[column] not in codes and "*" not in codes
    )
