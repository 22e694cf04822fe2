"""What becomes of money at the gateway: payouts to the bank, and disputes."""

from __future__ import annotations

from datetime import date, datetime

from tieout.canonical.ids import Ref
from tieout.canonical.model import Value


class ClearingMove(Value, frozen=True):
    """One change of the gateway's balance, positive where it grows: `amount_minor` gross, of which the gateway keeps
    `fee_minor`. `kind` is `charge`, `refund`, `dispute`, `fee` (what the gateway charges by itself, as an amount below
    zero) or `returned_payout`; any other is the gateway's own word, which no rule is for. `source` is the id of what
    made it. `converted`: it was charged in another currency, and the gateway exchanged it."""

    id: str
    kind: str
    source: str
    currency: str
    amount_minor: int
    fee_minor: int
    occurred_at: datetime
    converted: bool = False

    @property
    def net_minor(self) -> int:
        return self.amount_minor - self.fee_minor


class Payout(Value, frozen=True, tag_field="type", tag="payout.v2"):
    """Money on its way from the gateway to the bank: `amount_minor` net (below zero: taken from the bank), on
    `arrives_on`, which is a day of the bank and no moment. `moves` are what it pays out; their gross less their fees
    is the net; before `complete` the gateway is still listing them. `status` is `pending`, `paid`, `failed` or
    `cancelled`; what failed or was cancelled is back at the gateway at `returned_at`."""

    ref: Ref
    currency: str
    amount_minor: int
    status: str
    arrives_on: date
    returned_at: datetime | None = None
    complete: bool = True
    moves: tuple[ClearingMove, ...] = ()

    @property
    def gross_minor(self) -> int:
        return sum(move.amount_minor for move in self.moves)

    @property
    def fee_minor(self) -> int:
        """All fees of its moves."""
        return sum(move.fee_minor for move in self.moves)

    @property
    def expense_minor(self) -> int:
        """The fees that are booked with it: those of charges and refunds, and what the gateway charged by itself. A
        dispute's fee is booked with the dispute."""
        fees = sum(move.fee_minor for move in self.moves if move.kind != "dispute")
        return fees - sum(move.amount_minor for move in self.moves if move.kind == "fee")

    @property
    def clearing_minor(self) -> int:
        """What it takes off gateway clearing."""
        return self.amount_minor + self.expense_minor

    @property
    def was_at_bank(self) -> bool:
        """Whether the bank had it, be it that it came back later."""
        if self.status == "failed":
            return self.returned_at is not None and self.returned_at.date() >= self.arrives_on
        return self.status == "paid"


class Dispute(Value, frozen=True, tag_field="type", tag="dispute.v1"):
    """A payment that the payer's bank takes back. `status` is `open`, `won`, `lost`, `inquiry` (nothing was taken) or
    `pending` (a word that we do not know); `moves` are what was taken and given back, with the fee."""

    ref: Ref
    payment: Ref
    currency: str
    amount_minor: int
    status: str
    reason: str
    opened_at: datetime
    moves: tuple[ClearingMove, ...] = ()

    @property
    def taken_minor(self) -> int:
        """What was taken and not given back, without fees."""
        return -sum(move.amount_minor for move in self.moves)


def debits(*amounts_minor: int) -> int:
    """The sum of the debits among signed amounts."""
    return sum(amount for amount in amounts_minor if amount > 0)


def payout_reasons(payout: Payout, *, booked: bool) -> tuple[str, ...]:
    """The journals that a payout calls for. One that came back after the bank had it (`booked`: as we booked it) keeps
    its journal and gets a second one; one that never arrived has cost its fees all the same."""
    match payout.status:
        case "paid":
            return ("payout",)
        case "failed" | "cancelled" if booked or payout.was_at_bank:
            return ("payout", "payout_returned")
        case "failed" | "cancelled":
            return ("payout_fees",)
        case _:
            return ()


def payout_amounts(payout: Payout, reason: str) -> tuple[int, int, int]:
    """What one journal of a payout moves on the bank, gateway fees and gateway clearing, debit positive.

    `payout`: it arrived. `payout_fees`: it never did, but its fees are gone. `payout_returned`: it is back at the
    gateway, the fees are not. ValueError for another reason."""
    match reason:
        case "payout":
            return payout.amount_minor, payout.expense_minor, -payout.clearing_minor
        case "payout_fees":
            return 0, payout.expense_minor, -payout.expense_minor
        case "payout_returned":
            return -payout.amount_minor, 0, payout.amount_minor
        case _:
            raise ValueError(f"no journal of a payout: {reason}")


def dispute_amounts(move: ClearingMove) -> tuple[int, int, int]:
    """What one move of a dispute moves on disputes receivable, dispute fees and gateway clearing, debit positive."""
    return -move.amount_minor, move.fee_minor, move.net_minor


def dispute_reason(move: ClearingMove) -> str:
    """The reason of the journal of one move of a dispute."""
    return "dispute_taken" if move.amount_minor < 0 else "dispute_given_back"
