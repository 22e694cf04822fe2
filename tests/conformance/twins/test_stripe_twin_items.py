"""Invoice items, the lines of a draft, and a subscription's life beyond its cycles, through the vendor's SDK."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import stripe

from tests.conformance.twins.stripe_shapes import FILE, shapes
from tests.conformance.twins.stripe_world import World, at, customer, invoiced, monthly, world

TERMS: Any = {"collection_method": "send_invoice", "days_until_due": 30}


@pytest.fixture
def billing(spec_path: Callable[[str], Path]) -> Iterator[World]:
    with world(shapes(spec_path(FILE))) as made:
        yield made
        assert made.wrong == []


def subscribed(client: stripe.StripeClient, **more: Any) -> stripe.Subscription:
    given = {
        "customer": customer(client, state="TX").id,
        "items": [monthly("prod_PLATFORM", 100_00)],
        **TERMS,
    }
    return client.v1.subscriptions.create({**given, **more})


def test_items_that_wait_are_changed_and_so_are_their_lines(billing: World) -> None:
    client = billing.client()
    owner = customer(client, state="TX").id
    price = client.v1.prices.create({"currency": "usd", "product": "prod_PLATFORM", "unit_amount": 2_50})
    plain = client.v1.invoice_items.create({"customer": owner, "amount": 10_00, "currency": "usd"})
    priced = client.v1.invoice_items.create(
        {"customer": owner, "pricing": {"price": price.id}, "quantity": 3}
    )
    assert (plain.net_amount, plain.discountable) == (None, True)
    client.v1.invoice_items.update(plain.id, {"amount": 11_00, "metadata": {"x": "1"}})
    waiting = client.v1.invoice_items.list({"customer": owner, "created": {"gte": at(2026, 1, 15)}}).data
    assert [one.amount for one in waiting] == [7_50, 11_00]
    given = {"customer": owner, "pending_invoice_items_behavior": "include", **TERMS}
    draft = client.v1.invoices.create(given)
    assert draft.total == 18_50
    client.v1.invoice_items.update(priced.id, {"quantity": 4})
    assert client.v1.invoices.retrieve(draft.id).total == 21_00
    assert client.v1.invoices.pay(draft.id, {"paid_out_of_band": True}).status == "paid"
    with pytest.raises(stripe.InvalidRequestError) as late:
        client.v1.invoice_items.update(priced.id, {"quantity": 5})
    assert late.value.code == "invoice_not_editable"


def test_lines_of_a_draft_change_all_or_not_at_all(billing: World) -> None:
    client = billing.client()
    draft = client.v1.invoices.create({"customer": customer(client, state="TX").id, **TERMS})
    some = [{"amount": 5_00, "description": "a"}, {"amount": 7_00, "description": "b"}]
    shown = client.v1.invoices.add_lines(draft.id, {"lines": some, "invoice_metadata": {"k": "v"}})
    assert (shown.total, shown.metadata and shown.metadata["k"]) == (12_00, "v")
    first, second = shown.lines.data
    good, bad = {"id": first.id, "amount": 9_00}, {"id": "il_none", "amount": 1}
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.invoices.update_lines(draft.id, {"lines": [good, bad]})
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.invoices.add_lines(draft.id, {"lines": [{"amount": 1}, {"description": "no amount"}]})
    assert client.v1.invoices.retrieve(draft.id).total == 12_00
    assert client.v1.invoices.update_lines(draft.id, {"lines": [good]}).total == 16_00
    gone = {"lines": [{"id": first.id, "behavior": "delete"}, {"id": second.id, "behavior": "unassign"}]}
    assert client.v1.invoices.remove_lines(draft.id, gone).total == 0  # type: ignore[arg-type]
    left = client.v1.invoice_items.list({"pending": True}).data
    assert [one.description for one in left] == ["b"]


@pytest.mark.parametrize(
    ("behavior", "status"),
    [("void", "void"), ("keep_as_draft", "draft"), ("mark_uncollectible", "uncollectible")],
)
def test_invoices_while_collection_is_paused(billing: World, behavior: Any, status: str) -> None:
    client = billing.client()
    made = subscribed(client)
    pause: Any = {"behavior": behavior, "resumes_at": at(2026, 3, 1)}
    shown = client.v1.subscriptions.update(made.id, {"pause_collection": pause})
    assert (shown.status, shown.pause_collection and shown.pause_collection.behavior) == ("active", behavior)
    billing.advance(datetime(2026, 3, 20, tzinfo=UTC))
    found = [one.status for one in client.v1.invoices.list({"subscription": made.id}).data]
    assert found == ["open", status, "open"]
    assert client.v1.subscriptions.retrieve(made.id).pause_collection is None


def test_a_first_invoice_that_is_not_paid_in_time(billing: World) -> None:
    client = billing.client()
    given: Any = {"payment_behavior": "default_incomplete", "expand": ["latest_invoice.payments"]}
    owner = customer(client, state="TX").id
    given |= {"customer": owner, "items": [monthly("prod_PLATFORM", 100_00)]}
    paid, unpaid = client.v1.subscriptions.create(given), client.v1.subscriptions.create(given)
    assert (paid.status, paid.latest_invoice.status) == ("incomplete", "open")
    intent = paid.latest_invoice.payments.data[0].payment.payment_intent
    client.v1.payment_intents.confirm(intent, {"payment_method": "pm_card_visa"})
    billing.advance(datetime(2026, 1, 15, 12, tzinfo=UTC) + timedelta(hours=23))
    assert client.v1.subscriptions.retrieve(paid.id).status == "active"
    over = client.v1.subscriptions.retrieve(unpaid.id, {"expand": ["latest_invoice"]})
    assert (over.status, over.latest_invoice.status) == ("incomplete_expired", "void")
    assert unpaid.id in [one.id for one in client.v1.subscriptions.list({"status": "ended"}).data]


def test_another_interval_and_another_anchor_are_billed_at_once(billing: World) -> None:
    client = billing.client()
    made = subscribed(client)
    yearly = client.v1.prices.create(
        {
            "currency": "usd",
            "product": "prod_PLATFORM",
            "unit_amount": 1_000_00,
            "recurring": {"interval": "year"},
        }
    )
    billing.advance(datetime(2026, 1, 31, tzinfo=UTC))
    item = made["items"].data[0].id
    changed = client.v1.subscriptions.update(
        made.id, {"items": [{"id": item, "price": yearly.id}], "expand": ["latest_invoice"]}
    )
    assert changed.latest_invoice.total == 1_000_00 - 50_00  # half of the month was left
    assert changed["items"].data[0].current_period_end == at(2027, 1, 31)
    other = subscribed(client)
    billing.advance(datetime(2026, 2, 14, tzinfo=UTC))
    moved = client.v1.subscriptions.update(
        other.id,
        {
            "billing_cycle_anchor": {"type": "now"},
            "proration_behavior": "none",
            "expand": ["latest_invoice"],
        },
    )
    assert (moved.billing_cycle_anchor, moved.latest_invoice.total) == (at(2026, 2, 14), 100_00)


def test_a_change_within_a_short_first_period_is_prorated_by_the_whole_one(billing: World) -> None:
    client = billing.client()
    made = subscribed(client, billing_cycle_anchor_config={"day_of_month": 1}, expand=["latest_invoice"])
    stub = made.latest_invoice.total
    item = made["items"].data[0].id
    client.v1.subscriptions.update(made.id, {"items": [{"id": item, "quantity": 2}]})
    waiting = client.v1.invoice_items.list({"pending": True}).data
    assert sorted(one.amount for one in waiting) == [-stub, 2 * stub]


def test_what_cannot_be_is_refused_and_leaves_nothing(billing: World) -> None:
    client = billing.client()
    inactive = client.v1.tax_rates.create({"display_name": "VAT", "percentage": 20, "inclusive": False})
    client.v1.tax_rates.update(inactive.id, {"active": False})
    rate = client.v1.tax_rates.create({"display_name": "VAT", "percentage": 20, "inclusive": False})
    invoice = invoiced(client)
    subscription = invoice.parent.subscription_details.subscription
    before = billing.act("snapshot", account="acct_us", kinds=["subscriptions", "invoiceitems", "prices"])
    one = [monthly("prod_PLATFORM", 1)]
    refused: list[tuple[Any, str | None]] = [
        (lambda: subscribed(client, default_tax_rates=[inactive.id]), "default_tax_rates"),
        (
            lambda: subscribed(client, default_tax_rates=[rate.id], automatic_tax={"enabled": True}),
            "default_tax_rates",
        ),
        (lambda: subscribed(client, items=[{**one[0], "discounts": [{"coupon": "NO"}]}]), None),
        (
            lambda: client.v1.subscriptions.update(
                subscription,
                {"items": one, "add_invoice_items": [{"price": "price_none"}]},  # type: ignore[list-item]
            ),
            "add_invoice_items[0][price]",
        ),
        (
            lambda: client.v1.products.create({"name": "X", "default_price_data": {"currency": "usd"}}),
            "default_price_data[unit_amount]",
        ),
        (lambda: client.v1.customers.create({"address": {"country": "Narnia"}}), "address[country]"),
        (lambda: client.v1.customers.create({"invoice_prefix": "no"}), "invoice_prefix"),
        (lambda: client.v1.payment_intents.create({"amount": 49, "currency": "usd"}), "amount"),
        (lambda: client.v1.payment_intents.create({"amount": 49_00, "currency": "xyz"}), "currency"),
        (lambda: client.v1.products.create({"name": ""}), "name"),
        (lambda: client.v1.invoices.list({"customer": "cus_none"}), "customer"),
        (lambda: client.v1.invoices.list({"subscription": "sub_none"}), "subscription"),
        (lambda: client.v1.customers.search({"query": "nickname:'x'"}), "query"),
        (lambda: client.v1.customers.search({"query": "name~'ab'"}), "query"),
        (lambda: client.v1.customers.search({"query": "created>1", "page": "second"}), "page"),
    ]
    for call, param in refused:
        with pytest.raises(stripe.InvalidRequestError) as error:
            call()
        assert param is None or error.value.param == param, (param, str(error.value))
    after = billing.act("snapshot", account="acct_us", kinds=["subscriptions", "invoiceitems", "prices"])
    assert after == before
    with pytest.raises(stripe.PermissionError):
        client.v1.customers.list(options={"stripe_account": "acct_jp"})
    assert client.v1.customers.list(options={"stripe_account": "acct_us"}).data


def test_a_payment_that_fails_and_one_that_is_taken_back(billing: World) -> None:
    client = billing.client()
    owner = customer(client, state="TX").id

    def pays_by(name: str) -> None:
        client.v1.customers.update(owner, {"invoice_settings": {"default_payment_method": name}})

    pays_by("pm_card_visa")
    item = [monthly("prod_PLATFORM", 100_00)]
    made = client.v1.subscriptions.create({"customer": owner, "items": item})
    pays_by("pm_card_chargeCustomerFail")
    billing.advance(datetime(2026, 2, 16, tzinfo=UTC))
    invoice = client.v1.invoices.list({"subscription": made.id}).data[0]
    assert (invoice.status, invoice.attempt_count) == ("open", 1)
    assert client.v1.subscriptions.retrieve(made.id).status == "past_due"
    assert client.v1.customers.retrieve(owner).delinquent is True
    with pytest.raises(stripe.CardError):
        client.v1.invoices.pay(invoice.id)
    assert client.v1.invoices.pay(invoice.id, {"payment_method": "pm_card_visa"}).status == "paid"
    assert client.v1.subscriptions.retrieve(made.id).status == "active"
    assert client.v1.customers.retrieve(owner).delinquent is False
    charge = client.v1.charges.list({"customer": owner}).data[0].id
    billing.act("dispute", account="acct_us", charge=charge)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.refunds.create({"charge": charge})
    assert refused.value.code == "charge_disputed"
    assert client.v1.refunds.list({"charge": charge}).data == []


def test_a_draft_that_nobody_can_pay_stays_a_draft(billing: World) -> None:
    client = billing.client()
    draft = client.v1.invoices.create({"customer": customer(client, state="TX").id})
    client.v1.invoice_items.create({"customer": str(draft.customer), "invoice": draft.id, "amount": 5_00})
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.invoices.pay(draft.id)
    shown = client.v1.invoices.retrieve(draft.id)
    assert (shown.status, shown.number) == ("draft", None)
    assert client.v1.invoices.pay(draft.id, {"payment_method": "pm_card_visa"}).status == "paid"


def test_an_invoice_too_small_to_be_charged_is_owed(billing: World) -> None:
    client = billing.client()
    billing.act("settings", small_invoices="owed")
    owner = customer(client, state="TX").id
    for cents, status, balance in ((49, "paid", 49), (50, "open", 0)):
        draft = client.v1.invoices.create({"customer": owner, **TERMS})
        client.v1.invoice_items.create({"customer": owner, "invoice": draft.id, "amount": cents})
        final = client.v1.invoices.finalize_invoice(draft.id)
        assert (final.status, client.v1.customers.retrieve(owner).balance) == (status, balance)
    moves = client.v1.customers.balance_transactions.list(owner).data
    assert [(move.type, move.amount) for move in moves] == [
        ("applied_to_invoice", -49),
        ("invoice_too_small", 49),
    ]


def test_search_compares_text_whatever_its_case(billing: World) -> None:
    client = billing.client()
    made = customer(client, name="Jane Doe", email="Jane@Acme.example", metadata={"crm": "001A"})
    invoice = invoiced(client)
    subscription = invoice.parent.subscription_details.subscription
    for query in ('email:"jane@acme.EXAMPLE"', "name~'jane'", "metadata['crm']:'001a' AND created>1"):
        assert [one.id for one in client.v1.customers.search({"query": query}).data] == [made.id], query
    found = client.v1.invoices.search({"query": f"subscription:'{subscription}' AND total>=100"}).data
    assert [one.id for one in found] == [invoice.id]


def test_a_payment_method_is_attached_used_and_detached(billing: World) -> None:
    client = billing.client()
    owner = customer(client, state="TX").id
    good = client.v1.payment_methods.attach("pm_card_visa", {"customer": owner})
    bad = client.v1.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": owner})
    assert [one.id for one in client.v1.customers.payment_methods.list(owner).data] == [bad.id, good.id]
    client.v1.customers.update(owner, {"invoice_settings": {"default_payment_method": good.id}})
    item = [monthly("prod_PLATFORM", 100_00)]
    made = client.v1.subscriptions.create({"customer": owner, "items": item, "expand": ["latest_invoice"]})
    assert made.latest_invoice.status == "paid"
    charge: Any = {"amount": 5_00, "currency": "usd", "customer": owner, "payment_method": bad.id}
    with pytest.raises(stripe.CardError) as declined:
        client.v1.payment_intents.create({**charge, "confirm": True})
    assert declined.value.code == "card_declined"
    client.v1.payment_methods.detach(good.id)
    settings = client.v1.customers.retrieve(owner).invoice_settings
    assert settings is not None
    assert settings.default_payment_method is None
