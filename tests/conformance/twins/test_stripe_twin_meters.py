"""Usage: events are told once, aggregated by the meter, and billed when their period is over."""

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


def meter(client: stripe.StripeClient, formula: str = "sum") -> Any:
    return client.v1.billing.meters.create(
        {"display_name": "Calls", "event_name": "calls", "default_aggregation": {"formula": formula}}
    )


def used(client: stripe.StripeClient, buyer: str, value: int, when: int, identifier: str) -> None:
    payload = {"stripe_customer_id": buyer, "value": str(value)}
    client.v1.billing.meter_events.create(
        {"event_name": "calls", "payload": payload, "timestamp": when, "identifier": identifier}
    )


def test_usage_is_billed_when_its_period_is_over(billing: World) -> None:
    client = billing.client()
    buyer, counted = customer(client).id, meter(client)
    price = client.v1.prices.create(
        {
            "currency": "usd",
            "product": "prod_ANALYTICS",
            "unit_amount_decimal": "12.5",
            "recurring": {"interval": "month", "usage_type": "metered", "meter": counted.id},
        }
    )
    subscription = client.v1.subscriptions.create(
        {
            "customer": buyer,
            "collection_method": "send_invoice",
            "days_until_due": 30,
            "items": [monthly("prod_PLATFORM", 10_00), {"price": price.id}],
            "expand": ["latest_invoice"],
        }
    )
    assert [line.amount for line in subscription.latest_invoice.lines.data] == [10_00]
    billing.advance(datetime(2026, 1, 20, 12, tzinfo=UTC))
    used(client, buyer, 100, at(2026, 1, 16), "a")
    used(client, buyer, 33, at(2026, 1, 20), "b")
    used(client, buyer, 7, at(2026, 1, 20), "c")
    with pytest.raises(stripe.InvalidRequestError, match="already exists"):
        used(client, buyer, 33, at(2026, 1, 20), "b")
    with pytest.raises(stripe.InvalidRequestError, match="35 days"):
        used(client, buyer, 1, at(2025, 12, 1), "old")
    client.v1.billing.meter_event_adjustments.create(
        {"event_name": "calls", "type": "cancel", "cancel": {"identifier": "c"}}
    )
    window = {"customer": buyer, "start_time": at(2026, 1, 15), "end_time": at(2026, 2, 15)}
    (summary,) = client.v1.billing.meters.event_summaries.list(counted.id, window).data
    assert summary.aggregated_value == 133
    shown = client.v1.invoices.create_preview({"subscription": subscription.id})
    billing.advance(datetime(2026, 2, 16, tzinfo=UTC))
    renewed = client.v1.invoices.list({"subscription": subscription.id}).data[0]
    lines = {line.pricing.price_details.product: line for line in renewed.lines.data}
    metered = lines["prod_ANALYTICS"]
    # 133 x 12.5 cents = 1662.5: half up.
    assert (metered.amount, metered.quantity) == (16_63, 133)
    assert (metered.period.start, metered.period.end) == (at(2026, 1, 15, 12), at(2026, 2, 15, 12))
    assert lines["prod_PLATFORM"].period.start == at(2026, 2, 15, 12)
    assert shown.total == renewed.total


@pytest.mark.parametrize(("formula", "expected"), [("sum", 12), ("count", 2), ("last", 5)])
def test_a_meter_aggregates_as_it_was_made_to(billing: World, formula: str, expected: int) -> None:
    client = billing.client()
    buyer, counted = customer(client).id, meter(client, formula)
    used(client, buyer, 5, at(2026, 1, 15), "late")
    used(client, buyer, 7, at(2026, 1, 14), "early")
    window = {"customer": buyer, "start_time": at(2026, 1, 1), "end_time": at(2026, 2, 1)}
    assert (
        client.v1.billing.meters.event_summaries.list(counted.id, window).data[0].aggregated_value == expected
    )
    client.v1.billing.meters.deactivate(counted.id)
    assert client.v1.billing.meters.list({"status": "active"}).data == []
