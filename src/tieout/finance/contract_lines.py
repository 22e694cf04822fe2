"""CRM against billing: every contract line, what was sold beside what is billed, without tax."""

from __future__ import annotations

from collections import defaultdict
from datetime import date
from decimal import Decimal
from typing import TypeAlias

from tieout.canonical.model import Value
from tieout.connectors.contract import ListedLine
from tieout.finance.breaks import CRM_BILLING, Break, Totals

MEASURE = "contracted value"
LineKey: TypeAlias = tuple[str, str, str, str]


class LineTerms(Value, frozen=True):
    """One side of a contract line, per billing period and without tax; `end` is exclusive."""

    quantity: Decimal
    net_price_minor: Decimal
    frequency: str
    start: date | None
    end: date | None
    contracted_minor: int


class ContractLineRow(Value, frozen=True):
    """One contract line in both systems; a side is None where it does not stand."""

    contract: str
    line: str
    entity: str
    currency: str
    product: str
    crm: LineTerms | None
    billing: LineTerms | None
    delta_minor: int
    differs_in: tuple[str, ...] = ()


def compare_contract_lines(
    crm: tuple[ListedLine, ...], billing: tuple[ListedLine, ...]
) -> tuple[tuple[ContractLineRow, ...], tuple[Break, ...]]:
    """Rows per contract line, and one break per contract (entity, currency) that differs.

    Two lines at billing for one of the CRM are a second subscription: the surplus is a duplicate."""
    totals = Totals(CRM_BILLING)
    left, right = _by_key(crm), _by_key(billing)
    rows: list[ContractLineRow] = []
    breaks: list[Break] = []
    told: dict[tuple[str, str, str], list[tuple[int, str]]] = defaultdict(list)
    # The CRM's order of lines, then what billing alone has.
    for key in dict.fromkeys([*left, *right]):
        contract, _, entity, currency = key
        ours, theirs = left.get(key, []), right.get(key, [])
        for line in ours:
            totals.add_left(MEASURE, entity, currency, line.contracted_minor)
        for line in theirs:
            totals.add_right(MEASURE, entity, currency, line.contracted_minor)
        row = _row(key, ours, theirs)
        rows.append(row)
        surplus = theirs[len(ours) :] if ours else []
        if surplus:
            amount = -sum(line.contracted_minor for line in surplus)
            cause = f"line {row.product} stands {len(theirs)} times at billing, once was sold"
            breaks.append(_break(contract, entity, currency, amount, cause, duplicate=True))
        rest = row.delta_minor + sum(line.contracted_minor for line in surplus)
        if row.differs_in or rest:
            told[contract, entity, currency].append((rest, _said(row)))
    for (contract, entity, currency), parts in told.items():
        causes = "; ".join(dict.fromkeys(cause for _, cause in parts))
        breaks.append(_break(contract, entity, currency, sum(amount for amount, _ in parts), causes))
    return tuple(rows), (*breaks, *totals.untied(breaks))


def _break(
    contract: str, entity: str, currency: str, amount: int, cause: str, *, duplicate: bool = False
) -> Break:
    return Break(
        pair=CRM_BILLING,
        measure=MEASURE,
        entity=entity,
        currency=currency,
        document=contract,
        amount_minor=amount,
        cause=cause,
        duplicate=duplicate,
    )


def _by_key(lines: tuple[ListedLine, ...]) -> dict[LineKey, list[ListedLine]]:
    found: dict[LineKey, list[ListedLine]] = defaultdict(list)
    for line in lines:
        found[line.contract, line.line, line.entity, line.currency].append(line)
    return found


def _terms(line: ListedLine) -> LineTerms:
    return LineTerms(
        quantity=line.quantity,
        net_price_minor=line.unit_minor,
        frequency=line.frequency,
        start=line.start,
        end=line.end,
        contracted_minor=line.contracted_minor,
    )


def _row(key: LineKey, ours: list[ListedLine], theirs: list[ListedLine]) -> ContractLineRow:
    contract, line, entity, currency = key
    crm = _terms(ours[0]) if ours else None
    billing = _terms(theirs[0]) if theirs else None
    if crm is None:
        differs: tuple[str, ...] = ("not in the CRM",)
    elif billing is None:
        differs = ("not at billing",)
    else:
        differs = tuple(
            f"{name.replace('_minor', '').replace('_', ' ')} {before} is {now} at billing"
            for name in LineTerms.__struct_fields__
            if (before := getattr(crm, name)) != (now := getattr(billing, name))
        )
    return ContractLineRow(
        contract=contract,
        line=line,
        entity=entity,
        currency=currency,
        product=(ours or theirs)[0].product,
        crm=crm,
        billing=billing,
        delta_minor=sum(one.contracted_minor for one in ours) - sum(one.contracted_minor for one in theirs),
        differs_in=differs,
    )


def _said(row: ContractLineRow) -> str:
    return f"line {row.product}: {', '.join(row.differs_in) or 'contracted value differs'}"
