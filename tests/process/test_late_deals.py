"""Deals that reach billing late, and starts whose day is another one in UTC: every elapsed period is billed whole, on
the contract's own days, and posted as such."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from tests.process.flows import FEBRUARY, erp, exceptions, simulated, subscriptions
from tests.process.test_customer_balance import agree

TOKYO, CALIFORNIA = ZoneInfo("Asia/Tokyo"), ZoneInfo("America/Los_Angeles")
RECURRING = [{"product": "PLATFORM", "quantity": 3, "unit_price": "6000"}]
JULY = datetime(2026, 7, 20, 3, tzinfo=UTC)


def periods(world, entity, zone):
    """The service periods of every invoice line at billing, as days at home."""
    found = []
    for invoice in world.billing.accounts[f"acct_{entity}"].all("invoices"):
        for line in invoice["lines"]["data"]:
            days = [
                datetime.fromtimestamp(line["period"][end], UTC).astimezone(zone).date()
                for end in ("start", "end")
            ]
            found.append((*days, line["amount"]))
    return sorted(found)


async def drafts_are_due(world, people, moment):
    """The first invoice of a schedule is finalised an hour after it was made."""
    await people.move_to(moment)
    await world.rest()


@simulated()
async def test_a_deal_that_is_three_months_late(world, people):
    """Known defect: the anchor lay in the past, was refused, and a person had to look."""
    account = await people.customer("Late")
    start = "2025-11-15"
    await people.sell(account, contract_start=start, close_date=start, lines=RECURRING)
    await world.rest()
    assert await exceptions(world) == []
    assert periods(world, "us", CALIFORNIA) == [
        (date(2025, 11, 15), date(2025, 12, 15), 1_800_000),
        (date(2025, 12, 15), date(2026, 1, 15), 1_800_000),
    ]
    await agree(world, people)
    await people.move_to(FEBRUARY)
    await agree(world, people)
    assert periods(world, "us", CALIFORNIA)[-1] == (date(2026, 1, 15), date(2026, 2, 15), 1_800_000)
    (document, *_) = await erp(world, "invoice")
    assert document["total_minor"] == 3_861_000
    assert document["date"] == "2026-01-10"


@pytest.mark.parametrize("frequency", ["Quarterly", "Annual"])
def test_a_late_deal_of_another_frequency(frequency):
    @simulated()
    async def flow(world, people):
        account = await people.customer("Late")
        await people.sell(
            account,
            contract_start="2025-08-01",
            close_date="2025-08-01",
            lines=RECURRING,
            billing_frequency=frequency,
        )
        await world.rest()
        await drafts_are_due(world, people, datetime(2026, 1, 10, 22, tzinfo=UTC))
        assert await exceptions(world) == []
        whole = [
            (date(2025, 8, 1), date(2025, 11, 1), 1_800_000),
            (date(2025, 11, 1), date(2026, 2, 1), 1_800_000),
        ]
        assert periods(world, "us", CALIFORNIA) == (
            whole if frequency == "Quarterly" else [(date(2025, 8, 1), date(2026, 8, 1), 1_800_000)]
        )
        await agree(world, people)

    flow()


@pytest.mark.parametrize(
    ("start", "close", "frequency"),
    [
        ("2026-03-01", "2026-01-05", "Monthly"),  # a future start: a schedule
        ("2026-01-01", "2026-01-05", "Monthly"),  # begun: a subscription
        ("2026-02-01", "2026-01-05", "Quarterly"),
    ],
)
def test_the_first_of_a_month_in_tokyo_is_billed_on_the_first(start, close, frequency):
    """Known defect: a schedule from 1 March in Tokyo billed on the 28th of each month in UTC."""

    @simulated()
    async def flow(world, people):
        account = await people.customer("Tokyo", "jp")
        await people.sell(account, "jp", contract_start=start, close_date=close, billing_frequency=frequency)
        await world.rest()
        await drafts_are_due(world, people, JULY)
        found = periods(world, "jp", TOKYO)
        assert len(found) >= 2
        assert {(first.day, last.day) for first, last, _ in found} == {(1, 1)}
        assert {amount for *_, amount in found} == {18_000}
        await people.approve_all()
        await world.rest()
        documents = await erp(world, "invoice")
        assert len(documents) == len(people.invoices("jp"))
        await agree(world, people, "jp")
        assert len(subscriptions(world, "jp")) == 1

    flow()


@simulated()
async def test_a_recovery_that_somebody_must_approve_is_the_payments_own(world, people):
    """Found by seed 10: once approved, the recovery stood for its invoice, and its payment waited for ever."""
    account = await people.customer("Tokyo", "jp")
    await people.sell(account, "jp")
    await world.rest()
    await people.approve_all()
    await world.rest()
    (first,) = people.invoices("jp")
    await people.write_off(first["id"], "jp")
    await world.rest()
    await people.approve_all()
    await world.rest()
    for part in (8_000, None):
        await people.wire(
            first["customer"], part or first["total"] - 8_000, [(first["id"], part)], "jp", "jpy"
        )
        await world.rest()
        await people.approve_all()
        await world.rest()
        await agree(world, people, "jp")
    assert people.invoices("jp")[0]["status"] == "paid"
