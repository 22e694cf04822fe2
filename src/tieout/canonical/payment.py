"""What was paid: payments with their applications, and refunds."""

from __future__ import annotations

from datetime import datetime

from tieout.canonical.ids import Ref
from tieout.canonical.model import Value


class Application(Value, frozen=True):
    """A part of a payment that settles one invoice at billing. `after_write_off`: the invoice had been given up."""

    id: str
    invoice: Ref
    amount_minor: int
    applied_at: datetime
    after_write_off: bool = False


class Payment(Value, frozen=True, tag_field="type", tag="payment.v1"):
    """Money received. `channel` is `gateway` (card, debit: lands in the gateway clearing account) or `bank` (wire,
    cheque: lands on the bank account). What the applications leave over is on account."""

    ref: Ref
    customer: Ref
    channel: str
    currency: str
    amount_minor: int
    status: str
    received_at: datetime
    applications: tuple[Application, ...] = ()
    reference: str = ""

    @property
    def unapplied_minor(self) -> int:
        return self.amount_minor - sum(part.amount_minor for part in self.applications)


class Refund(Value, frozen=True, tag_field="type", tag="refund.v1"):
    """Money returned. `credit_memos` are (credit memo, amount) that this refund settles; empty when the gateway
    refunded without one."""

    ref: Ref
    payment: Ref
    customer: Ref
    channel: str
    currency: str
    amount_minor: int
    status: str
    refunded_at: datetime
    credit_memos: tuple[tuple[Ref, int], ...] = ()
