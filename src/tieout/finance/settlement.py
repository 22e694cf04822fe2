"""What the ERP is asked to book for a payout and for a dispute: journals, because no document of receivables tells it.

Gateway clearing takes every charge gross when it succeeds, and gives up every refund; so a payout takes off what came
to the bank and what the gateway kept, and a dispute what was taken with its fee. What is left is the gateway's balance.
"""

from __future__ import annotations

from datetime import UTC, datetime

from tieout.canonical.decision import Rules
from tieout.canonical.ids import Ref
from tieout.canonical.journal import AccountingDate, JournalLine, accounting_date
from tieout.canonical.party import LegalEntity
from tieout.canonical.posting import Posting
from tieout.canonical.settlement import (
    ClearingMove,
    Dispute,
    Payout,
    debits,
    dispute_amounts,
    dispute_reason,
    payout_amounts,
)
from tieout.canonical.write import JournalWrite
from tieout.finance.journal import Ledger, Unpostable, balanced

OF_PAYOUT = frozenset({"charge", "refund", "dispute", "fee", "returned_payout"})
PAYOUT_PURPOSES = ("bank", "fees", "clearing")
DISPUTE_PURPOSES = ("disputes", "dispute_fees", "clearing")


def unclear(payout: Payout) -> str:
    """Why a payout's journal cannot be told from what it pays out, in words for a person; empty where it can."""
    if not payout.moves:
        return "it names no transactions, so that gross and fees are unknown (a manual payout)"
    converted = [move.id for move in payout.moves if move.converted or move.currency != payout.currency]
    if converted:
        return f"the gateway exchanged what was charged in another currency: {', '.join(converted)}"
    unknown = sorted({move.kind for move in payout.moves} - OF_PAYOUT)
    if unknown:
        ids = ", ".join(move.id for move in payout.moves if move.kind in unknown)
        return f"it pays out what no rule is for ({', '.join(unknown)}): {ids}"
    difference = sum(move.net_minor for move in payout.moves) - payout.amount_minor
    if difference:
        return f"its transactions differ from its amount by {difference} {payout.currency} (minor units)"
    if payout.status in ("failed", "cancelled") and payout.returned_at is None:
        return "it came back, and the gateway does not say when"
    return ""


def post_payout(
    payout: Payout, reason: str, entity: LegalEntity, rules: Rules, *, trace: str = ""
) -> Posting:
    """One journal of a payout, on its arrival date; what came back, on the day it did. Raises MissingRule,
    Unpostable."""
    if why := unclear(payout):
        raise Unpostable("payout", f"payout {payout.ref.id}: {why}.")
    if reason == "payout":
        # The bank's own day. A gateway writes it as midnight UTC, which is the day before in most of America.
        accounting = AccountingDate(day=payout.arrives_on, rule="arrival date", time_zone="UTC")
    else:
        returned = payout.returned_at or datetime.combine(payout.arrives_on, datetime.min.time(), UTC)
        accounting = accounting_date(returned, entity.time_zone, rule="day of the return")
    amounts = dict(zip(PAYOUT_PURPOSES, payout_amounts(payout, reason), strict=True))
    return _journal(reason, payout.ref, payout.currency, accounting, amounts, entity, rules, trace=trace)


def post_dispute_move(
    dispute: Dispute, move: ClearingMove, entity: LegalEntity, customer: str, rules: Rules, *, trace: str = ""
) -> Posting:
    """What one move of a dispute took or gave back, with its fee, on its own day. Raises MissingRule, Unpostable."""
    if move.converted or move.currency != dispute.currency:
        message = f"dispute {dispute.ref.id}: the gateway exchanged {move.id} from another currency."
        raise Unpostable("dispute", message)
    accounting = accounting_date(move.occurred_at, entity.time_zone, rule="event date")
    amounts = dict(zip(DISPUTE_PURPOSES, dispute_amounts(move), strict=True))
    return _journal(
        dispute_reason(move), dispute.ref, dispute.currency, accounting, amounts, entity, rules,
        customer=customer, trace=trace,
    )  # fmt: skip


def post_dispute_lost(
    dispute: Dispute, lost_at: datetime, entity: LegalEntity, customer: str, rules: Rules, *, trace: str = ""
) -> Posting:
    """What was taken and will not be given back, as bad debt. `write` is None where nothing is left. Raises
    MissingRule, Unpostable (tax would have to be taken back, which no journal of ours does)."""
    if entity.write_off_tax_relief:
        message = (
            f"dispute {dispute.ref.id}: {entity.name} takes tax back on a write-off; how much, a person says."
        )
        raise Unpostable("dispute", message)
    accounting = accounting_date(lost_at, entity.time_zone, rule="event date")
    amounts = {"bad_debt": dispute.taken_minor, "disputes": -dispute.taken_minor}
    return _journal(
        "dispute_lost", dispute.ref, dispute.currency, accounting, amounts, entity, rules,
        customer=customer, trace=trace,
    )  # fmt: skip


def _journal(
    reason: str,
    source: Ref,
    currency: str,
    accounting: AccountingDate,
    amounts: dict[str, int],
    entity: LegalEntity,
    rules: Rules,
    *,
    customer: str = "",
    trace: str = "",
) -> Posting:
    """Amounts by purpose, debit positive, as a journal; no write where nothing moves. Raises MissingRule."""
    ledger = Ledger()
    lines: list[JournalLine] = []
    for purpose, amount_minor in amounts.items():
        if not amount_minor:
            continue
        choice = rules.account(purpose, entity.code, source.connection, currency, accounting.day)
        lines.append(
            JournalLine(
                account=ledger.take(choice).account,
                amount_minor=amount_minor,
                currency=currency,
                entity=entity.code,
                customer=customer,
                rule=choice.rule_id,
            )
        )
    write = None
    if lines:
        write = JournalWrite(
            reason=reason,
            source=source,
            number=source.id,
            entity=entity.code,
            subsidiary=entity.subsidiary,
            currency=currency,
            amount_minor=debits(*(line.amount_minor for line in lines)),
            day=accounting.day,
            journal=balanced(lines),
            trace=trace,
        )
    else:
        ledger.say(f"{reason} {source.id} moves nothing.")
    return Posting(
        write=write, accounting=accounting, decisions=ledger.decisions, explanation=ledger.explanation
    )
