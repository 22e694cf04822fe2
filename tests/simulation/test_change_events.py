"""Change events on the harness: whatever becomes of the stream, every deal is taken in, and none twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from functools import cache

import pytest

from tests.process.flows import FLOWS, Result, clean, exceptions, play, simulated, sql, subscriptions
from tieout_lab.simulation.seeds import live

# A keepalive comes within 270 s: from then on there is a position in the stream.
ESTABLISHED_SECONDS = 300
# Far less than the sweep beside the stream waits: what is told in this time, the stream told.
SOON_SECONDS = 30
OUTAGE_SECONDS = 73 * 3600


async def established(world):
    await world.rest()
    await asyncio.sleep(ESTABLISHED_SECONDS)


async def soon(world):
    await asyncio.sleep(SOON_SECONDS)
    await world.quiet(within_seconds=SOON_SECONDS * 4)


def sweeps(world):
    return Counter(world.process.trail)["call changes.poll"]


async def told(world, since=0):
    """Types of the events that came from the CRM, in order, those that nobody needed left out."""
    return [
        row[0]
        for row in await sql(
            world,
            "SELECT type, seq FROM inbox WHERE connection = 'salesforce-main' AND state <> 'ignored' ORDER BY seq",
        )
        if row[1] > since
    ]


async def last(world):
    return (await sql(world, "SELECT COALESCE(MAX(seq), 0) FROM inbox"))[0][0]


async def edit(world, what, deal, **given):
    await world.act("salesforce", what, object="Opportunity", id=deal, **given)
    await soon(world)


@simulated(feed="pubsub")
async def test_create_update_delete_and_undelete_by_the_stream_alone(world, people):
    await established(world)
    before = sweeps(world)
    deal = await people.sell(await people.customer("Acme"))
    await soon(world)
    assert len(subscriptions(world)) == 1
    seen = await last(world)
    await edit(world, "update", deal, fields={"PO_Number__c": "PO-2"})
    assert await told(world, seen) == ["Opportunity.changed"]
    seen = await last(world)
    await edit(world, "delete", deal)
    assert set(await told(world, seen)) == {"OpportunityLineItem.deleted", "Opportunity.deleted"}
    assert "deleted" in (await exceptions(world))[0]["cause"]
    seen = await last(world)
    await edit(world, "undelete", deal)
    assert "Opportunity.changed" in await told(world, seen)
    assert sweeps(world) == before, "the sweep told it, not the stream"
    assert len(subscriptions(world)) == 1
    assert [each["preset"] for each in world.crm.pubsub.journal] == ["LATEST"]


@simulated(feed="pubsub")
async def test_an_echo_and_a_field_that_nobody_reads_cost_no_call(world, people):
    await established(world)
    deal = await people.sell(await people.customer("Acme"))
    await soon(world)
    seen, calls = await last(world), Counter(world.process.trail)["call changes.read"]
    await edit(world, "update", deal, fields={"NextStep": "call them", "Tieout_Status__c": "accepted"})
    assert await last(world) == seen
    assert Counter(world.process.trail)["call changes.read"] == calls
    await edit(world, "update", deal, fields={"NextStep": "again", "PO_Number__c": "PO-3"})
    assert Counter(world.process.trail)["call changes.read"] == calls + 1


@simulated(feed="pubsub")
async def test_a_merged_account_is_told_with_its_winner(world, people):
    await established(world)
    winner, loser = await people.customer("Winner"), await people.customer("Loser")
    await people.sell(loser)
    await soon(world)
    await world.act("salesforce", "merge_accounts", winner=winner, loser=loser)
    await soon(world)
    assert any(winner in each["cause"] for each in await exceptions(world))


@pytest.mark.parametrize(
    "gap",
    [
        {"type": "GAP_CREATE", "by_id": True},
        {"type": "GAP_UPDATE", "ids": ["006*"]},
        {"type": "GAP_OVERFLOW"},
    ],
    ids=["gap", "wildcard", "overflow"],
)
def test_a_gap_is_filled_from_before_it(gap):
    given = dict(gap)

    @simulated(feed="pubsub")
    async def test(world, people):
        await established(world)
        account = await people.customer("Acme")
        await world.act("salesforce", "lose_events", lose=True)
        # A transaction that began half an hour before it committed: its rows are stamped then.
        deal = await people.sell(account)
        if given["type"] == "GAP_OVERFLOW":
            stamp = (world.clock.now() - timedelta(seconds=1800)).strftime("%Y-%m-%dT%H:%M:%S.000+0000")
            fields = {"SystemModstamp": stamp}
            await world.act("salesforce", "alter", object="Opportunity", id=deal, fields=fields)
        await world.act("salesforce", "lose_events", lose=False)
        await soon(world)
        assert subscriptions(world) == []
        ids = [deal] if given.get("by_id") else given.get("ids")
        await world.act("salesforce", "publish_gap", object="Opportunity", ids=ids, type=given["type"])
        await soon(world)
        assert len(subscriptions(world)) == 1
        await world.rest()
        await clean(world)

    test()


@simulated(feed="pubsub")
async def test_an_event_that_cannot_be_read_owes_a_sweep(world, people):
    await established(world)
    await world.act("salesforce", "garble_events", count=1000)
    await people.sell(await people.customer("Acme"))
    await soon(world)
    assert len(subscriptions(world)) == 1
    await clean(world)


@simulated(feed="pubsub")
async def test_seventy_two_hours_down_and_the_replay_id_has_expired(world, people):
    await established(world)
    account = await people.customer("Acme")
    await people.sell(account)
    await soon(world)
    await world.bury()
    deleted = await people.sell(account)
    await people.sell(account)
    await world.act("salesforce", "delete", object="Opportunity", id=deleted)
    await asyncio.sleep(OUTAGE_SECONDS)
    await people.sell(account)
    await world.live()
    await established(world)
    journal = [each["preset"] for each in world.crm.pubsub.journal]
    assert journal[:3] == ["LATEST", "CUSTOM", "LATEST"]
    assert len(subscriptions(world)) == 3
    # And the stream tells again.
    before = sweeps(world)
    await people.sell(account)
    await soon(world)
    assert sweeps(world) == before
    assert len(subscriptions(world)) == 4
    await clean(world)


@simulated(feed="pubsub")
async def test_an_outage_within_the_retention_is_replayed(world, people):
    await established(world)
    account = await people.customer("Acme")
    await world.bury()
    for _ in range(3):
        await people.sell(account)
    await asyncio.sleep(70 * 3600)
    await world.live()
    await world.rest()
    assert [each["preset"] for each in world.crm.pubsub.journal] == ["LATEST", "CUSTOM"]
    assert world.crm.pubsub.delivered.used() > 3
    assert len(subscriptions(world)) == 3
    await clean(world)


@simulated(feed="pubsub")
async def test_a_replay_id_that_is_unknown_after_the_org_moved(world, people):
    await established(world)
    account = await people.customer("Acme")
    await people.sell(account)
    await world.act("salesforce", "lose_events", lose=True)
    await people.sell(account)
    await world.act("salesforce", "reset_event_bus")
    await world.act("salesforce", "lose_events", lose=False)
    await soon(world)
    await established(world)
    assert len(subscriptions(world)) == 2
    assert [each["preset"] for each in world.crm.pubsub.journal][-2:] == ["CUSTOM", "LATEST"]
    await clean(world)


@simulated(feed="pubsub")
async def test_what_changes_before_the_first_position_is_told_by_the_sweep(world, people):
    account = await people.customer("Acme")
    # No position yet, and the tip is where the subscription begins: nobody may rely on it.
    await world.act("salesforce", "lose_events", lose=True)
    await people.sell(account)
    await soon(world)
    assert len(subscriptions(world)) == 1
    # Just before there is a position: the sweep that is owed from then on tells it.
    (subscriber,) = world.crm.pubsub.open
    named = subscriber.spoke_at + timedelta(seconds=270)
    await asyncio.sleep((named - world.clock.now()).total_seconds() - 0.2)
    await people.sell(account)
    await world.act("salesforce", "lose_events", lose=False)
    await soon(world)
    assert len(subscriptions(world)) == 2
    assert world.crm.pubsub.subscribed == 1
    await clean(world)


@simulated(feed="pubsub")
async def test_the_session_ends_in_the_middle_of_the_stream(world, people):
    await established(world)
    account = await people.customer("Acme")
    await people.sell(account)
    await world.act("salesforce", "expire_sessions")
    await world.act("salesforce", "end_streams")
    await people.sell(account)
    await soon(world)
    assert len(subscriptions(world)) == 2
    assert [each["preset"] for each in world.crm.pubsub.journal] == ["LATEST", "CUSTOM"]
    await clean(world)


@simulated(feed="pubsub")
async def test_a_session_that_is_refused_again_is_left_alone_and_the_sweep_goes_on(world, people):
    await established(world)
    await world.act("salesforce", "refuse_streams", count=3)
    await world.act("salesforce", "end_streams")
    before = world.crm.pubsub.subscribed
    account = await people.customer("Acme")
    await people.sell(account)
    await asyncio.sleep(1.5)
    # Signed in again once; then a pause of two seconds at least.
    assert world.crm.pubsub.subscribed - before <= 2
    await asyncio.sleep(60)
    assert len(subscriptions(world)) == 1
    assert [each["preset"] for each in world.crm.pubsub.journal] == ["LATEST", "CUSTOM"]
    await clean(world)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("UNAVAILABLE", "service.unavailable"),
        ("INTERNAL", "something.nobody.documented"),
        ("RESOURCE_EXHAUSTED", "subscription.limit.exceeded"),
    ],
)
def test_a_stream_that_breaks_goes_on_where_it_was(status, code):
    @simulated(feed="pubsub")
    async def test(world, people):
        await established(world)
        account = await people.customer("Acme")
        await world.act("salesforce", "end_streams", status=status, code=code)
        await people.sell(account)
        await soon(world)
        assert len(subscriptions(world)) == 1, "the sweep is the feed while the stream is down"
        await asyncio.sleep(700)
        await people.sell(account)
        await soon(world)
        assert len(subscriptions(world)) == 2
        assert [each["preset"] for each in world.crm.pubsub.journal] == ["LATEST", "CUSTOM"]
        await clean(world)

    test()


@simulated(feed="pubsub")
async def test_the_allowance_of_the_org_is_spent(world, people):
    await established(world)
    account = await people.customer("Acme")
    await world.act("salesforce", "event_limits", daily=2)
    for _ in range(3):
        await people.sell(account)
    await soon(world)
    assert len(subscriptions(world)) == 3
    assert world.crm.pubsub.delivered.used() <= 2
    await clean(world)


@simulated(feed="pubsub")
async def test_no_more_is_under_way_than_was_asked_for(world, people):
    await established(world)
    account = await people.customer("Acme")
    (subscriber,) = world.crm.pubsub.open
    start, asked = world.crm.pubsub.delivered.used(), subscriber.asked - 100
    await asyncio.gather(*(people.sell(account) for _ in range(60)))
    while len(subscriptions(world)) < 60:
        await asyncio.sleep(0.2)
        # 100 at first; more only as pages are committed.
        assert subscriber.asked - asked - (world.crm.pubsub.delivered.used() - start) <= 100
    assert world.crm.pubsub.delivered.used() - start > 100
    await world.rest()
    await clean(world)


@simulated(feed="pubsub")
async def test_a_new_field_in_the_middle_of_the_stream(world, people):
    await established(world)
    account = await people.customer("Acme")
    await people.sell(account)
    await world.act("salesforce", "add_field", object="Opportunity", line="Region__c string:40")
    await people.sell(account)
    await soon(world)
    assert len(subscriptions(world)) == 2
    assert Counter(world.process.trail)["open pubsub.GetSchema"] >= 2
    await clean(world)


@simulated(feed="pubsub")
async def test_the_position_of_a_keepalive_is_saved(world, people):
    await established(world)
    account = await people.customer("Acme")
    await people.sell(account)
    await soon(world)
    await asyncio.sleep(2 * ESTABLISHED_SECONDS)
    # Everything older than the last keepalive leaves the bus.
    bus = world.crm.pubsub.bus
    bus._forget(len(bus.entries) - 1)
    await world.bury()
    await people.sell(account)
    await world.live()
    await world.rest()
    assert [each["preset"] for each in world.crm.pubsub.journal] == ["LATEST", "CUSTOM"]
    assert len(subscriptions(world)) == 2
    await clean(world)


@pytest.mark.parametrize("part", range(2))
def test_seeds_with_change_events(part):
    for seed in range(3 * part, 3 * part + 3):
        outcome = live(seed, feed="pubsub")
        assert outcome.violations == [], f"replay: live({seed}, feed='pubsub')"
        assert outcome.documents > 0


# -- the hub dies at every operation of the stream -------------------------------------------------------------------

_STREAM = ("open pubsub", "send pubsub", "receive pubsub", "call changes.read")


async def _streamed(world, people):
    await established(world)
    await FLOWS["posted"](world, people)


@cache
def _undisturbed() -> Result:
    result = play(_streamed, feed="pubsub")
    assert result.wrong == []
    assert any(what.startswith("receive pubsub") for what in result.trail)
    return result


@pytest.mark.parametrize("after", [False, True])
def test_a_death_at_every_operation_of_the_stream_gives_the_same_books(after):
    undisturbed = _undisturbed()
    places: dict[str, list[int]] = {}
    for at, what in enumerate(undisturbed.trail, 1):
        if what.startswith(_STREAM) or what == "commit feeds.move":
            places.setdefault(what, []).append(at)
    assert len(places) >= len(_STREAM) + 1
    # Of each the first and the last two: what lies between is the same again.
    for at in sorted({at for found in places.values() for at in (*found[:2], *found[-2:])}):
        result = play(_streamed, feed="pubsub", deaths=[(at, after)])
        assert result.wrong == [], f"replay: deaths=[({at}, {after})]"
        assert result.books == undisturbed.books, f"replay: deaths=[({at}, {after})]"
