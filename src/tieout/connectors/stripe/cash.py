"""Payments and refunds: pure mapping from Stripe's words."""

from __future__ import annotations

from datetime import datetime

from tieout.canonical.balance import BalanceMove, CustomerBalance
from tieout.canonical.ids import Ref
from tieout.canonical.payment import Application, Payment, Refund
from tieout.connectors.stripe import wire
from tieout.connectors.stripe.mapping import moment
from tieout.connectors.stripe.money import minor

INTENT_STATUS = {
    "succeeded": "succeeded",
    "canceled": "cancelled",
    "processing": "pending",
    "requires_action": "pending",
    "requires_capture": "pending",
    "requires_confirmation": "pending",
    "requires_payment_method": "pending",
}
CHARGE_STATUS = {"succeeded": "succeeded", "failed": "failed", "pending": "pending"}
# Words under which the negative total of an invoice becomes credit.
MADE_BY_INVOICE = ("applied_to_invoice", "invoice_too_small")
REFUND_STATUS = {
    "succeeded": "succeeded",
    "failed": "failed",
    "canceled": "cancelled",
    "pending": "pending",
    "requires_action": "pending",
}


def map_applications(name: str, parts: list[wire.InvoicePayment]) -> tuple[Application, ...]:
    """What of a payment settles which invoice, oldest first; only what is paid."""
    paid = [part for part in parts if part.status == "paid" and part.amount_paid]
    return tuple(
        sorted(
            (
                Application(
                    id=part.id,
                    invoice=Ref(connection=name, kind="invoice", id=paid_invoice(part)),
                    amount_minor=minor(part.amount_paid or 0, part.currency),
                    applied_at=moment(paid_at(part)),
                    after_write_off=after_write_off(part),
                )
                for part in paid
            ),
            key=lambda application: (application.applied_at, application.id),
        )
    )


def paid_at(part: wire.InvoicePayment) -> int:
    """When an invoice payment was paid, in seconds since 1970."""
    told = part.status_transitions
    return told.paid_at if told is not None and told.paid_at is not None else part.created


def paid_invoice(part: wire.InvoicePayment) -> str:
    """The id of the invoice that was paid."""
    return part.invoice if isinstance(part.invoice, str) else part.invoice.id


def after_write_off(part: wire.InvoicePayment) -> bool:
    """Whether the invoice, asked for whole, had been marked uncollectible when this was paid."""
    if isinstance(part.invoice, str):
        return False
    given_up = part.invoice.status_transitions.marked_uncollectible_at
    return given_up is not None and given_up <= paid_at(part)


def map_balance(name: str, customer: str, changes: list[wire.BalanceChange]) -> CustomerBalance:
    """A customer's balance; `changes` come newest first, as the vendor lists them."""
    return CustomerBalance(
        customer=Ref(connection=name, kind="customer", id=customer),
        moves=tuple(map_balance_change(name, change) for change in reversed(changes)),
    )


def map_balance_change(name: str, change: wire.BalanceChange) -> BalanceMove:
    """One change. What the vendor's word and the sign do not make certain is `other`, never credit."""
    reason, document = "other", None
    owed_before = change.ending_balance - change.amount > 0
    if change.amount < 0 and change.type == "credit_note" and change.credit_note:
        reason, document = "credited", Ref(connection=name, kind="credit_memo", id=change.credit_note)
    elif change.invoice:
        of_invoice = Ref(connection=name, kind="invoice", id=change.invoice)
        if change.amount > 0 and change.type == "applied_to_invoice":
            reason, document = "used", of_invoice
        elif change.amount < 0 and change.type == "unapplied_from_invoice":
            reason, document = "given_back", of_invoice
        elif change.amount < 0 and change.type in MADE_BY_INVOICE and not owed_before:
            reason, document = "negative_invoice", of_invoice
    return BalanceMove(
        id=change.id,
        reason=reason,
        currency=change.currency.upper(),
        amount_minor=-minor(change.amount, change.currency),
        occurred_at=moment(change.created),
        document=document,
    )


def settled_at(charge: wire.Charge) -> int:
    """When a charge succeeded: its balance transaction is made then. A debit's charge itself is days older."""
    booked = charge.balance_transaction
    if isinstance(booked, wire.BalanceTransaction) and booked.created:
        return booked.created
    return charge.created


def intent_received_at(intent: wire.PaymentIntent) -> datetime:
    """When a payment intent brought its money."""
    charge = intent.latest_charge
    return moment(
        settled_at(charge) if isinstance(charge, wire.Charge) and charge.created else intent.created
    )


def map_intent(name: str, intent: wire.PaymentIntent, parts: list[wire.InvoicePayment]) -> Payment:
    """A payment through Stripe."""
    return Payment(
        ref=Ref(connection=name, kind="payment", id=intent.id),
        customer=Ref(connection=name, kind="customer", id=intent.customer or ""),
        channel="gateway",
        currency=intent.currency.upper(),
        amount_minor=minor(intent.amount_received, intent.currency),
        status=INTENT_STATUS.get(intent.status, "pending"),
        received_at=intent_received_at(intent),
        applications=map_applications(name, parts),
        reference=intent.description or "",
    )


def map_charge(name: str, charge: wire.Charge) -> Payment:
    """A payment by a charge that no payment intent stands behind; invoices are not settled by such."""
    captured = charge.amount if charge.amount_captured is None else charge.amount_captured
    return Payment(
        ref=Ref(connection=name, kind="payment", id=charge.id),
        customer=Ref(connection=name, kind="customer", id=charge.customer or ""),
        channel="gateway",
        currency=charge.currency.upper(),
        amount_minor=minor(captured, charge.currency),
        status=CHARGE_STATUS.get(charge.status, "pending"),
        received_at=moment(settled_at(charge)),
    )


def record_status(record: wire.PaymentRecord) -> str:
    """A payment record has no status of its own: what is guaranteed has been received."""
    if record.amount_guaranteed.value > 0:
        return "succeeded"
    if record.amount_failed.value > 0:
        return "failed"
    return "cancelled" if record.amount_canceled.value > 0 else "pending"


def map_record(name: str, record: wire.PaymentRecord, parts: list[wire.InvoicePayment]) -> Payment:
    """A payment from outside Stripe: a wire, a cheque."""
    amount = record.amount_guaranteed if record.amount_guaranteed.value > 0 else record.amount_requested
    processor = record.processor_details.custom if record.processor_details else None
    return Payment(
        ref=Ref(connection=name, kind="payment", id=record.id),
        customer=Ref(connection=name, kind="customer", id=record_customer(record)),
        channel="bank",
        currency=amount.currency.upper(),
        amount_minor=minor(amount.value, amount.currency),
        status=record_status(record),
        received_at=moment(record.created),
        applications=map_applications(name, parts),
        reference=(processor.payment_reference if processor else None) or "",
    )


def record_customer(record: wire.PaymentRecord) -> str:
    """The customer of a payment record, or nothing."""
    return (record.customer_details.customer if record.customer_details else None) or ""


def refund_payment(refund: wire.Refund) -> str:
    """The one id of the payment that a refund returns."""
    intent = refund.payment_intent
    return (intent if isinstance(intent, str | None) else intent.id) or refund.charge or ""


def map_refund(name: str, refund: wire.Refund, memos: tuple[tuple[Ref, int], ...]) -> Refund:
    """A refund by Stripe, with the credit notes it settles."""
    intent = refund.payment_intent
    customer = refund.customer or (intent.customer if isinstance(intent, wire.PaymentIntent) else None)
    return Refund(
        ref=Ref(connection=name, kind="refund", id=refund.id),
        payment=Ref(connection=name, kind="payment", id=refund_payment(refund)),
        customer=Ref(connection=name, kind="customer", id=customer or ""),
        channel="gateway",
        currency=refund.currency.upper(),
        amount_minor=minor(refund.amount, refund.currency),
        status=REFUND_STATUS.get(refund.status or "", "pending"),
        refunded_at=moment(refund.created),
        credit_memos=memos,
    )


def map_record_refund(name: str, id: str, record: wire.PaymentRecord, notes: list[wire.CreditNote]) -> Refund:
    """Money that went back outside Stripe, known only from the credit notes that name it. `notes` are these."""
    parts = [
        (note, minor(part.amount_refunded, note.currency))
        for note in notes
        for part in note.refunds or ()
        if part.payment_record_refund is not None
        and f"{part.payment_record_refund.payment_record}:{part.payment_record_refund.refund_group}" == id
    ]
    return Refund(
        ref=Ref(connection=name, kind="refund", id=id),
        payment=Ref(connection=name, kind="payment", id=record.id),
        customer=Ref(connection=name, kind="customer", id=record_customer(record)),
        channel="bank",
        currency=parts[0][0].currency.upper(),
        amount_minor=sum(amount for _, amount in parts),
        status="succeeded",
        refunded_at=moment(min(note.effective_at or note.created for note, _ in parts)),
        credit_memos=tuple(
            (Ref(connection=name, kind="credit_memo", id=note.id), amount) for note, amount in parts
        ),
    )
