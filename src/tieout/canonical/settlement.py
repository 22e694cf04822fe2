"""What becomes of money at the gateway: payouts to the bank, and disputes."""

from __future__ import annotations

from datetime import datetime

from tieout.canonical.ids import Ref
from tieout.canonical.model import Value


class ClearingMove(Value, frozen=True):
    """One change of the gateway's balance, positive where it grows: `amount_minor` gross, of which the gateway keeps
    `fee_minor`. `kind` is the gateway's word (`charge`, `refund`, `adjustment`), `source` the id of what made it."""

    id: str
    kind: str
    source: str
    currency: str
    amount_minor: int
    fee_minor: int
    occurred_at: datetime


class Payout(Value, frozen=True, tag_field="type", tag="payout.v1"):
    """Money on its way from the gateway to the bank: `amount_minor` net, on `arrives_at`. `moves` are what it pays out;
    their gross less their fees is the net. `status` is `pending`, `paid`, `failed` or `cancelled`."""

    ref: Ref
    currency: str
    amount_minor: int
    status: str
    arrives_at: datetime
    moves: tuple[ClearingMove, ...] = ()

    @property
    def gross_minor(self) -> int:
        return sum(move.amount_minor for move in self.moves)

    @property
    def fee_minor(self) -> int:
        return sum(move.fee_minor for move in self.moves)


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
