"""`tieout trace` and the dry run over whole flows: done-when 7."""

from __future__ import annotations

from tests.process.flows import credited, erp, exceptions, simulated
from tieout.engine.dry_run import forecast
from tieout.processes.trace import tell_trace


@simulated()
async def test_an_erp_number_shows_the_opportunity_and_the_other_way_round(world, people):
    await credited(world, people)
    hub = world.app.hub
    invoice = (await erp(world, "invoice"))[0]
    billed = people.invoices()[0]
    number = invoice["number"]
    for term in (number, billed["id"], billed["number"]):
        story = await tell_trace(hub, term)
        assert story.found
        assert not story.candidates, (term, story.candidates)
        kinds = {(one.connection, one.kind) for one in story.subjects}
        assert ("salesforce-main", "opportunity") in kinds, (term, kinds)
        assert any(one.number == number for one in story.subjects)
        assert any(one.what == "subscription.create" for one in story.moments)
        assert any(one.kind == "effect" and one.amount for one in story.moments)
        assert any(" rule " in line for one in story.moments for line in one.detail)
    (deal,) = {one.id for one in story.subjects if one.kind == "opportunity"}
    for term in (deal, deal[:15]):
        found = await tell_trace(hub, term)
        assert not found.candidates, found.candidates
        assert any(one.number == number for one in found.subjects)
        assert {one.kind for one in found.subjects} >= {
            "opportunity",
            "order",
            "account",
            "invoice",
            "customer",
        }
    assert [one.at for one in found.moments] == sorted(one.at for one in found.moments)


@simulated()
async def test_a_dry_run_writes_nothing_and_says_what_stands(world, people):
    await credited(world, people)
    hub = world.app.hub
    before = await world.act("netsuite", "snapshot")
    lane = f"stripe-us|invoice|{people.invoices()[0]['id']}"
    told = await forecast(hub, lane)
    assert told is not None
    assert not told.fails, told
    assert {one.verdict for one in told.steps} <= {"duplicate", "unchanged"}, told.steps
    again = await forecast(hub, lane, repost=True)
    assert again is not None
    assert any(one.verdict == "would post" and one.amount for one in again.steps), again.steps
    assert await world.act("netsuite", "snapshot") == before
    assert await exceptions(world) == []
    assert await forecast(hub, "stripe-us|invoice|none") is None


@simulated()
async def test_a_payment_leads_to_its_deal(world, people):
    await credited(world, people)
    payment = (await erp(world, "customerPayment"))[0]
    story = await tell_trace(world.app.hub, payment["number"])
    assert story.found
    assert any(one.kind == "opportunity" for one in story.subjects)
