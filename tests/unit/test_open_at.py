"""Open receivables at a cut-off: told back from today's listings, on both sides alike."""

from __future__ import annotations

from datetime import date

import pytest

from tests.unit.test_books import books, erp, listed
from tieout.connectors.contract import ListedDocument
from tieout.finance.open_amounts import OpenAt

JAN, FEB, MAR = date(2026, 1, 10), date(2026, 2, 10), date(2026, 3, 10)

# Today all three are settled: one was paid in February, one voided in March, one credited in part and paid in March.
BILLING = (
    listed("in_1", "invoice", 1000, status="paid", day=JAN),
    listed("in_2", "invoice", 2000, status="voided", day=JAN),
    listed("in_2", "credit_memo", 2000, reason="voided", day=MAR),
    listed("in_3", "invoice", 3000, status="paid", day=FEB),
    listed("pay_1", "payment", 1000, settled=(("in_1", 1000),), day=FEB),
    listed("cn_3", "credit_memo", 500, settled=(("in_3", 500),), day=MAR),
    listed("pay_3", "payment", 2500, settled=(("in_3", 2500),), day=MAR),
)
ERP = (
    erp("1", "invoice", 1000, "in_1", day=JAN),
    erp("2", "invoice", 2000, "in_2", day=JAN),
    erp("3", "invoice", 3000, "in_3", day=FEB),
    erp("4", "credit_memo", 2000, "in_2", reason="voided", settled=(("2", 2000),), day=MAR),
    erp("5", "payment", 1000, "pay_1", settled=(("1", 1000),), day=FEB),
    erp("6", "credit_memo", 500, "cn_3", settled=(("3", 500),), day=MAR),
    erp("7", "payment", 2500, "pay_3", settled=(("3", 2500),), day=MAR),
)


def open_at(cut_off: date | None, documents: tuple[ListedDocument, ...] = ERP) -> tuple[int, int, int, bool]:
    found = books(documents, billing_documents=BILLING, cut_off=cut_off, recorded={})
    rows = {row.measure: row for row in found.books.billing_erp}
    row = rows.get("open receivables")
    if row is None:
        return 0, 0, 0, found.tied
    return row.billing_minor, row.erp_minor, row.delta_minor, found.tied


@pytest.mark.parametrize(
    ("cut_off", "amount"),
    [
        (date(2025, 12, 31), 0),
        (date(2026, 1, 31), 3000),
        (date(2026, 2, 28), 5000),
        (date(2026, 3, 31), 0),
        (None, 0),
    ],
)
def test_what_was_open_at_the_end_of_the_day(cut_off: date | None, amount: int) -> None:
    assert open_at(cut_off) == (amount, amount, 0, True)


def test_a_payment_on_another_day_differs_at_the_cut_off_between() -> None:
    """Today nothing differs: only the month end between the two days shows it."""
    late = tuple(
        one if one.id != "5" else erp("5", "payment", 1000, "pay_1", settled=(("1", 1000),), day=MAR)
        for one in ERP
    )
    assert open_at(None, late) == (0, 0, 0, True)
    assert open_at(date(2026, 2, 28), late) == (5000, 6000, -1000, False)


def test_what_was_written_off_before_and_recovered_after_was_not_open_between() -> None:
    billing = (
        listed("in_1", "invoice", 1000, status="paid", day=JAN, transitions=("finalised", "written_off")),
        listed("in_1", "credit_memo", 1000, reason="written_off", day=FEB),
        listed("pay_1", "payment", 1000, settled=(("in_1", 1000),), day=MAR),
    )
    at = OpenAt(billing, date(2026, 2, 28))
    assert at.of(billing[0]) == 0
    assert OpenAt(billing, date(2026, 1, 31)).of(billing[0]) == 1000


def test_credit_of_the_balance_was_never_open() -> None:
    billing = (
        listed("in_1", "invoice", 1000, status="voided", day=JAN, balance_minor=300),
        listed("in_1", "credit_memo", 1000, reason="voided", day=MAR),
    )
    assert OpenAt(billing, date(2026, 2, 28)).of(billing[0]) == 700
