"""A customer's credit balance at billing: what made the credit, and what used it."""

from __future__ import annotations

from datetime import datetime

from tieout.canonical.ids import Ref
from tieout.canonical.model import Value


class BalanceMove(Value, frozen=True):
    """One change, positive where it favours the customer. `reason` is `credited` (a credit memo), `negative_invoice`,
    `given_back` (by the void of an invoice that had used credit), `used` (by an invoice), or `other`: nothing that a
    document of the ledger stands behind. `document` is that credit memo or invoice."""

    id: str
    reason: str
    currency: str
    amount_minor: int
    occurred_at: datetime
    document: Ref | None = None


class CustomerBalance(Value, frozen=True, tag_field="type", tag="customer_balance.v1"):
    """All changes of one customer's balance, oldest first, of every currency."""

    customer: Ref
    moves: tuple[BalanceMove, ...]
