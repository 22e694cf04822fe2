"""What a dry run foresees: what it would wait for, what is not there any more, what is held by somebody else."""

from __future__ import annotations

from tests.process.flows import paid_unapproved, posted, simulated, sql
from tieout.engine.dry_run import DryRun, forecast, lane_of
from tieout.store import stories, waits


async def _lane(world, kind):
    ((lane,),) = await sql(world, f"SELECT lane_id FROM lanes WHERE kind = '{kind}'")
    return lane


def _said(found):
    return [(one.verdict, one.what) for one in found.steps]


@simulated()
async def test_a_payment_would_wait_until_its_invoice_is_posted(world, people):
    invoice = await paid_unapproved(world, people)
    found = await forecast(world.app.hub, await _lane(world, "payment"))
    assert found.fails
    assert [verdict for verdict, _ in _said(found)] == ["duplicate", "unchanged", "would wait"]
    assert f"invoice {invoice['id']} to be posted at netsuite-main" in _said(found)[-1][1]


@simulated()
async def test_what_is_gone_outside_would_fail(world, people):
    await posted(world, people)
    lane = await _lane(world, "account")
    await world.act("salesforce", "delete", object="Account", id=lane.rpartition("|")[2])
    found = await forecast(world.app.hub, lane)
    assert found.fails
    assert _said(found) == [("would fail", "the account was deleted while documents of it are needed")]


@simulated()
async def test_who_holds_what_it_needs_is_said_unless_it_is_the_lane_itself(world, people):
    await posted(world, people)
    hub, name = world.app.hub, await _lane(world, "account")
    (row,) = await hub.store.fetch(stories.LANE, {"lane_id": name})
    run = DryRun(hub, lane_of(row), "sync_account")
    held = {"lane_id": "somebody", "now": hub.now()}
    await hub.store.commit([(waits.HOLD, {**held, "resource": "theirs"})])
    await hub.store.commit([(waits.HOLD, {**held, "resource": "ours", "lane_id": name})])
    await run.hold("free", "ours", "theirs")
    assert [(one.verdict, one.what) for one in run.foreseen] == [
        ("would wait", "theirs is held by somebody at this moment")
    ]
