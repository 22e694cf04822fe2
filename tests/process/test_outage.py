"""Four weeks without the hub: what webhooks gave up telling is read from the event list, each with its own day."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from tests.process.flows import FEBRUARY, erp, exceptions, posted, simulated
from tests.process.test_customer_balance import agree
from tieout_lab.simulation.business import Business

DAY = 86_400.0


async def business_goes_on(world, people: Business) -> None:
    """Four weeks of it: paid, credited and refunded, renewed, wired, written off."""
    (first,) = people.invoices()
    await people.pay(first["id"])
    await asyncio.sleep(DAY)
    await people.credit(first["id"], 10_000, refund=True)
    await asyncio.sleep(9 * DAY)
    await people.move_to(FEBRUARY)
    second = people.invoices()[-1]
    assert second["id"] != first["id"]
    await people.wire(second["customer"], 20_000, [(second["id"], 20_000)])
    await asyncio.sleep(9 * DAY)
    await people.move_to(datetime(2026, 2, 20, 20, tzinfo=UTC))
    await people.write_off(second["id"])
    await asyncio.sleep(9.9 * DAY)


@simulated(poll_seconds=60)
async def test_events_missed_for_29_days_are_recovered(world, people):
    await posted(world, people)
    await world.bury()
    await business_goes_on(world, people)
    # Webhooks are tried for three days: nothing is on its way any more but the last ones.
    told = [row for row in (await world.act("stripe", "webhook_journal"))["journal"] if row["status"] == 200]
    await world.rest()
    assert await exceptions(world) == []
    await agree(world, people)
    dated = {(one["type"], one["reason"]): one["date"] for one in await erp(world)}
    assert [one["date"] for one in await erp(world, "invoice")] == ["2026-01-10", "2026-02-10"]
    assert dated["creditMemo", "credited"] == "2026-01-10"
    assert dated["creditMemo", "written_off"] == "2026-02-20"
    assert len(await erp(world, "customerPayment")) == 2
    assert len(await erp(world, "customerRefund")) == 1
    after = [row for row in (await world.act("stripe", "webhook_journal"))["journal"] if row["status"] == 200]
    wrote_off = [row for row in after[len(told) :] if row["type"] == "payment_intent.succeeded"]
    assert wrote_off == [], "the payment of the first day must have come from the event list"
