"""Payouts and disputes: pure mapping from Stripe's words."""

from __future__ import annotations

from datetime import date

from tieout.canonical.ids import Ref
from tieout.canonical.outcome import Failure, Rejected
from tieout.canonical.settlement import (
    ClearingMove,
    Dispute,
    Payout,
    debits,
    dispute_amounts,
    dispute_reason,
    payout_amounts,
    payout_reasons,
)
from tieout.connectors.contract import ListedSettlement
from tieout.connectors.stripe import wire
from tieout.connectors.stripe.mapping import moment
from tieout.connectors.stripe.money import minor

PAYOUT_STATUS = {
    "pending": "pending",
    "in_transit": "pending",
    "paid": "paid",
    "failed": "failed",
    "canceled": "cancelled",
}
DISPUTE_STATUS = {
    "needs_response": "open",
    "under_review": "open",
    "appeal_needs_response": "open",
    "appeal_under_review": "open",
    "won": "won",
    "lost": "lost",
    "warning_needs_response": "inquiry",
    "warning_under_review": "inquiry",
    "warning_closed": "inquiry",
    "prevented": "inquiry",
}


# By the vendor's own reporting categories; its types call a dispute an `adjustment`, as much else.
MOVE_KIND = {
    "charge": "charge",
    "partial_capture_reversal": "charge",
    "refund": "refund",
    "dispute": "dispute",
    "dispute_reversal": "dispute",
    "fee": "fee",
    "payout_reversal": "returned_payout",
}


def map_move(found: wire.BalanceTransaction) -> ClearingMove:
    """One balance transaction."""
    return ClearingMove(
        id=found.id,
        kind=MOVE_KIND.get(found.reporting_category, found.reporting_category or found.type),
        source=_source(found),
        currency=found.currency.upper(),
        amount_minor=minor(found.amount, found.currency),
        fee_minor=minor(found.fee, found.currency),
        occurred_at=moment(found.created),
        converted=found.exchange_rate is not None,
    )


def _source(found: wire.BalanceTransaction) -> str:
    source = found.source
    return source.id if isinstance(source, wire.Thing) else source or ""


def map_payout(name: str, payout: wire.Payout, parts: list[wire.BalanceTransaction]) -> Payout:
    """A payout with what it pays out. Raises Failure(Rejected) where an automatic one's parts do not sum to it."""
    # The list has the payout's own transaction too, and the one that took it back.
    moves = tuple(map_move(part) for part in parts if _source(part) != payout.id)
    amount = minor(payout.amount, payout.currency)
    back = payout.failure_balance_transaction
    complete = payout.reconciliation_status != "in_progress"
    found = Payout(
        ref=Ref(connection=name, kind="payout", id=payout.id),
        currency=payout.currency.upper(),
        amount_minor=amount,
        status=PAYOUT_STATUS.get(payout.status, "pending"),
        arrives_on=moment(payout.arrival_date).date(),
        returned_at=moment(back.created) if isinstance(back, wire.BalanceTransaction) else None,
        complete=complete,
        moves=moves,
    )
    if complete and moves and found.gross_minor - found.fee_minor != amount:
        message = (
            f"{payout.id}: its transactions come to {found.gross_minor} less fees of {found.fee_minor}, "
            f"but {amount} {found.currency} (minor units) were paid out"
        )
        raise Failure(Rejected(code="totals", message=message))
    return found


def map_dispute(name: str, dispute: wire.Dispute) -> Dispute:
    """A dispute with what it moved."""
    return Dispute(
        ref=Ref(connection=name, kind="dispute", id=dispute.id),
        payment=Ref(connection=name, kind="payment", id=dispute.payment_intent or dispute.charge),
        currency=dispute.currency.upper(),
        amount_minor=minor(dispute.amount, dispute.currency),
        status=DISPUTE_STATUS.get(dispute.status, "pending"),
        reason=dispute.reason,
        opened_at=moment(dispute.created),
        moves=tuple(map_move(part) for part in dispute.balance_transactions),
    )


def payout_settlement(payout: Payout, entity: str) -> ListedSettlement:
    """What a payout calls for in the books; nothing while it is under way."""
    amounts = {reason: payout_amounts(payout, reason) for reason in payout_reasons(payout, booked=False)}
    return ListedSettlement(
        id=payout.ref.id,
        kind="payout",
        entity=entity,
        currency=payout.currency,
        day=payout.arrives_on,
        status=payout.status,
        journals=tuple((reason, debits(*parts)) for reason, parts in amounts.items() if any(parts)),
        clearing_minor=sum(parts[-1] for parts in amounts.values()),
    )


def dispute_settlement(dispute: Dispute, entity: str, on: date) -> ListedSettlement:
    """What a dispute calls for in the books, move by move."""
    return ListedSettlement(
        id=dispute.ref.id,
        kind="dispute",
        entity=entity,
        currency=dispute.currency,
        day=on,
        status=dispute.status,
        journals=tuple((dispute_reason(move), debits(*dispute_amounts(move))) for move in dispute.moves),
        clearing_minor=sum(move.net_minor for move in dispute.moves),
        lost_minor=dispute.taken_minor if dispute.status == "lost" else 0,
    )
