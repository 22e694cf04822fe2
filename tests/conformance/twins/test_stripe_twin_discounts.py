"""Coupons and discounts through the vendor's SDK: what they take of lines, invoices, prorations and credit notes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import stripe

from tests.conformance.twins.stripe_shapes import FILE, shapes
from tests.conformance.twins.stripe_world import World, customer, monthly, world


@pytest.fixture
def billing(spec_path: Callable[[str], Path]) -> Iterator[World]:
    with world(shapes(spec_path(FILE))) as made:
        yield made
        assert made.wrong == []


def subscription(client: stripe.StripeClient, state: str = "TX", **more: Any) -> stripe.Subscription:
    given = {
        "customer": customer(client, state=state).id,
        "collection_method": "send_invoice",
        "days_until_due": 30,
        "items": [monthly("prod_PLATFORM", 100_00)],
        "expand": ["latest_invoice"],
        **more,
    }
    return client.v1.subscriptions.create(given)


def test_two_discounts_of_a_subscription_tax_and_their_credit(billing: World) -> None:
    client = billing.client()
    client.v1.coupons.create({"id": "TEN", "percent_off": 10, "duration": "forever"})
    once = client.v1.coupons.create({"amount_off": 15_00, "currency": "usd", "max_redemptions": 1})
    items = [monthly("prod_PLATFORM", 100_00), monthly("prod_PLATFORM", 50_00)]
    made = subscription(
        client,
        "CA",
        items=items,
        discounts=[{"coupon": "TEN"}, {"coupon": once.id}],
        automatic_tax={"enabled": True},
    )
    invoice = made.latest_invoice
    assert (invoice.subtotal, invoice.total_excluding_tax) == (150_00, 120_00)
    assert sorted(part.amount for part in invoice.total_discount_amounts) == [15_00, 15_00]
    assert invoice.total == 120_00 + sum(tax.amount for tax in invoice.total_taxes) == 128_70
    for line in invoice.lines.data:
        taken = sum(part.amount for part in line.discount_amounts)
        assert line.taxes[0].taxable_amount == line.amount - taken
    kept = client.v1.subscriptions.retrieve(made.id, {"expand": ["discounts.source.coupon"]})
    assert [one.source.coupon.id for one in kept.discounts] == ["TEN"]  # the other was for one invoice
    with pytest.raises(stripe.InvalidRequestError) as expired:
        subscription(client, discounts=[{"coupon": once.id}])
    assert (expired.value.code, expired.value.param) == ("coupon_expired", "discounts[0][coupon]")

    first, second = invoice.lines.data
    credit = {"type": "invoice_line_item", "invoice_line_item": first.id}
    client.v1.credit_notes.create({"invoice": invoice.id, "lines": [{**credit, "amount": 10_00}]})
    rest = [
        {**credit, "amount": first.amount - 10_00},
        {**credit, "invoice_line_item": second.id, "amount": second.amount},
    ]
    client.v1.credit_notes.create({"invoice": invoice.id, "lines": rest})
    assert client.v1.invoices.retrieve(invoice.id).amount_remaining == 0


def test_a_lines_discount_stands_before_that_of_its_invoice(billing: World) -> None:
    client = billing.client()
    client.v1.coupons.create({"id": "THIRD", "percent_off": 33.33})
    owner = customer(client, state="TX").id
    terms = {"collection_method": "send_invoice", "days_until_due": 10, "discounts": [{"coupon": "THIRD"}]}
    draft = client.v1.invoices.create({"customer": owner, **terms})
    item = {"customer": owner, "invoice": draft.id, "currency": "usd"}
    client.v1.invoice_items.create({**item, "amount": 9_99, "discounts": [{"coupon": "THIRD"}]})
    client.v1.invoice_items.create({**item, "amount": 10_00, "discountable": False})
    shown = client.v1.invoices.retrieve(draft.id)
    assert (shown.subtotal, shown.total) == (6_66 + 10_00, 4_44 + 10_00)
    assert client.v1.invoices.update(draft.id, {"discounts": ""}).total == 16_66


def test_repeating_ends_and_prorations_are_net_of_percentages(billing: World) -> None:
    client = billing.client()
    repeating = {"percent_off": 50, "duration": "repeating", "duration_in_months": 2}
    client.v1.coupons.create({"id": "HALF", **repeating})
    made = subscription(client, discounts=[{"coupon": "HALF"}])
    billing.advance(datetime(2026, 1, 30, 12, tzinfo=UTC))
    item = made["items"].data[0].id
    client.v1.subscriptions.update(made.id, {"items": [{"id": item, "quantity": 2}]})
    waiting = client.v1.invoice_items.list({"customer": made.customer, "pending": True}).data
    assert sorted(one.amount for one in waiting) == [-25_81, 51_61]  # 16 of 31 days, at half the price
    assert all(one.net_amount == one.amount and not one.discountable for one in waiting)
    billing.advance(datetime(2026, 3, 20, tzinfo=UTC))
    invoices = client.v1.invoices.list({"subscription": made.id}).data
    assert [one.total for one in invoices] == [200_00, 100_00 + 25_80, 50_00]


def test_refused_coupons(billing: World) -> None:
    client = billing.client()
    refused: list[tuple[dict[str, Any], str | None, str]] = [
        ({"duration": "once"}, None, "percent_off"),
        ({"percent_off": 0}, None, "percent_off"),
        ({"percent_off": 5, "duration": "repeating"}, "parameter_missing", "duration_in_months"),
        ({"amount_off": 5}, "parameter_missing", "currency"),
        ({"amount_off": -5, "currency": "usd"}, "parameter_invalid_integer", "amount_off"),
        ({"percent_off": 5, "duration": "always"}, None, "duration"),
    ]
    for given, code, param in refused:
        with pytest.raises(stripe.InvalidRequestError) as error:
            client.v1.coupons.create(given)  # type: ignore[arg-type]  # that is the point
        assert (error.value.code, error.value.param) == (code, param), given
    client.v1.coupons.create({"id": "YEN", "amount_off": 500, "currency": "jpy"})
    with pytest.raises(stripe.InvalidRequestError):
        subscription(client, discounts=[{"coupon": "YEN"}])
    with pytest.raises(stripe.InvalidRequestError) as missing:
        subscription(client, discounts=[{"coupon": "NONE"}])
    assert (missing.value.code, missing.value.param) == ("resource_missing", "discounts[0][coupon]")
    assert client.v1.subscriptions.list().data == []
    assert client.v1.coupons.delete("YEN").deleted
    with pytest.raises(stripe.InvalidRequestError) as gone:
        client.v1.coupons.retrieve("YEN")
    assert gone.value.http_status == 404
