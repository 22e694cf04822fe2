"""What the ERP is asked to post for money received and money returned."""

from __future__ import annotations

from datetime import date

from tieout.canonical.decision import AccountChoice, Decision, Rules
from tieout.canonical.journal import accounting_date
from tieout.canonical.party import LegalEntity
from tieout.canonical.payment import Payment, Refund
from tieout.canonical.posting import Posting
from tieout.canonical.write import PaymentWrite, RefundWrite
from tieout.finance.journal import Ledger, Unbalanced, Unpostable, cash_journal

# Where money of a channel lands until it is on the bank account.
LANDS_IN = {"gateway": "clearing", "bank": "bank"}


def post_payment(
    payment: Payment,
    entity: LegalEntity,
    customer_external_id: str,
    rules: Rules,
    *,
    posting_period: str | None = None,
    trace: str = "",
) -> Posting:
    """The whole amount received, on its value date; what it settles follows as applications. Raises MissingRule,
    Unbalanced (more applied than received), Unpostable."""
    if payment.amount_minor <= 0:
        raise Unpostable("amount", f"payment {payment.ref.id} has an amount of {payment.amount_minor}.")
    if payment.unapplied_minor < 0:
        what = "applied more than was received"
        raise Unbalanced(f"payment {payment.ref.id}", what, -payment.unapplied_minor, payment.currency)
    rule = "settlement event date" if payment.channel == "gateway" else "value date"
    accounting = accounting_date(payment.received_at, entity.time_zone, rule=rule)
    ledger = Ledger()
    money = _lands_in(
        payment.channel, entity, payment.ref.connection, payment.currency, accounting.day, rules
    )
    receivables = rules.account(
        "receivables", entity.code, payment.ref.connection, payment.currency, accounting.day
    )
    debit, credit = ledger.take(money).account, ledger.take(receivables).account
    if payment.unapplied_minor:
        ledger.say("What the applications leave over stays on account, inside receivables.")
    write = PaymentWrite(
        source=payment.ref,
        entity=entity.code,
        subsidiary=entity.subsidiary,
        customer=customer_external_id,
        account=debit,
        currency=payment.currency,
        amount_minor=payment.amount_minor,
        day=accounting.day,
        journal=cash_journal(
            debit=(debit, money.rule_id),
            credit=(credit, receivables.rule_id),
            amount_minor=payment.amount_minor,
            currency=payment.currency,
            entity=entity.code,
            customer=customer_external_id,
        ),
        posting_period=posting_period or "",
        reference=payment.reference,
        trace=trace,
    )
    return Posting(
        write=write, accounting=accounting, decisions=ledger.decisions, explanation=ledger.explanation
    )


def post_refund(
    refund: Refund,
    entity: LegalEntity,
    customer_external_id: str,
    rules: Rules,
    *,
    settles: tuple[tuple[str, int], ...],
    posting_period: str | None = None,
    trace: str = "",
) -> Posting:
    """Money returned on its refund date. `settles` are (ERP id, amount) of the credit memos or unapplied payments that
    it pays out, and must sum to it. A refund that settles nothing waits for a person: money without a document that
    says why. Raises MissingRule, Unbalanced, Unpostable."""
    if refund.amount_minor <= 0:
        raise Unpostable("amount", f"refund {refund.ref.id} has an amount of {refund.amount_minor}.")
    if not settles:
        message = (
            f"refund {refund.ref.id} has no credit memo: issue one, or accept it as an advance returned."
        )
        raise Unpostable("refund_without_credit_memo", message)
    difference = sum(amount for _, amount in settles) - refund.amount_minor
    if difference:
        what = "what it settles differs from its amount"
        raise Unbalanced(f"refund {refund.ref.id}", what, difference, refund.currency)
    accounting = accounting_date(refund.refunded_at, entity.time_zone, rule="refund date")
    ledger = Ledger()
    money = _lands_in(refund.channel, entity, refund.ref.connection, refund.currency, accounting.day, rules)
    receivables = rules.account(
        "receivables", entity.code, refund.ref.connection, refund.currency, accounting.day
    )
    credit, debit = ledger.take(money).account, ledger.take(receivables).account
    write = RefundWrite(
        source=refund.ref,
        entity=entity.code,
        subsidiary=entity.subsidiary,
        customer=customer_external_id,
        account=credit,
        currency=refund.currency,
        amount_minor=refund.amount_minor,
        day=accounting.day,
        settles=settles,
        journal=cash_journal(
            debit=(debit, receivables.rule_id),
            credit=(credit, money.rule_id),
            amount_minor=refund.amount_minor,
            currency=refund.currency,
            entity=entity.code,
            customer=customer_external_id,
        ),
        posting_period=posting_period or "",
        trace=trace,
    )
    return Posting(
        write=write, accounting=accounting, decisions=ledger.decisions, explanation=ledger.explanation
    )


def _lands_in(
    channel: str, entity: LegalEntity, connection: str, currency: str, on: date, rules: Rules
) -> Decision[AccountChoice]:
    purpose = LANDS_IN.get(channel)
    if purpose is None:
        raise Unpostable("channel", f"No posting rule for money by {channel!r}; known are gateway and bank.")
    return rules.account(purpose, entity.code, connection, currency, on)
