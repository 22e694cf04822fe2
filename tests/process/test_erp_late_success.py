"""Every write of the ERP connection succeeds long after its caller gave up, while queries do not show it for a while
yet: one document of each all the same. And the account never sees more calls at once than the budget allows."""

from __future__ import annotations

import pytest

from tests.process.flows import clean, erp, simulated
from tieout_lab.twins.kit import Scripted

IN_FLIGHT = 10  # of the demo company's connection
# What the twin calls the first call of each kind of write.
WRITES = (
    "customer.upsert",
    "invoice.create",
    "invoice.update",  # the approval
    "customerPayment.create",
    "customerPayment.update",  # its applications
    "creditMemo.create",
    "customerRefund.create",
)


def _hub_approves(app):
    """Both entities' documents may be posted by the hub; the demo company has a person for one of them."""
    app.hub.connection("netsuite-main").api.config.approval["2"] = "hub"


@pytest.mark.parametrize("enforced", [True, False], ids=["keyed", "un-keyed"])
@pytest.mark.parametrize("seconds", [5.0, 300.0, 895.0])
def test_every_write_that_succeeds_late_makes_one_document(seconds, enforced):
    @simulated(enforce_keys=enforced, seed=int(seconds))
    async def test(world, people):
        _hub_approves(world.app)
        await world.act("netsuite", "routing", subsidiary="2", mode="api")
        world.erp.faults.enforce_keys = enforced
        world.erp.faults.visibility_delay_seconds = 60.0
        world.erp.faults.script = [Scripted(operation, 1, "late", seconds) for operation in WRITES]
        await people.sell(await people.customer("Acme"))
        await people.sell(await people.customer("Kaisha", "jp"), "jp")
        await world.rest()
        invoice = people.invoices()[0]["id"]
        await people.pay(invoice)
        await world.rest()
        await people.credit(invoice, 10_000, refund=True)
        await world.rest()
        assert [one.seen for one in world.erp.faults.script if one.seen == 0] == []
        assert world.erp.faults.counts["late"] == len(WRITES)
        kinds = ("invoice", "customerPayment", "creditMemo", "customerRefund")
        assert [len(await erp(world, kind)) for kind in kinds] == [2, 1, 1, 1]
        assert len(world.erp.tenant.state.of_type("customer")) == 2
        assert all(one["posted"] for one in await erp(world))
        assert world.erp.most_active <= IN_FLIGHT
        await clean(world)

    test()


def _takes(world, seconds):
    """Every call takes the account so long."""
    admit = world.erp.admit

    async def slowly(request, operation):
        refused = await admit(request, operation)
        await world.clock.sleep(seconds)
        return refused

    world.erp.admit = slowly


@simulated()
async def test_the_account_never_sees_more_calls_at_once_than_the_budget(world, people):
    """A rush of deals, each call taking 1.5 s, and not one place to spare: the budget is used up and never passed."""
    await world.act("netsuite", "limits", concurrency=IN_FLIGHT)
    _takes(world, 1.5)
    for number in range(3 * IN_FLIGHT):
        await people.sell(await people.customer(f"Customer {number}"))
    await world.rest()
    assert len(await erp(world, "invoice")) == 3 * IN_FLIGHT
    assert world.erp.most_active == IN_FLIGHT
    assert world.app.hub.budgets["netsuite-main"].most_out == IN_FLIGHT
    assert not any(entry["status"] == 429 for entry in world.erp.log)
    await clean(world)
