"""Trials, and schedules that begin with a subscription, through the vendor's SDK."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import stripe

from tests.conformance.twins.stripe_shapes import FILE, shapes
from tests.conformance.twins.stripe_world import World, at, customer, monthly, world


@pytest.fixture
def billing(spec_path: Callable[[str], Path]) -> Iterator[World]:
    with world(shapes(spec_path(FILE))) as made:
        yield made
        assert made.wrong == []


def subscription(client: stripe.StripeClient, *, by_card: bool = False, **more: Any) -> stripe.Subscription:
    terms = {} if by_card else {"collection_method": "send_invoice", "days_until_due": 30}
    given = {
        "customer": customer(client, state="TX").id,
        "items": [monthly("prod_PLATFORM", 100_00)],
        "expand": ["latest_invoice"],
        **terms,
        **more,
    }
    return client.v1.subscriptions.create(given)


def test_a_trial_costs_nothing_and_what_follows_does(billing: World) -> None:
    client = billing.client()
    made = subscription(client, trial_period_days=14)
    first = made.latest_invoice
    assert (made.status, first.total, first.status) == ("trialing", 0, "paid")
    assert made["items"].data[0].current_period_end == made.trial_end == at(2026, 1, 29, 12)
    billing.advance(datetime(2026, 1, 27, tzinfo=UTC))
    warned = client.v1.events.list({"type": "customer.subscription.trial_will_end"}).data
    assert [event.data.object["id"] for event in warned] == [made.id]
    billing.advance(datetime(2026, 1, 30, tzinfo=UTC))
    now = client.v1.subscriptions.retrieve(made.id, {"expand": ["latest_invoice"]})
    assert (now.status, now.latest_invoice.total) == ("active", 100_00)
    assert now.latest_invoice.billing_reason == "subscription_cycle"
    assert now["items"].data[0].current_period_end == at(2026, 2, 28, 12)


def test_a_trial_is_moved_ended_and_ends_without_a_card(billing: World) -> None:
    client = billing.client()
    made = subscription(client, trial_end=at(2026, 3, 1))
    moved = client.v1.subscriptions.update(made.id, {"trial_end": at(2026, 3, 10)})
    assert moved["items"].data[0].current_period_end == at(2026, 3, 10)
    ended = client.v1.subscriptions.update(made.id, {"trial_end": "now", "expand": ["latest_invoice"]})
    assert (ended.status, ended.latest_invoice.total) == ("active", 100_00)
    end = {"end_behavior": {"missing_payment_method": "cancel"}}
    unpaid = subscription(client, by_card=True, trial_period_days=7, trial_settings=end)
    assert [one.id for one in client.v1.subscriptions.list({"status": "trialing"}).data] == [unpaid.id]
    billing.advance(datetime(2026, 1, 23, tzinfo=UTC))
    assert client.v1.subscriptions.retrieve(unpaid.id).status == "canceled"
    refused: list[dict[str, Any]] = [
        {"trial_end": at(2026, 1, 1)},
        {"trial_end": at(2029, 1, 1)},
        {"trial_period_days": 731},
        {"trial_period_days": 1, "trial_end": at(2026, 3, 1)},
    ]
    for given in refused:
        with pytest.raises(stripe.InvalidRequestError):
            subscription(client, **given)


def test_a_schedule_takes_a_subscription_over_and_changes_it_later(billing: World) -> None:
    client = billing.client()
    made = subscription(client)
    with pytest.raises(stripe.InvalidRequestError) as alone:
        client.v1.subscription_schedules.create({"from_subscription": made.id, "end_behavior": "cancel"})
    assert alone.value.param == "end_behavior"
    schedule = client.v1.subscription_schedules.create({"from_subscription": made.id})
    assert (schedule.status, schedule.subscription) == ("active", made.id)
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.subscription_schedules.create({"from_subscription": made.id})
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.subscriptions.update(made.id, {"cancel_at_period_end": True})
    dearer = client.v1.prices.create(
        {
            "currency": "usd",
            "product": "prod_PLATFORM",
            "unit_amount": 120_00,
            "recurring": {"interval": "month"},
        }
    )
    present = schedule.phases[0]
    terms = {"collection_method": "send_invoice", "invoice_settings": {"days_until_due": 30}}
    kept = {"items": [{"price": str(present["items"][0].price)}], "end_date": present.end_date, **terms}
    coming = {"items": [{"price": dearer.id}], "proration_behavior": "none", **terms}
    lasting = {"duration": {"interval": "month", "interval_count": 2}}
    with pytest.raises(stripe.InvalidRequestError) as unsaid:
        client.v1.subscription_schedules.update(schedule.id, {"phases": [kept]})  # type: ignore[list-item]
    assert unsaid.value.param == "phases[0][start_date]"
    given: Any = {
        "end_behavior": "cancel",
        "phases": [{**kept, "start_date": present.start_date}, {**coming, **lasting}],
    }
    assert len(client.v1.subscription_schedules.update(schedule.id, given).phases) == 2
    assert len(client.v1.invoices.list({"subscription": made.id}).data) == 1  # nothing of the present changed
    billing.advance(datetime(2026, 5, 1, tzinfo=UTC))
    totals = [one.total for one in client.v1.invoices.list({"subscription": made.id}).data]
    assert totals == [120_00, 120_00, 100_00]
    assert client.v1.subscriptions.retrieve(made.id).status == "canceled"
    assert client.v1.subscription_schedules.retrieve(schedule.id).status == "completed"
