"""Invoice previews: the twin says what it will bill, to the cent, and keeps nothing of the question."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import stripe

from tests.conformance.twins.stripe_shapes import FILE, shapes
from tests.conformance.twins.stripe_world import World, at, customer, monthly, world


@pytest.fixture
def billing(spec_path: Callable[[str], Path]) -> Iterator[World]:
    with world(shapes(spec_path(FILE))) as made:
        yield made
        assert made.wrong == []


def sold(client: stripe.StripeClient) -> stripe.Subscription:
    return client.v1.subscriptions.create(
        {
            "customer": customer(client).id,
            "collection_method": "send_invoice",
            "days_until_due": 30,
            "items": [monthly("prod_PLATFORM", 10_00, 10)],
        }
    )


def test_an_upgrade_is_previewed_as_it_is_billed(billing: World) -> None:
    client = billing.client()
    subscription = sold(client)
    item = subscription["items"].data[0]
    billing.advance(datetime(2026, 1, 25, 12, tzinfo=UTC))
    change = {
        "items": [{"id": item.id, "quantity": 15}],
        "proration_behavior": "always_invoice",
        "proration_date": at(2026, 1, 25, 12),
    }
    before = billing.act("snapshot", account="acct_us")["acct_us"]
    shown = client.v1.invoices.create_preview(
        {"subscription": subscription.id, "subscription_details": change}
    )
    after = billing.act("snapshot", account="acct_us")["acct_us"]
    assert {**after, "previews": None} == {**before, "previews": None}
    assert (shown.status, shown.number, shown.id.startswith("upcoming_in_")) == ("draft", None, True)
    changed = client.v1.subscriptions.update(subscription.id, {**change, "expand": ["latest_invoice"]})
    billed = changed.latest_invoice
    assert [(line.amount, line.period.start, line.period.end) for line in shown.lines.data] == [
        (line.amount, line.period.start, line.period.end) for line in billed.lines.data
    ]
    assert (shown.total, shown.amount_due) == (billed.total, billed.amount_due)
    # 21 of 31 days of five seats more: 50.00 x 21 / 31.
    assert shown.total == 33_87


def test_the_next_invoice_and_one_that_will_never_be(billing: World) -> None:
    client = billing.client()
    subscription = sold(client)
    shown = client.v1.invoices.create_preview({"subscription": subscription.id})
    assert (shown.total, shown.period_end) == (100_00, at(2026, 2, 15, 12))
    (line,) = client.v1.invoices.line_items.list(shown.id).data
    assert (line.period.start, line.period.end) == (at(2026, 2, 15, 12), at(2026, 3, 15, 12))
    client.v1.subscriptions.cancel(subscription.id)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.invoices.create_preview({"subscription": subscription.id})
    assert refused.value.code == "invoice_upcoming_none"


def test_a_subscription_that_does_not_exist_yet(billing: World) -> None:
    client = billing.client()
    shown = client.v1.invoices.create_preview(
        {
            "customer": customer(client).id,
            "automatic_tax": {"enabled": True},
            "subscription_details": {"items": [monthly("prod_PLATFORM", 10_00, 10)]},
        }
    )
    assert (shown.subtotal, shown.total) == (100_00, 107_25)
    assert client.v1.subscriptions.list().data == []
