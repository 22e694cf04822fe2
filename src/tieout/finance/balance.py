"""Which credit an invoice was settled with: the oldest first. Billing keeps one sum, the ledger keeps documents."""

from __future__ import annotations

from collections import deque

from tieout.canonical.balance import BalanceMove, CustomerBalance
from tieout.canonical.ids import Ref
from tieout.canonical.model import Value


class BalanceUse(Value, frozen=True):
    """A part of the credit that a document made (`made`, None: no document stands behind it) and an invoice used
    (None: taken away by hand)."""

    made: BalanceMove | None
    invoice: Ref | None
    amount_minor: int


def settle_balance(balance: CustomerBalance, currency: str) -> tuple[BalanceUse, ...]:
    """Every use of the credit of one currency, first in, first out. Later changes never alter an earlier use: what a
    void gives back is new credit, made by that void."""
    credit: deque[tuple[BalanceMove, int]] = deque()
    uses: list[BalanceUse] = []
    owed = 0
    for move in balance.moves:
        if move.currency != currency:
            continue
        if move.amount_minor >= 0:
            # What the customer owed is paid off before credit is left to be used.
            paid_off = min(owed, move.amount_minor)
            owed -= paid_off
            if paid_off:
                uses.append(BalanceUse(made=_known(move), invoice=None, amount_minor=paid_off))
            if move.amount_minor > paid_off:
                credit.append((move, move.amount_minor - paid_off))
            continue
        invoice = move.document if move.reason == "used" else None
        wanted = -move.amount_minor
        while wanted and credit:
            made, left = credit.popleft()
            taken = min(left, wanted)
            wanted -= taken
            uses.append(BalanceUse(made=_known(made), invoice=invoice, amount_minor=taken))
            if left > taken:
                credit.appendleft((made, left - taken))
        if wanted and invoice is not None:
            uses.append(BalanceUse(made=None, invoice=invoice, amount_minor=wanted))
        elif wanted:
            owed += wanted
    return tuple(uses)


def _known(move: BalanceMove) -> BalanceMove | None:
    return None if move.document is None or move.reason == "other" else move
