"""Fields set at documents of others: a lost answer, a refusal, and what is remembered of either."""

from __future__ import annotations

from tests.process.flows import clean, operation_of, posted, script, simulated, sql
from tieout_lab.twins.deviations import Deviation

MIRROR = "SELECT state, revision, verify_at FROM assigns WHERE connection = 'stripe-us' AND kind = 'invoice'"
INVOICE = "/v1/invoices/in_1"


def _counted(world, outcome):
    """So many assigns at billing ended so, as the hub counts them."""
    labels = {"system": "stripe-us", "operation": "assign.erp", "outcome": outcome}
    return world.app.hub.metrics.registry.get_sample_value("o2c_effects_total", labels)


@simulated()
async def test_a_lost_answer_is_sent_again_at_once_and_looked_at_later(world, people):
    script(world.billing, operation_of(world.billing, INVOICE), "reset")
    await posted(world, people)
    ((state, revision, verify_at),) = await sql(world, MIRROR)
    assert (state, revision) == ("CONFIRMED", 1)
    assert verify_at
    assert _counted(world, "Confirmed") == 1
    assert people.invoices()[0]["metadata"]["erp_number"]
    await clean(world)


@simulated()
async def test_an_answer_that_came_is_not_looked_at_again(world, people):
    await posted(world, people)
    assert await sql(world, MIRROR) == [("CONFIRMED", 1, None)]
    await clean(world)


@simulated()
async def test_what_was_refused_is_remembered_and_not_sent_again(world, people):
    refused = {"error": {"type": "invalid_request_error", "code": "x", "message": "metadata is closed"}}
    world.billing.deviations = [Deviation(operation_of(world.billing, INVOICE), status=400, fields=refused)]
    await posted(world, people)
    assert await sql(world, MIRROR) == [("REJECTED", 1, None)]
    await people.wire(people.invoices()[0]["customer"], 10_000, [(people.invoices()[0]["id"], 10_000)])
    await world.rest()
    assert _counted(world, "Rejected") == 1
    await clean(world)
