"""The vendor's own SDK does a whole order-to-cash with the billing twin; every answer is held to the specification."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import stripe

from tests.conformance.twins.stripe_shapes import FILE, shapes
from tests.conformance.twins.stripe_world import World, at, customer, invoiced, monthly, once, world


@pytest.fixture
def billing(spec_path: Callable[[str], Path]) -> Iterator[World]:
    with world(shapes(spec_path(FILE))) as made:
        yield made
        assert made.wrong == []


def test_a_contract_with_a_negotiated_start_is_billed_from_that_day(billing: World) -> None:
    client = billing.client()
    subscription = client.v1.subscriptions.create(
        {
            "customer": customer(client).id,
            "collection_method": "send_invoice",
            "days_until_due": 30,
            "backdate_start_date": at(2026, 1, 1),
            "billing_cycle_anchor": at(2026, 2, 1),
            "automatic_tax": {"enabled": True},
            "items": [
                monthly("prod_PLATFORM", 4999, 25, metadata={"crm_line": "00k1"}),
                monthly("prod_SUPPORT", 50_000),
            ],
            "add_invoice_items": [once("prod_ONBOARD", 100_000, metadata={"crm_line": "00k3"})],
            "metadata": {"tieout_key": "0123456789ABCDEF"},
            "expand": ["latest_invoice.payments", "customer"],
        }
    )
    invoice = subscription.latest_invoice
    assert (subscription.status, invoice.status, invoice.billing_reason) == (
        "active",
        "open",
        "subscription_create",
    )
    assert [line.amount for line in invoice.lines.data] == [100_000, 50_000, 124_975]
    assert {(line.period.start, line.period.end) for line in invoice.lines.data} == {
        (at(2026, 1, 1), at(2026, 2, 1))
    }
    # 7.25 %, half up on each line: 7250 + 3625 + 9060.69
    assert [line.taxes[0].amount for line in invoice.lines.data] == [7250, 3625, 9061]
    assert (invoice.subtotal, invoice.total) == (274_975, 294_911)
    rate = client.v1.tax_rates.retrieve(invoice.total_taxes[0].tax_rate_details.tax_rate)
    assert (rate.percentage, rate.country, rate.state, rate.tax_type) == (7.25, "US", "CA", "sales_tax")
    assert invoice.parent.subscription_details.metadata["tieout_key"] == "0123456789ABCDEF"
    assert invoice.status_transitions.finalized_at == at(2026, 1, 15, 12)
    assert invoice.due_date == at(2026, 2, 14, 12)
    by_kind = {line.parent.type: line for line in invoice.lines.data}
    assert by_kind["invoice_item_details"].metadata["crm_line"] == "00k3"
    # the vendor shows the subscription's metadata on its lines; the item's is on the item
    recurring = by_kind["subscription_item_details"]
    assert "crm_line" not in recurring.metadata
    item = client.v1.subscription_items.retrieve(recurring.parent.subscription_item_details.subscription_item)
    assert item.metadata["crm_line"] == "00k1"
    assert invoice.payments.data[0].is_default
    assert invoice.payments.data[0].status == "open"


def test_cycles_run_as_the_business_clock_moves_and_bear_its_dates(billing: World) -> None:
    client = billing.client()
    first = invoiced(client)
    billing.advance(datetime(2026, 4, 20, tzinfo=UTC))
    found = list(client.v1.invoices.list({"customer": first.customer, "limit": 2}).auto_paging_iter())
    assert [one.created for one in found] == [
        at(2026, 4, 15, 12),
        at(2026, 3, 15, 12),
        at(2026, 2, 15, 12),
        first.created,
    ]
    assert [one.billing_reason for one in found] == ["subscription_cycle"] * 3 + ["subscription_create"]
    assert all(one.status == "open" for one in found)
    # a cycle invoice is a draft for an hour of business time
    assert found[0].status_transitions.finalized_at == at(2026, 4, 15, 13)
    numbers = [one.number for one in found]
    assert numbers == sorted(numbers, reverse=True)
    line = found[0].lines.data[0]
    assert (line.period.start, line.period.end) == (at(2026, 4, 15, 12), at(2026, 5, 15, 12))
    item = client.v1.subscriptions.retrieve(first.parent.subscription_details.subscription)["items"].data[0]
    assert item.current_period_end == at(2026, 5, 15, 12)
    # the first ones are overdue by now
    assert client.v1.subscriptions.retrieve(item.subscription).status == "past_due"


def test_a_draft_of_a_cycle_waits_for_its_hour(billing: World) -> None:
    client = billing.client()
    first = invoiced(client)
    billing.advance(datetime(2026, 2, 15, 12, 30, tzinfo=UTC))
    draft = client.v1.invoices.list({"customer": first.customer}).data[0]
    assert (draft.status, draft.number, draft.automatically_finalizes_at) == (
        "draft",
        None,
        at(2026, 2, 15, 13),
    )
    client.v1.subscriptions.update(
        draft.parent.subscription_details.subscription, {"metadata": {"late": "yes"}}
    )
    billing.advance(datetime(2026, 2, 15, 13, tzinfo=UTC))
    done = client.v1.invoices.retrieve(draft.id)
    assert done.status == "open"
    assert done.parent.subscription_details.metadata["late"] == "yes"
    assert done.lines.data[0].metadata["late"] == "yes"
    client.v1.subscriptions.update(
        draft.parent.subscription_details.subscription, {"metadata": {"late": "no"}}
    )
    assert client.v1.invoices.retrieve(draft.id).parent.subscription_details.metadata["late"] == "yes"


def test_a_future_contract_is_a_schedule_that_starts_on_its_day_and_ends_on_its_day(billing: World) -> None:
    client = billing.client()
    schedule = client.v1.subscription_schedules.create(
        {
            "customer": customer(client).id,
            "start_date": at(2026, 2, 1),
            "end_behavior": "cancel",
            "metadata": {"tieout_key": "K"},
            "phases": [
                {
                    "items": [monthly("prod_PLATFORM", 1000, 3, metadata={"crm_line": "1"})],
                    "add_invoice_items": [once("prod_ONBOARD", 700, metadata={"crm_line": "2"})],
                    "end_date": at(2026, 4, 1),
                    "billing_cycle_anchor": "phase_start",
                    "collection_method": "send_invoice",
                    "invoice_settings": {"days_until_due": 14},
                    "metadata": {"crm_opportunity": "006"},
                }
            ],
            "expand": ["phases.items.price"],
        }
    )
    assert schedule.status == "not_started"
    assert schedule.phases[0]["items"][0].price.unit_amount == 1000
    billing.advance(datetime(2026, 2, 1, 2, tzinfo=UTC))
    schedule = client.v1.subscription_schedules.retrieve(
        schedule.id, {"expand": ["subscription.latest_invoice"]}
    )
    subscription = schedule.subscription
    assert (schedule.status, subscription.start_date) == ("active", at(2026, 2, 1))
    assert subscription.metadata["crm_opportunity"] == "006"
    assert subscription["items"].data[0].metadata["crm_line"] == "1"
    invoice = subscription.latest_invoice
    # the first invoice of a schedule begins as a draft, and an hour later is final
    assert (invoice.status, invoice.created, invoice.total) == ("open", at(2026, 2, 1), 3700)
    assert invoice.status_transitions.finalized_at == at(2026, 2, 1, 1)
    assert invoice.due_date == at(2026, 2, 15, 1)
    billing.advance(datetime(2026, 5, 1, tzinfo=UTC))
    assert client.v1.subscriptions.retrieve(subscription.id).status == "canceled"
    assert client.v1.subscriptions.retrieve(subscription.id).ended_at == at(2026, 4, 1)
    assert client.v1.subscription_schedules.retrieve(schedule.id).status == "completed"
    assert len(client.v1.invoices.list({"subscription": subscription.id}).data) == 2


def test_one_wire_pays_several_invoices_and_the_rest_stays_free(billing: World) -> None:
    client = billing.client()
    first, second = invoiced(client, 100_00), invoiced(client, 200_00)
    record = client.v1.payment_records.report_payment(
        {
            "amount_requested": {"currency": "usd", "value": 250_00},
            "initiated_at": at(2026, 1, 15),
            "outcome": "guaranteed",
            "guaranteed": {"guaranteed_at": at(2026, 1, 15)},
            "payment_method_details": {"type": "custom", "custom": {"display_name": "Wire"}},
            "processor_details": {"type": "custom", "custom": {"payment_reference": "TT-1"}},
            "metadata": {"bank": "1"},
        }
    )
    paid = client.v1.invoices.attach_payment(first.id, {"payment_record": record.id, "expand": ["payments"]})
    assert (paid.status, paid.amount_paid, paid.amount_remaining) == ("paid", 100_00, 0)
    part = client.v1.invoices.attach_payment(
        second.id, {"payment_record": record.id, "expand": ["payments", "amount_paid_off_stripe"]}
    )
    assert (part.status, part.amount_paid, part.amount_remaining) == ("open", 150_00, 50_00)
    assert part.amount_paid_off_stripe == 150_00
    statuses = {(p.payment.type, p.status, p.amount_requested) for p in part.payments.data}
    assert statuses == {("payment_record", "paid", 150_00), ("payment_intent", "open", 50_00)}
    by_record = client.v1.invoice_payments.list(
        {"payment": {"type": "payment_record", "payment_record": record.id}}
    )
    assert {(p.invoice, p.amount_paid) for p in by_record.data} == {(first.id, 100_00), (second.id, 150_00)}
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.invoices.attach_payment(second.id, {"payment_record": record.id})
    client.v1.payment_records.report_payment_attempt_informational(
        record.id, {"metadata": {"erp_document": "9"}}
    )
    assert client.v1.payment_records.retrieve(record.id).metadata["erp_document"] == "9"
    assert [r.id for r in client.v1.payment_records.list().data] == [record.id]
    # the same by the scenario's own action, more than is owed
    wire = billing.act(
        "wire",
        account="acct_us",
        customer=second.customer,
        amount=80_00,
        currency="usd",
        reference="TT-2",
        invoices=[{"invoice": second.id, "amount": 50_00}],
    )
    assert client.v1.invoices.retrieve(second.id).status == "paid"
    assert wire["payment_record"]["processor_details"]["custom"]["payment_reference"] == "TT-2"
    with pytest.raises(stripe.InvalidRequestError):  # paid in full: nothing can be attached any more
        client.v1.invoices.attach_payment(second.id, {"payment_record": wire["payment_record"]["id"]})


def test_a_card_payment_in_two_parts_and_its_refund(billing: World) -> None:
    client = billing.client()
    invoice = invoiced(client, 100_00)
    billing.act("pay_invoice", account="acct_us", invoice=invoice.id, amount=40_00)
    half = client.v1.invoices.retrieve(invoice.id)
    assert (half.status, half.amount_paid, half.amount_remaining) == ("open", 40_00, 60_00)
    billing.act("pay_invoice", account="acct_us", invoice=invoice.id)
    payments = client.v1.invoice_payments.list(
        {"invoice": invoice.id, "expand": ["data.payment.payment_intent"]}
    )
    assert {(p.status, p.amount_paid, p.is_default) for p in payments.data} == {
        ("paid", 60_00, True),
        ("paid", 40_00, False),
    }
    intent = payments.data[0].payment.payment_intent
    charge = client.v1.charges.retrieve(intent.latest_charge, {"expand": ["balance_transaction", "refunds"]})
    assert (charge.amount, charge.balance_transaction.net, charge.paid) == (
        intent.amount,
        intent.amount,
        True,
    )
    refund = client.v1.refunds.create(
        {"payment_intent": intent.id, "amount": 10_00, "reason": "requested_by_customer"}
    )
    assert (refund.status, refund.charge) == ("succeeded", charge.id)
    with pytest.raises(stripe.InvalidRequestError) as too_much:
        client.v1.refunds.create({"charge": charge.id, "amount": charge.amount})
    assert too_much.value.param == "amount"
    client.v1.refunds.create({"charge": charge.id})
    with pytest.raises(stripe.InvalidRequestError) as again:
        client.v1.refunds.create({"charge": charge.id})
    assert again.value.code == "charge_already_refunded"
    assert client.v1.charges.retrieve(charge.id).refunded
    assert len(client.v1.refunds.list({"charge": charge.id}).data) == 2


def test_credit_notes_before_and_after_payment(billing: World) -> None:
    client = billing.client()
    invoice = invoiced(client, 100_00, automatic_tax={"enabled": True})
    line = invoice.lines.data[0]
    assert invoice.total == 107_25
    preview = client.v1.credit_notes.preview(
        {
            "invoice": invoice.id,
            "lines": [{"type": "invoice_line_item", "invoice_line_item": line.id, "amount": 40_00}],
        }
    )
    assert (preview.total, preview.total_taxes[0].amount) == (42_90, 2_90)
    assert client.v1.credit_notes.list({"invoice": invoice.id}).data == []
    note = client.v1.credit_notes.create(
        {
            "invoice": invoice.id,
            "lines": [{"type": "invoice_line_item", "invoice_line_item": line.id, "amount": 40_00}],
            "reason": "order_change",
            "metadata": {"why": "x"},
        }
    )
    assert (note.type, note.pre_payment_amount, note.number) == (
        "pre_payment",
        42_90,
        f"{invoice.number}-CN-01",
    )
    after = client.v1.invoices.retrieve(invoice.id)
    assert (after.amount_due, after.amount_remaining, after.pre_payment_credit_notes_amount) == (
        64_35,
        64_35,
        42_90,
    )
    client.v1.credit_notes.void_credit_note(note.id)
    assert client.v1.invoices.retrieve(invoice.id).amount_remaining == 107_25
    billing.act("pay_invoice", account="acct_us", invoice=invoice.id)
    with pytest.raises(stripe.InvalidRequestError):  # it must be said where the money goes
        client.v1.credit_notes.create({"invoice": invoice.id, "amount": 10_00})
    with pytest.raises(stripe.InvalidRequestError):  # more than the invoice
        client.v1.credit_notes.create({"invoice": invoice.id, "amount": 200_00, "credit_amount": 200_00})
    post = client.v1.credit_notes.create(
        {
            "invoice": invoice.id,
            "lines": [{"type": "invoice_line_item", "invoice_line_item": line.id, "amount": 60_00}],
            "refund_amount": 50_00,
            "credit_amount": 14_35,
            "expand": ["refunds.refund", "customer_balance_transaction"],
        }
    )
    assert (post.type, post.post_payment_amount, post.refunds[0].refund.amount) == (
        "post_payment",
        64_35,
        50_00,
    )
    assert client.v1.customers.retrieve(invoice.customer).balance == -14_35
    # what is left of the line takes exactly the tax that is left
    last = client.v1.credit_notes.create(
        {
            "invoice": invoice.id,
            "lines": [{"type": "invoice_line_item", "invoice_line_item": line.id, "amount": 40_00}],
            "out_of_band_amount": 42_90,
        }
    )
    assert last.total == 42_90
    assert client.v1.invoices.retrieve(invoice.id).post_payment_credit_notes_amount == 107_25
    assert [one.id for one in client.v1.credit_notes.line_items.list(last.id).data] == [last.lines.data[0].id]
    # the credit is used by the next invoice
    billing.advance(datetime(2026, 2, 16, tzinfo=UTC))
    renewed = client.v1.invoices.list({"customer": invoice.customer}).data[0]
    assert (renewed.total, renewed.starting_balance, renewed.ending_balance) == (107_25, -14_35, 0)
    assert renewed.amount_due == 107_25 - 14_35
    moves = client.v1.customers.balance_transactions.list(invoice.customer).data
    assert [(m.type, m.amount) for m in moves] == [("applied_to_invoice", 14_35), ("credit_note", -14_35)]


def test_void_write_off_and_payment_outside(billing: World) -> None:
    client = billing.client()
    voided, lost, paid = invoiced(client), invoiced(client), invoiced(client)
    assert client.v1.invoices.void_invoice(voided.id).status_transitions.voided_at == at(2026, 1, 15, 12)
    assert client.v1.invoices.mark_uncollectible(lost.id).status == "uncollectible"
    done = client.v1.invoices.pay(paid.id, {"paid_out_of_band": True, "expand": ["payments"]})
    assert (done.status, done.amount_paid) == ("paid", 100_00)
    assert {p.payment.type for p in done.payments.data if p.status == "paid"} == {"payment_record"}
    for invoice in (voided, paid):
        with pytest.raises(stripe.InvalidRequestError):
            client.v1.invoices.void_invoice(invoice.id)
    assert client.v1.invoices.pay(lost.id, {"paid_out_of_band": True}).status == "paid"
    open_intents = [i for i in client.v1.payment_intents.list().data if i.status == "requires_payment_method"]
    assert open_intents == []


def test_yen_has_no_decimals_and_its_own_account(billing: World) -> None:
    us, jp = billing.client(), billing.client("sk_test_jp")
    assert (us.v1.accounts.retrieve_current().id, jp.v1.accounts.retrieve_current().id) == (
        "acct_us",
        "acct_jp",
    )
    owner = customer(jp, "JP", None)
    subscription = jp.v1.subscriptions.create(
        {
            "customer": owner.id,
            "collection_method": "send_invoice",
            "days_until_due": 30,
            "automatic_tax": {"enabled": True},
            "items": [monthly("prod_PLATFORM", 12_345, 3, "jpy")],
            "expand": ["latest_invoice"],
        }
    )
    invoice = subscription.latest_invoice
    assert (invoice.currency, invoice.subtotal, invoice.total) == ("jpy", 37_035, 40_739)
    assert invoice.account_country == "JP"
    with pytest.raises(stripe.InvalidRequestError) as unknown:
        us.v1.customers.retrieve(owner.id)
    assert unknown.value.http_status == 404


def test_upgrade_and_downgrade_are_prorated_by_the_second(billing: World) -> None:
    client = billing.client()
    invoice = invoiced(client, 310_00)
    subscription = client.v1.subscriptions.retrieve(invoice.parent.subscription_details.subscription)
    item = subscription["items"].data[0]
    billing.advance(datetime(2026, 1, 25, 12, tzinfo=UTC))  # 21 of 31 days are left
    client.v1.subscriptions.update(
        subscription.id,
        {"items": [{"id": item.id, "quantity": 2}], "proration_behavior": "always_invoice"},
    )
    now = client.v1.invoices.list({"subscription": subscription.id}).data[0]
    assert (now.billing_reason, now.total) == ("subscription_update", 210_00)
    assert sorted(line.amount for line in now.lines.data) == [-210_00, 420_00]
    assert all(line.parent.subscription_item_details.proration for line in now.lines.data)
    # below zero: the negative invoice becomes credit, and the next renewal uses it
    client.v1.subscriptions.update(
        subscription.id,
        {
            "items": [
                {"id": item.id, "price_data": monthly("prod_PLATFORM", 31_00)["price_data"], "quantity": 1}
            ],
            "proration_behavior": "always_invoice",
        },
    )
    less = client.v1.invoices.list({"subscription": subscription.id}).data[0]
    assert (less.total, less.amount_due, less.status) == (-399_00, 0, "paid")
    assert client.v1.customers.retrieve(invoice.customer).balance == -399_00
    billing.advance(datetime(2026, 3, 20, tzinfo=UTC))
    renewals = client.v1.invoices.list({"subscription": subscription.id, "limit": 2}).data
    assert [(one.total, one.amount_due, one.status) for one in renewals] == [
        (31_00, 0, "paid"),
        (31_00, 0, "paid"),
    ]
    assert client.v1.customers.retrieve(invoice.customer).balance == -337_00


def test_an_invoice_of_many_lines_is_paged(billing: World) -> None:
    client = billing.client()
    owner = customer(client)
    for number in range(34):
        client.v1.invoice_items.create(
            {"customer": owner.id, "amount": 100 + number, "currency": "usd", "description": f"Line {number}"}
        )
    invoice = client.v1.invoices.create(
        {
            "customer": owner.id,
            "collection_method": "send_invoice",
            "days_until_due": 7,
            "pending_invoice_items_behavior": "include",
        }
    )
    invoice = client.v1.invoices.finalize_invoice(invoice.id)
    assert (len(invoice.lines.data), invoice.lines.has_more) == (10, True)
    every = list(client.v1.invoices.line_items.list(invoice.id, {"limit": 7}).auto_paging_iter())
    assert len(every) == 34
    assert sum(line.amount for line in every) == invoice.total == sum(range(100, 134))
    assert [line.id for line in every[:10]] == [line.id for line in invoice.lines.data]


def test_tax_elsewhere_is_not_collected_and_unknown_places_are_refused(billing: World) -> None:
    client = billing.client()
    for country, state, percent, reason in (
        ("US", "NY", 8.875, "standard_rated"),
        ("US", "TX", 0, "not_collecting"),
        ("DE", None, 0, "not_collecting"),
    ):
        owner = customer(client, country, state)
        invoice = invoiced(client, 100_00, customer=owner.id, automatic_tax={"enabled": True})
        tax = invoice.lines.data[0].taxes[0]
        assert tax.taxability_reason == reason
        assert client.v1.tax_rates.retrieve(tax.tax_rate_details.tax_rate).percentage == percent
    nowhere = client.v1.customers.create({"name": "Nowhere"})
    with pytest.raises(stripe.InvalidRequestError) as refused:
        invoiced(client, customer=nowhere.id, automatic_tax={"enabled": True})
    assert refused.value.code == "customer_tax_location_invalid"
    assert client.v1.subscriptions.list({"customer": nowhere.id, "status": "all"}).data == []


def test_months_backwards_one_line_for_each_or_one_for_all(billing: World) -> None:
    client = billing.client()
    given = {"backdate_start_date": at(2025, 11, 1), "billing_cycle_anchor": at(2026, 2, 1)}
    flexible = invoiced(client, 100_00, **given)
    assert [(line.period.start, line.amount) for line in flexible.lines.data] == [
        (at(2025, 11, 1), 100_00),
        (at(2025, 12, 1), 100_00),
        (at(2026, 1, 1), 100_00),
    ]
    classic = invoiced(client, 100_00, billing_mode={"type": "classic"}, **given)
    assert [line.amount for line in classic.lines.data] == [300_00]
    assert classic.lines.data[0].parent.subscription_item_details.proration
    free = invoiced(client, 100_00, backdate_start_date=at(2025, 11, 1), proration_behavior="none")
    assert [(line.period.start, line.amount) for line in free.lines.data] == [(at(2026, 1, 15, 12), 100_00)]
    last = invoiced(
        client,
        310_00,
        backdate_start_date=at(2025, 12, 31, 15),
        billing_cycle_anchor_config={"day_of_month": 31, "hour": 15, "minute": 0, "second": 0},
    )
    assert [(line.period.start, line.period.end) for line in last.lines.data] == [
        (at(2025, 12, 31, 15), at(2026, 1, 31, 15))
    ]
    billing.advance(datetime(2026, 4, 1, tzinfo=UTC))
    starts = [one.created for one in client.v1.invoices.list({"customer": last.customer}).data]
    assert starts[:3] == [at(2026, 3, 31, 15), at(2026, 2, 28, 15), at(2026, 1, 31, 15)]


def test_automatic_collection(billing: World) -> None:
    client = billing.client()
    payer = customer(client, payment_method="pm_card_visa")
    given = {"customer": payer.id, "items": [monthly("prod_PLATFORM", 900)], "expand": ["latest_invoice"]}
    subscription = client.v1.subscriptions.create(given)
    assert (subscription.status, subscription.latest_invoice.status) == ("active", "paid")
    billing.advance(datetime(2026, 2, 16, tzinfo=UTC))
    assert client.v1.invoices.list({"subscription": subscription.id}).data[0].status == "paid"
    nobody = customer(client)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.subscriptions.create({**given, "customer": nobody.id})
    assert refused.value.code == "resource_missing"
    waiting = client.v1.subscriptions.create(
        {**given, "customer": nobody.id, "payment_behavior": "default_incomplete"}
    )
    assert (waiting.status, waiting.latest_invoice.status) == ("incomplete", "open")
    with pytest.raises(stripe.CardError) as declined:
        client.v1.invoices.pay(waiting.latest_invoice.id, {"payment_method": "pm_card_chargeDeclined"})
    assert declined.value.code == "card_declined"
    client.v1.invoices.pay(waiting.latest_invoice.id, {"payment_method": "pm_card_visa"})
    assert client.v1.subscriptions.retrieve(waiting.id).status == "active"


def test_refunds_made_elsewhere_are_linked_to_a_credit_note(billing: World) -> None:
    client = billing.client()
    invoice = invoiced(client, 100_00, automatic_tax={"enabled": True})
    billing.act("pay_invoice", account="acct_us", invoice=invoice.id)
    payment = client.v1.invoice_payments.list({"invoice": invoice.id, "status": "paid"}).data[0]
    refund = client.v1.refunds.create({"payment_intent": payment.payment.payment_intent})
    with pytest.raises(stripe.InvalidRequestError):  # the refund has taken all there was to credit
        client.v1.credit_notes.create({"invoice": invoice.id, "amount": 107_25, "credit_amount": 107_25})
    note = client.v1.credit_notes.create(
        {"invoice": invoice.id, "amount": 107_25, "refunds": [{"type": "refund", "refund": refund.id}]}
    )
    assert (note.total, note.subtotal, note.total_taxes[0].amount) == (107_25, 100_00, 7_25)
    assert len(client.v1.refunds.list().data) == 1


def test_a_refund_of_a_payment_record_is_credited(billing: World) -> None:
    client = billing.client()
    invoice = invoiced(client, 100_00)
    wire = billing.act(
        "wire",
        account="acct_us",
        customer=invoice.customer,
        amount=100_00,
        currency="usd",
        invoices=[{"invoice": invoice.id}],
    )
    record = wire["payment_record"]["id"]
    client.v1.payment_records.report_refund(
        record,
        {
            "amount": {"currency": "usd", "value": 30_00},
            "outcome": "refunded",
            "processor_details": {"type": "custom", "custom": {"refund_reference": "RF-1"}},
            "refunded": {"refunded_at": at(2026, 1, 15)},
        },
    )
    link = {
        "type": "payment_record_refund",
        "payment_record_refund": {"payment_record": record, "refund_group": "RF-1"},
    }
    note = client.v1.credit_notes.create({"invoice": invoice.id, "amount": 30_00, "refunds": [link]})
    assert (note.type, note.refunds[0].amount_refunded) == ("post_payment", 30_00)
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.credit_notes.create({"invoice": invoice.id, "amount": 30_00, "refunds": [link]})


def test_credits_by_amount_take_exactly_the_whole_tax(billing: World) -> None:
    client = billing.client()
    invoice = invoiced(client, 99_99, automatic_tax={"enabled": True})
    taxes = []
    for part in (35_75, 35_75, invoice.total - 71_50):
        taxes.append(
            client.v1.credit_notes.create({"invoice": invoice.id, "amount": part}).total_taxes[0].amount
        )
    assert sum(taxes) == invoice.total_taxes[0].amount
    assert client.v1.invoices.retrieve(invoice.id).status == "paid"


def test_cancelling_now_with_credit_for_the_rest(billing: World) -> None:
    client = billing.client()
    invoice = invoiced(client, 310_00)
    subscription = invoice.parent.subscription_details.subscription
    billing.advance(datetime(2026, 1, 25, 12, tzinfo=UTC))
    done = client.v1.subscriptions.cancel(subscription, {"prorate": True, "invoice_now": True})
    assert (done.status, done.ended_at) == ("canceled", at(2026, 1, 25, 12))
    last = client.v1.invoices.retrieve(done.latest_invoice)
    assert (last.total, last.status) == (-210_00, "paid")
    credited = last.lines.data[0].parent.subscription_item_details.proration_details.credited_items
    assert credited.invoice == invoice.id
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.subscriptions.cancel(subscription)
    billing.advance(datetime(2026, 6, 1, tzinfo=UTC))
    assert len(client.v1.invoices.list({"subscription": subscription}).data) == 2


def test_a_subscription_ends_when_it_was_told_to(billing: World) -> None:
    client = billing.client()
    invoice = invoiced(client, 310_00, cancel_at=at(2026, 3, 1, 12))
    subscription = invoice.parent.subscription_details.subscription
    billing.advance(datetime(2026, 6, 1, tzinfo=UTC))
    found = client.v1.invoices.list({"subscription": subscription}).data
    assert [one.total for one in found] == [155_00, 310_00]  # 14 of 28 days
    gone = client.v1.events.list({"type": "customer.subscription.deleted"}).data[0].data.object
    assert (gone["ended_at"], gone["status"]) == (at(2026, 3, 1, 12), "canceled")
