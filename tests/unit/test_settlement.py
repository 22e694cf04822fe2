"""Payouts and disputes as journals: what moves on which account, on which day, and what no rule can tell."""

from __future__ import annotations

from datetime import UTC, date, datetime

import msgspec
import pytest
from msgspec.structs import replace

from tests.unit.company import TEXTS, US, master_data
from tieout.canonical.decision import MissingRule
from tieout.canonical.ids import Ref
from tieout.canonical.journal import JournalLine
from tieout.canonical.settlement import ClearingMove, Dispute, Payout, payout_reasons
from tieout.canonical.write import JournalWrite, decode_write, encode_write
from tieout.connectors.contract import LedgerBalance, ListedDocument, ListedSettlement
from tieout.finance.breaks import BooksInput, RecordedPosting
from tieout.finance.clearing import compare_clearing, compare_settlements
from tieout.finance.journal import Unpostable
from tieout.finance.settlement import (
    post_dispute_lost,
    post_dispute_move,
    post_payout,
    unclear,
)

RULES = master_data(
    accounts=TEXTS["accounts"]
    + """A7,us,fees,*,*,6100,,2026-01-01,
A8,us,disputes,*,*,1150,,,
A9,us,dispute_fees,*,*,6110,,,
"""
)
AT = datetime(2026, 1, 31, 23, 30, tzinfo=UTC)


def move(kind: str, amount: int, fee: int = 0, **more: object) -> ClearingMove:
    given = {"id": f"txn_{kind}_{amount}", "source": "x", "currency": "USD", "occurred_at": AT}
    return ClearingMove(kind=kind, amount_minor=amount, fee_minor=fee, **given | more)


def payout(*moves: ClearingMove, **more: object) -> Payout:
    given = {
        "ref": Ref(connection="billing-us", kind="payout", id="po_1"),
        "currency": "USD",
        "amount_minor": sum(one.net_minor for one in moves),
        "status": "paid",
        "arrives_on": date(2026, 2, 1),
    }
    return Payout(moves=moves, **given | more)


def nets(write: JournalWrite) -> dict[str, int]:
    return {line.account: line.amount_minor for line in write.journal}


def booked(found: Payout, reason: str = "payout") -> JournalWrite:
    write = post_payout(found, reason, US, RULES).write
    assert isinstance(write, JournalWrite)
    return write


EVERYTHING = (
    move("charge", 10_000, 320),
    move("refund", -2_000, -10),
    move("dispute", -1_000, 1_500),  # booked with its dispute, fee and all
    move("fee", -200),
    move("returned_payout", 500),
)


def test_a_payout_is_the_bank_and_the_fees_against_clearing():
    write = booked(payout(*EVERYTHING))
    net = 9_680 - 1_990 - 2_500 - 200 + 500
    fees = 320 - 10 + 200
    assert nets(write) == {"1000": net, "6100": fees, "1050": -(net + fees)}
    # charges less refunds, less what the dispute took off, and what came back of an earlier payout
    assert net + fees == 10_000 - 2_000 - 2_500 + 500
    assert write.amount_minor == net + fees
    assert decode_write(encode_write(write)) == write


def test_the_arrival_date_is_a_day_of_the_bank_and_no_moment():
    posting = post_payout(payout(*EVERYTHING), "payout", US, RULES)
    assert posting.write.day == date(2026, 2, 1), "midnight UTC is the day before in Los Angeles"
    assert [one.rule_id for one in posting.decisions] == ["A4", "A7", "A2"]


def test_a_payout_below_zero_is_taken_from_the_bank():
    write = booked(payout(move("charge", 1_000, 59), move("refund", -5_000)))
    assert nets(write) == {"1000": -4_059, "6100": 59, "1050": 4_000}
    assert write.amount_minor == 4_059


def test_what_came_back_keeps_its_fees():
    back = datetime(2026, 2, 4, 3, tzinfo=UTC)
    failed = payout(*EVERYTHING, status="failed", returned_at=back)
    assert payout_reasons(failed, booked=False) == ("payout", "payout_returned")
    write = booked(failed, "payout_returned")
    assert nets(write) == {"1000": -failed.amount_minor, "1050": failed.amount_minor}
    assert write.day == date(2026, 2, 3), "an event has its day in the entity's own zone"
    # It never arrived: nothing at the bank, but the fees are gone.
    early = replace(failed, returned_at=datetime(2026, 1, 31, 12, tzinfo=UTC))
    assert payout_reasons(early, booked=False) == ("payout_fees",)
    assert nets(booked(early, "payout_fees")) == {"6100": 510, "1050": -510}
    assert payout_reasons(early, booked=True) == ("payout", "payout_returned"), "it stands in the books"
    assert payout_reasons(payout(status="pending"), booked=False) == ()


def test_what_nets_to_nothing_books_nothing():
    posting = post_payout(
        payout(move("charge", 500, 0), status="cancelled", returned_at=AT), "payout_fees", US, RULES
    )
    assert posting.write is None


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (payout(amount_minor=500), "manual payout"),
        (payout(move("charge", 100, currency="EUR")), "exchanged"),
        (payout(move("charge", 100, converted=True)), "exchanged"),
        (payout(move("charge", 100), move("risk_reserved_funds", -10)), "risk_reserved_funds"),
        (payout(move("charge", 100), amount_minor=99), "differ from its amount by 1"),
        (payout(move("charge", 100), status="failed"), "does not say when"),
    ],
)
def test_what_cannot_be_told_is_said_in_words(found: Payout, said: str):
    assert said in unclear(found)
    with pytest.raises(Unpostable):
        post_payout(found, "payout", US, RULES)


def test_a_missing_account_names_the_row_to_write():
    with pytest.raises(MissingRule) as missing:
        post_payout(payout(move("charge", 100, 3), arrives_on=date(2025, 12, 31)), "payout", US, RULES)
    assert "us,fees,billing-us,USD" in missing.value.outcome.remedy
    assert RULES.account_since("fees", "us") == date(2026, 1, 1)
    assert RULES.account_since("fees", "jp") is None
    assert RULES.accounts_for("clearing", "us") == {"1050", "1051"}


def dispute(*moves: ClearingMove, status: str = "open") -> Dispute:
    return Dispute(
        ref=Ref(connection="billing-us", kind="dispute", id="dp_1"),
        payment=Ref(connection="billing-us", kind="payment", id="pi_1"),
        currency="USD",
        amount_minor=1_000,
        status=status,
        reason="fraudulent",
        opened_at=AT,
        moves=moves,
    )


def test_a_dispute_takes_gives_back_and_is_lost():
    taken, back = move("dispute", -1_000, 1_500), move("dispute", 1_000)
    found = dispute(taken, back, status="won")
    first = post_dispute_move(found, taken, US, "77", RULES).write
    assert (first.reason, nets(first)) == ("dispute_taken", {"1150": 1_000, "6110": 1_500, "1050": -2_500})
    assert first.day == date(2026, 1, 31)
    assert {line.customer for line in first.journal} == {"77"}
    second = post_dispute_move(found, back, US, "77", RULES).write
    assert (second.reason, nets(second)) == ("dispute_given_back", {"1150": -1_000, "1050": 1_000})
    lost = post_dispute_lost(dispute(taken, status="lost"), AT, US, "77", RULES).write
    assert (lost.reason, nets(lost)) == ("dispute_lost", {"6500": 1_000, "1150": -1_000})
    assert post_dispute_lost(found, AT, US, "77", RULES).write is None
    with pytest.raises(Unpostable):
        post_dispute_lost(found, AT, replace(US, write_off_tax_relief=True), "77", RULES)


def test_a_journal_that_does_not_balance_cannot_be_written_down():
    line = JournalLine(account="1000", amount_minor=5, currency="USD", entity="us")
    given = msgspec.structs.asdict(booked(payout(*EVERYTHING)))
    for journal in ((line,), (line, replace(line, amount_minor=-5, currency="EUR"))):
        with pytest.raises(ValueError):
            JournalWrite(**given | {"journal": journal, "amount_minor": 5})


# -- the books --------------------------------------------------------------------------------------------------------
SETTLEMENT = ListedSettlement(
    id="po_1", kind="payout", entity="us", currency="USD", day=date(2026, 2, 1), status="paid",
    journals=(("payout", 1_000),), clearing_minor=-1_000,
)  # fmt: skip
JOURNAL = ListedDocument(
    id="1", number="JE1", kind="journal", entity="us", currency="USD", total_minor=1_000, tax_minor=0,
    day=date(2026, 2, 1), status="posted", source="po_1", reason="payout", document_key="K",
    period="Feb 2026", accounts=(("1000", 970, 970), ("6100", 30, 30), ("1050", -1_000, -1_000)),
)  # fmt: skip
CHARGE = ListedDocument(
    id="2", number="P1", kind="payment", entity="us", currency="USD", total_minor=1_200, tax_minor=0,
    day=date(2026, 1, 20), status="posted", source="pi_1", accounts=(("1050", 1_200, 1_200), ("1100", -1_200, -1_200)),
)  # fmt: skip


def books(*documents: ListedDocument, clearing: int, by_hand: int = 0, **more: object) -> BooksInput:
    balance = LedgerBalance(
        entity="us", period="2026", account="1050", currency="USD", balance_minor=clearing
    )
    given = {
        "crm_lines": (), "billing_lines": (), "billing_documents": (), "erp_documents": documents,
        "balances": (balance,), "settlements": (SETTLEMENT,), "clearing": {("us", "1050"): by_hand},
    }  # fmt: skip
    return BooksInput(**given | more)


def test_a_payout_and_its_journal_agree():
    given = books(CHARGE, JOURNAL, clearing=200)
    (row,), breaks = compare_settlements(given)
    assert (row.measure, row.billing_minor, row.erp_minor, breaks) == ("payouts", 1_000, 1_000, ())
    assert compare_clearing(given) == ()


@pytest.mark.parametrize(
    ("documents", "amounts", "said"),
    [
        ((CHARGE,), [1_000], "not in the ERP"),
        ((CHARGE, replace(JOURNAL, posted=False)), [1_000], "JE1, and is not posted"),
        ((CHARGE, JOURNAL, replace(JOURNAL, id="3")), [-1_000], "stands there already"),
        ((CHARGE, replace(JOURNAL, total_minor=900)), [100], "says 9.00 USD"),
        ((CHARGE, JOURNAL, replace(JOURNAL, source="po_2")), [-1_000], "no payout or dispute po_2"),
        ((CHARGE, replace(JOURNAL, reason="payout_fees")), [1_000, -1_000], "not in the ERP"),
        ((CHARGE, replace(JOURNAL, entity="jp")), [1_000, -1_000], "belongs to us USD"),
    ],
)
def test_what_differs_is_told_by_its_document(documents, amounts, said):
    _, breaks = compare_settlements(books(*documents, clearing=0))
    assert [one.amount_minor for one in breaks] == amounts
    assert said in breaks[0].cause


def test_a_journal_in_another_period_than_recorded_is_told():
    recorded = {"K": RecordedPosting(period="Jan 2026")}
    _, breaks = compare_settlements(books(CHARGE, JOURNAL, clearing=200, recorded=recorded))
    assert ["recorded was Jan 2026" in one.cause for one in breaks] == [True]


def test_whatever_else_stands_on_clearing_is_told():
    (found,) = compare_clearing(books(CHARGE, JOURNAL, clearing=150))
    assert (found.amount_minor, found.document) == (50, "clearing account 1050")
    assert "0.50 USD less" in found.cause
    # What a person booked there in place of the hub counts as the gateway tells it.
    assert compare_clearing(books(CHARGE, JOURNAL, clearing=150, by_hand=-50)) == ()
