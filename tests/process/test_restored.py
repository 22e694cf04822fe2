"""A backup put back: the hub has forgotten an hour of writes, finds each of them again and makes none a second time."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from tests.process.flows import (
    FEBRUARY,
    clean,
    erp,
    exceptions,
    operation_of,
    script,
    simulated,
    sql,
    subscriptions,
)
from tieout.engine import restoring
from tieout_lab.simulation import judge
from tieout_lab.twins.kit import Scripted

INVOICE = "/services/rest/record/v1/invoice"
KEYS = pytest.mark.parametrize("enforced", [True, False], ids=["keyed", "un-keyed"])


async def restore(world, backup, taken_at):
    """What the operator does: the backup is put back, `tieout restored`, and everything is started again."""
    await world.restored(backup, taken_at)
    await world.live()


async def caught_up(world):
    """Until the restore is over: by then everything has been listed again, after the longest doubt."""
    for _ in range(40):
        await world.rest()
        if await restoring.progress(world.app.hub) is None:
            return
        await asyncio.sleep(60)
    raise AssertionError(await restoring.progress(world.app.hub))


async def business(world, people):
    """An hour of it: a deal, its invoice, paid in part; credited; a second deal of the same customer; one in yen."""
    account = await people.customer("Forgotten")
    await people.sell(account)
    await world.rest()
    first = people.invoices()[-1]
    await people.wire(first["customer"], 30_000, [(first["id"], 30_000)])
    await people.credit(first["id"], 1_000)
    await people.sell(account)
    await people.sell(await people.customer("Nihon", "jp"), "jp")
    await world.rest()
    await people.pay(people.invoices()[0]["id"])
    await people.approve_all()
    await world.rest()


def shown(books):
    return sorted(map(str, books))


@KEYS
def test_an_hour_that_was_forgotten_is_found_again_and_nothing_is_made_twice(enforced):
    @simulated(enforce_keys=enforced)
    async def test(world, people):
        world.erp.faults.enforce_keys = enforced
        await people.sell(await people.customer("Before"))
        await world.rest()
        backup, taken_at = world.back_up(), world.clock.now()
        await business(world, people)
        await asyncio.sleep(3600)
        documents = {one["id"] for one in await erp(world)}
        books, subscribed = shown(await judge.content(world)), len(subscriptions(world))
        known = len(await sql(world, "SELECT effect_key FROM effects"))
        await restore(world, backup, taken_at)
        assert len(await sql(world, "SELECT effect_key FROM effects")) < known
        await caught_up(world)
        assert {one["id"] for one in await erp(world)} == documents
        assert shown(await judge.content(world)) == books
        assert len(subscriptions(world)) == subscribed
        assert len(await sql(world, "SELECT effect_key FROM effects")) == known
        assert await exceptions(world) == []
        await clean(world)
        ways = dict(await judge.ways(world))
        assert set(ways) <= {"look-up", "evidence"}
        assert ways["look-up"] > 5

    test()


@KEYS
def test_business_goes_on_after_a_restore_and_new_documents_wait_out_the_doubt(enforced):
    """What is sold after the restore is made once, too: not before the horizon, and after a look-up."""

    @simulated(enforce_keys=enforced)
    async def test(world, people):
        world.erp.faults.enforce_keys = enforced
        account = await people.customer("Acme")
        await people.sell(account)
        await world.rest()
        backup, taken_at = world.back_up(), world.clock.now()
        await people.sell(account)
        await world.rest()
        await restore(world, backup, taken_at)
        began = world.clock.now()
        await people.sell(account)
        await asyncio.sleep(300)
        horizon = restoring.horizon_seconds(world.app.hub)
        assert horizon > 600
        assert len(await erp(world, "invoice")) == 2
        await caught_up(world)
        assert len(await erp(world, "invoice")) == 3
        absent = await sql(world, "SELECT MIN(at) FROM audit WHERE action = 'effect.absent'")
        assert absent[0][0] / 1e6 - began.timestamp() > 60
        (late,) = await sql(
            world,
            "SELECT MAX(at) FROM audit WHERE action = 'effect.absent' AND subject LIKE '%|invoice.create%'",
        )
        assert late[0] / 1e6 >= began.timestamp() + horizon - 1
        await clean(world)

    test()


@simulated(enforce_keys=False)
async def test_a_write_that_was_under_way_when_the_machine_was_lost_is_waited_for(world, people):
    """The ERP ends the forgotten hub's request after the restored one has looked in vain the first time."""
    world.erp.faults.enforce_keys = False
    account = await people.customer("Acme")
    await people.sell(account)
    await world.rest()
    backup, taken_at = world.back_up(), world.clock.now()
    script(world.erp, operation_of(world.erp, INVOICE), "late", seconds=840.0)
    await people.sell(account)
    while not await sql(
        world, "SELECT 1 FROM effects WHERE operation = 'invoice.create' AND state IN ('SENT', 'UNKNOWN')"
    ):
        await asyncio.sleep(0.1)
    await restore(world, backup, taken_at)
    await caught_up(world)
    assert world.erp.faults.counts["late"] == 1
    assert len(await erp(world, "invoice")) == 2
    await clean(world)


@simulated(enforce_keys=False)
async def test_what_still_stands_in_line_when_everything_is_listed_is_looked_up_too(world, people):
    """The ERP is away until long after the feeds have caught up."""
    world.erp.faults.enforce_keys = False
    account = await people.customer("Acme")
    await people.sell(account)
    await world.rest()
    backup, taken_at = world.back_up(), world.clock.now()
    await people.sell(account)
    await world.rest()
    world.erp.faults.rates = {"refuse": 1.0}
    await restore(world, backup, taken_at)
    await asyncio.sleep(2 * restoring.horizon_seconds(world.app.hub))
    progress = await restoring.progress(world.app.hub)
    assert progress.unlisted == ()
    assert progress.unsettled
    world.erp.faults.rates = {}
    await caught_up(world)
    assert len(await erp(world, "invoice")) == 2
    await clean(world)


@simulated()
async def test_what_was_in_doubt_at_the_backup_is_never_sent_again_under_its_old_wire_key(world, people):
    """The vendor's memory of a wire key would do the work again, if the forgotten hub had moved on to the next one."""
    world.billing.faults.webhooks = {"drop": 1.0}
    operation = next(
        r.operation
        for r in world.billing.routes
        if r.method == "POST" and r.pattern.match("/v1/subscriptions")
    )
    world.billing.faults.visibility_delay_seconds = 55.0
    # Nothing came of the first requests; the forgotten hub makes it in the end. That the vendor then knows nothing of
    # this wire key is how it looks if it was made under the next one.
    world.billing.faults.script = [Scripted(operation, 1, kind, None) for kind in ["hang"] * 8]
    await people.sell(await people.customer("Acme"))
    while not await sql(
        world, "SELECT 1 FROM effects WHERE operation = 'subscription.create' AND state = 'UNKNOWN'"
    ):
        await asyncio.sleep(1)
    backup, taken_at = world.back_up(), world.clock.now()
    while not subscriptions(world):
        await asyncio.sleep(1)
    world.billing.keys.kept.clear()
    await restore(world, backup, taken_at)
    ((state, error),) = await sql(
        world, "SELECT state, error FROM effects WHERE operation = 'subscription.create'"
    )
    assert (state, error.startswith(restoring.MARK)) == ("UNKNOWN", True)
    await caught_up(world)
    assert len(subscriptions(world)) == 1
    ((way,),) = await sql(world, "SELECT resolved_by FROM effects WHERE operation = 'subscription.create'")
    assert way in ("look-up", "evidence")
    await clean(world)


@simulated()
async def test_a_void_of_the_forgotten_hour_stands_once(world, people):
    await people.sell(await people.customer("Acme"))
    await world.rest()
    await people.move_to(FEBRUARY)
    await world.rest()
    backup, taken_at = world.back_up(), world.clock.now()
    await people.void(people.invoices()[-1]["id"])
    await world.rest()
    memos = [one["id"] for one in await erp(world, "creditMemo")]
    assert len(memos) == 1
    await restore(world, backup, taken_at)
    await caught_up(world)
    assert [one["id"] for one in await erp(world, "creditMemo")] == memos
    await clean(world)


@simulated()
async def test_two_like_deals_of_the_forgotten_hour_are_no_clones_of_each_other(world, people):
    """Both show the status that the forgotten hub has given them."""
    backup, taken_at = world.back_up(), world.clock.now()
    account = await people.customer("Acme")
    await people.sell(account)
    await people.sell(account)
    await world.rest()
    await restore(world, backup, taken_at)
    await caught_up(world)
    assert await exceptions(world) == []
    assert len(subscriptions(world)) == 2
    await clean(world)


@simulated()
async def test_the_restore_is_over_only_when_every_feed_was_listed_and_nothing_old_is_left(world, people):
    await people.sell(await people.customer("Acme"))
    await world.rest()
    backup, taken_at = world.back_up(), world.clock.now()
    await restore(world, backup, taken_at)
    progress = await restoring.progress(world.app.hub)
    assert set(progress.unlisted) == {"salesforce-main", "stripe-us", "stripe-jp"}
    # One feed fails: whatever else happens, the restore is not over.
    world.billing.faults.rates = {"error_before": 1.0}
    await asyncio.sleep(3600)
    progress = await restoring.progress(world.app.hub)
    assert set(progress.unlisted) == {"stripe-us", "stripe-jp"}
    world.billing.faults.rates = {}
    await caught_up(world)
    ((ended,),) = await sql(world, "SELECT COUNT(*) FROM restores WHERE ended_at IS NOT NULL")
    assert ended == 1


@simulated()
async def test_what_waits_for_a_person_keeps_its_own_care_and_holds_up_nothing_new(world, people):
    """A document that was parked before stays in question; one that is born after the listing is made at once."""
    account = await people.customer("Acme")
    await people.sell(account, contract_start="2026-03-01", contract_end="2026-02-01", term_months=None)
    await world.rest()
    (found,) = await exceptions(world)
    backup, taken_at = world.back_up(), world.clock.now()
    await restore(world, backup, taken_at)
    await asyncio.sleep(2 * restoring.horizon_seconds(world.app.hub))
    progress = await restoring.progress(world.app.hub)
    assert progress.unlisted == ()
    assert any(found["lane_id"] in one for one in progress.unsettled)
    looked = await sql(world, "SELECT COUNT(*) FROM audit WHERE action = 'effect.doubted'")
    await people.sell(await people.customer("Later"))
    await world.rest()
    assert len(await erp(world, "invoice")) == 1
    doubted = await sql(
        world, "SELECT subject FROM audit WHERE action = 'effect.doubted' AND subject LIKE '%invoice.create%'"
    )
    assert doubted == []
    assert looked == [(0,)]


@simulated()
async def test_a_hub_that_was_not_told_says_that_its_database_is_older_than_the_outside(world, people):
    """The subscription's own events carry a key that the ledger does not know."""
    backup = world.back_up()
    await people.sell(await people.customer("Acme"))
    await world.rest()
    await world.put_back(backup)
    await world.live()
    world.billing.faults.webhooks = {}
    await asyncio.sleep(10)
    found = [one for one in await exceptions(world) if one["code"] == restoring.OLDER]
    for _ in range(20):
        if found:
            break
        await asyncio.sleep(10)
        found = [one for one in await exceptions(world) if one["code"] == restoring.OLDER]
    assert found
    assert "tieout restored" in found[0]["remedy"]


@simulated()
async def test_a_living_hub_never_says_so(world, people):
    await people.sell(await people.customer("Acme"))
    await world.rest()
    assert await exceptions(world) == []
    assert await sql(world, "SELECT 1 FROM exceptions") == []


@simulated()
async def test_a_moment_that_is_still_to_come_is_refused_and_nothing_is_written(world, people):
    with pytest.raises(ValueError, match="still to come"):
        await restoring.begin(world.app.hub, datetime(2999, 1, 1, tzinfo=UTC), "operator")
    assert await sql(world, "SELECT 1 FROM restores") == []


@simulated()
async def test_a_hub_that_has_worked_since_the_backup_is_told_so(world, people):
    taken_at = world.clock.now()
    await asyncio.sleep(60)
    await people.sell(await people.customer("Acme"))
    await world.rest()
    begun = await restoring.begin(world.app.hub, taken_at, "operator")
    assert begun.worked_until > taken_at


@pytest.mark.parametrize(
    ("restored_at", "epoch"), [(0, 3), (2_900_000, 3), (1_700_000_000_500_000, 1_700_000_000)]
)
def test_what_is_sent_anew_has_an_epoch_above_all_that_were_used(restored_at, epoch):
    assert restoring.next_epoch(SimpleNamespace(restored_at=restored_at), SimpleNamespace(epoch=2)) == epoch
