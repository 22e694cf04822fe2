"""The ERP is away for an hour: deals are accepted as ever, and what was due there is made good, once."""

from __future__ import annotations

import asyncio

import pytest

from tests.process.flows import FEBRUARY, clean, erp, exceptions, simulated, subscriptions

HOUR = 3600.0
BETWEEN_DEALS = 300.0
# More documents become due at the ERP than one worker runs at once.
STANDING_DEALS = 70


async def accepted_after(world, people, name: str) -> float:
    """Seconds from the sale until the seller sees in the CRM that the deal is accepted."""
    account = await people.customer(name)
    loop = asyncio.get_running_loop()
    sold = loop.time()
    deal = await people.sell(account, contract_start="2026-02-11")
    while True:
        await asyncio.sleep(1.0)
        found = await world.act("salesforce", "snapshot", objects=["Opportunity"])
        status = {row["Id"]: row["Tieout_Status__c"] for row in found["Opportunity"]}[deal]
        if status and status != "parked":
            return loop.time() - sold
        assert loop.time() - sold < HOUR, "never accepted"


# How the other side is away; and what it may cost a deal: a sweep of the CRM, and where calls hang the time of one,
# while documents that wait for the ERP hold every place that the worker has.
@pytest.mark.parametrize(("fault", "most_seconds"), [("refuse", 10.0), ("hang", 60.0)])
def test_no_deal_waits_for_the_erp(fault, most_seconds):
    @simulated()
    async def flow(world, people):
        for number in range(STANDING_DEALS):
            await people.sell(await people.customer(f"Standing {number}"))
        await world.rest()
        standing = len(await erp(world, "invoice"))
        assert standing == STANDING_DEALS

        world.erp.faults.rates = {fault: 1.0}
        loop = asyncio.get_running_loop()
        until = loop.time() + HOUR
        # A month later: every contract bills, and the ERP answers nobody.
        await people.move_to(FEBRUARY)
        waited = []
        while loop.time() < until:
            waited.append(await accepted_after(world, people, f"New {len(waited)}"))
            await asyncio.sleep(BETWEEN_DEALS)
        assert len(waited) > 5
        assert max(waited) <= most_seconds
        # They are not only accepted: billing has their subscriptions.
        assert len(subscriptions(world)) == STANDING_DEALS + len(waited)
        assert world.erp.faults.counts[fault] > 0
        assert len(await erp(world, "invoice")) == standing

        world.erp.faults.rates = {}
        await world.rest()
        assert await exceptions(world) == []
        assert len(await erp(world, "invoice")) == 2 * STANDING_DEALS + len(waited)
        await clean(world)

    flow()
