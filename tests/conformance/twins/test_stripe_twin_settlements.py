"""Fees, payouts and disputes at the billing twin, by the vendor's own SDK, every answer held to the specification."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.conformance.twins.stripe_shapes import FILE, shapes
from tests.conformance.twins.stripe_world import World, invoiced, world


@pytest.fixture
def twin(spec_path: Callable[[str], Path]) -> Iterator[World]:
    with world(shapes(spec_path(FILE))) as made:
        yield made
        assert made.wrong == []
        assert made.answers


def test_a_payout_is_what_charges_refunds_and_fees_leave(twin: World) -> None:
    twin.act("settings", fee_percent="2.9", fee_fixed=30)
    client = twin.client()
    invoice = invoiced(client, 100_00, automatic_tax={"enabled": True})
    twin.act("pay_invoice", account="acct_us", invoice=invoice.id)
    (charge,) = client.v1.charges.list({"expand": ["data.balance_transaction"]}).data
    fee = 341  # 2.9 % of 107.25, and 30
    assert (charge.balance_transaction.amount, charge.balance_transaction.fee) == (107_25, fee)
    assert charge.balance_transaction.fee_details[0].amount == fee
    client.v1.refunds.create({"charge": charge.id, "amount": 7_25})
    with pytest.raises(Exception, match="insufficient funds"):
        client.v1.payouts.create({"amount": 1, "currency": "usd"})
    twin.advance(datetime(2026, 1, 18, 12, tzinfo=UTC))
    assert client.v1.balance.retrieve().available[0].amount == 100_00 - fee
    payout = client.v1.payouts.create({"amount": 100_00 - fee, "currency": "usd"})
    moves = client.v1.balance_transactions.list({"payout": payout.id}).data
    assert sum(one.net for one in moves if one.type != "payout") == payout.amount
    assert {one.type for one in moves} == {"charge", "refund", "payout"}
    assert client.v1.balance.retrieve().available[0].amount == 0
    assert client.v1.payouts.retrieve(payout.id).status == "in_transit"
    twin.advance(datetime(2026, 1, 21, tzinfo=UTC))
    assert client.v1.payouts.list({"status": "paid"}).data[0].id == payout.id
    kinds = [event.type for event in client.v1.events.list({"type": "payout.*"}).data]
    assert kinds == ["payout.paid", "payout.updated", "payout.created"]


@pytest.mark.parametrize("won", [True, False])
def test_a_dispute_takes_the_money_and_its_end_decides(twin: World, *, won: bool) -> None:
    twin.act("settings", dispute_fee=15_00)
    client = twin.client()
    twin.act(
        "pay_invoice", account="acct_us", invoice=invoiced(client, 100_00, automatic_tax={"enabled": True}).id
    )
    (charge,) = client.v1.charges.list().data
    dispute = twin.act("dispute", account="acct_us", charge=charge.id, reason="fraudulent")
    found = client.v1.disputes.retrieve(dispute["id"])
    assert (found.status, found.amount) == ("needs_response", 107_25)
    assert [(one.amount, one.fee) for one in found.balance_transactions] == [(-107_25, 15_00)]
    assert client.v1.charges.retrieve(charge.id).disputed
    answered = client.v1.disputes.update(found.id, {"evidence": {"uncategorized_text": "it was sent"}})
    assert answered.status == "under_review"
    if won:
        twin.act("close_dispute", account="acct_us", dispute=found.id, won=True)
    else:
        client.v1.disputes.close(found.id)
    closed = client.v1.disputes.retrieve(found.id)
    assert closed.status == ("won" if won else "lost")
    assert sum(one.net for one in closed.balance_transactions) == (-15_00 if won else -122_25)
    kinds = {event.type for event in client.v1.events.list({"type": "charge.dispute.*"}).data}
    assert {"charge.dispute.created", "charge.dispute.funds_withdrawn", "charge.dispute.closed"} <= kinds
    assert ("charge.dispute.funds_reinstated" in kinds) is won
    with pytest.raises(Exception, match=closed.status):
        client.v1.disputes.close(found.id)


def test_a_payment_that_is_taken_off_its_invoice_leaves_it_open(twin: World) -> None:
    client = twin.client()
    invoice = invoiced(client, 100_00)
    twin.act("pay_invoice", account="acct_us", invoice=invoice.id)
    (part,) = client.v1.invoice_payments.list({"invoice": invoice.id, "status": "paid"}).data
    intent = part.payment.payment_intent
    twin.act("detach_payment", account="acct_us", invoice=invoice.id, payment=intent)
    now = client.v1.invoices.retrieve(invoice.id)
    assert (now.status, now.amount_paid, now.amount_remaining) == ("open", 0, 100_00)
    assert now.status_transitions.paid_at is None
    assert client.v1.invoice_payments.list({"invoice": invoice.id, "status": "paid"}).data == []
    assert client.v1.payment_intents.retrieve(intent).status == "succeeded"
    # Its event is a preview's as well, which this version's list of types does not have.
    events = twin.act("snapshot", account="acct_us", kinds=["events"])["acct_us"]["events"]
    (told,) = [one for one in events if one["type"] == "invoice_payment.detached"]
    assert told["data"]["object"]["id"] == part.id
    twin.act("pay_invoice", account="acct_us", invoice=invoice.id)
    assert client.v1.invoices.retrieve(invoice.id).status == "paid"
    assert len(client.v1.charges.list().data) == 2
