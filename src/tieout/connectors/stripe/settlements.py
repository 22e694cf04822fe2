"""Payouts and disputes: pure mapping from Stripe's words."""

from __future__ import annotations

from tieout.canonical.ids import Ref
from tieout.canonical.outcome import Failure, Rejected
from tieout.canonical.settlement import ClearingMove, Dispute, Payout
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


def map_move(found: wire.BalanceTransaction) -> ClearingMove:
    """One balance transaction."""
    source = found.source
    return ClearingMove(
        id=found.id,
        kind=found.type,
        source=source.id if isinstance(source, wire.Thing) else source or "",
        currency=found.currency.upper(),
        amount_minor=minor(found.amount, found.currency),
        fee_minor=minor(found.fee, found.currency),
        occurred_at=moment(found.created),
    )


def map_payout(name: str, payout: wire.Payout, parts: list[wire.BalanceTransaction]) -> Payout:
    """A payout with what it pays out. Raises Failure(Rejected) where an automatic one's parts do not sum to it."""
    moves = tuple(map_move(part) for part in parts if part.type != "payout")
    amount = minor(payout.amount, payout.currency)
    found = Payout(
        ref=Ref(connection=name, kind="payout", id=payout.id),
        currency=payout.currency.upper(),
        amount_minor=amount,
        status=PAYOUT_STATUS.get(payout.status, "pending"),
        arrives_at=moment(payout.arrival_date),
        moves=moves,
    )
    if moves and found.gross_minor - found.fee_minor != amount:
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
