"""A ramp: a schedule of several phases, billed at each phase's own prices, and a change in the midst of a period."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.twins.stripe_shapes import FILE, shapes
from tests.conformance.twins.stripe_world import World, at, customer, monthly, once, world


@pytest.fixture
def billing(spec_path: Callable[[str], Path]) -> Iterator[World]:
    with world(shapes(spec_path(FILE))) as made:
        yield made
        assert made.wrong == []


def phase(cents: int, end: int, **more: Any) -> dict[str, Any]:
    return {"items": [monthly("prod_PLATFORM", cents)], "end_date": end, **more}


def schedule(billing: World, *phases: dict[str, Any], **more: Any) -> str:
    client = billing.client()
    settings = {"collection_method": "send_invoice", "invoice_settings": {"days_until_due": 30}}
    given = {
        "customer": customer(client).id,
        "start_date": at(2026, 2, 1),
        "default_settings": settings,
        "phases": list(phases),
        "end_behavior": "cancel",
        **more,
    }
    return client.v1.subscription_schedules.create(given).id


def billed(billing: World) -> list[tuple[datetime, int]]:
    found = billing.act("snapshot", account="acct_us", kinds=["invoices"])["acct_us"].get("invoices", [])
    return [(datetime.fromtimestamp(one["created"], UTC), one["total"]) for one in found]


def test_a_ramp_is_billed_at_the_price_of_each_phase(billing: World) -> None:
    client = billing.client()
    extra = once("prod_ONBOARD", 50_00)
    made = schedule(
        billing,
        phase(10_00, at(2026, 3, 1)),
        phase(20_00, at(2026, 5, 1), add_invoice_items=[extra]),
        phase(30_00, at(2026, 6, 1)),
    )
    billing.advance(datetime(2026, 4, 15, tzinfo=UTC))
    found = client.v1.subscription_schedules.retrieve(made)
    assert (found.current_phase.start_date, found.current_phase.end_date) == (at(2026, 3, 1), at(2026, 5, 1))
    billing.advance(datetime(2026, 7, 1, tzinfo=UTC))
    day = [datetime(2026, month, 1, tzinfo=UTC) for month in (2, 3, 4, 5)]
    assert billed(billing) == list(zip(day, (10_00, 70_00, 20_00, 30_00), strict=True))
    assert client.v1.subscription_schedules.retrieve(made).status == "completed"


def test_a_phase_in_the_midst_of_a_period_is_prorated_to_the_cent(billing: World) -> None:
    schedule(
        billing,
        phase(31_00, at(2026, 3, 11)),
        phase(62_00, at(2026, 5, 1), proration_behavior="always_invoice"),
    )
    billing.advance(datetime(2026, 3, 20, tzinfo=UTC))
    # 21 of March's 31 days: 42.00 less 21.00.
    assert billed(billing)[-1] == (datetime(2026, 3, 11, tzinfo=UTC), 21_00)


def test_a_ramp_that_began_in_the_past_stands_in_its_present_phase(billing: World) -> None:
    client = billing.client()
    made = schedule(
        billing,
        phase(10_00, at(2026, 1, 1), billing_cycle_anchor="phase_start"),
        phase(20_00, at(2026, 5, 1)),
        start_date=at(2025, 12, 1),
    )
    found = client.v1.subscription_schedules.retrieve(made)
    assert found.current_phase.start_date == at(2026, 1, 1)
    items = client.v1.subscription_items.list({"subscription": found.subscription}).data
    assert [item.price.unit_amount for item in items] == [20_00]
