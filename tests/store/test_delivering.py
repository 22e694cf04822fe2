"""Delivery on both databases: order per key, growing pauses, an outage, 410, dead letters, a second process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.store.facts import AnyStore, does, rows
from tests.store.outbox_world import Clock, Ear, World
from tieout.engine import redelivering
from tieout.engine.commands import execute
from tieout.engine.delivering import PAUSES
from tieout.engine.outbox import Event, Gone, NotTaken, Taken, Verdict
from tieout.store import people

BAD = NotTaken(reason="it answered 500")


def unless_bad(event: Event) -> Verdict:
    """Takes everything but what has the key `bad`."""
    return BAD if event.key == "bad" else Taken()


async def states(store: AnyStore) -> list[tuple[str, str]]:
    return sorted(
        await rows(
            store,
            "SELECT event_id, deliveries.state FROM deliveries JOIN outbox ON outbox.seq = deliveries.seq",
        )
    )


async def open_codes(store: AnyStore) -> list[str]:
    return [row[1] for row in await store.fetch(people.LIST, {})]


async def test_everything_arrives_once_in_the_order_of_its_key_and_several_keys_at_once(
    store: AnyStore,
) -> None:
    ear = Ear()
    world = await World(store, ear).begin()
    for number in range(30):
        await world.tell(f"{number % 6}-{number:02}", key=f"deal-{number % 6}")
    await world.round()
    assert sorted(ear.heard) == sorted(f"{number % 6}-{number:02}" for number in range(30))
    for deal in range(6):
        of_deal = [one for one in ear.heard if one.startswith(f"{deal}-")]
        assert of_deal == sorted(of_deal)
    assert ear.most == ear.at_once
    assert {state for _, state in await states(store)} == {"delivered"}


async def test_who_does_not_take_a_type_is_not_told_of_it(store: AnyStore) -> None:
    invoices, all_of_it = Ear("a", types=frozenset({"invoice.posted"})), Ear("b")
    world = await World(store, invoices, all_of_it).begin()
    await world.tell("i")
    await world.tell("p", type_="payment.applied")
    await world.round()
    assert (invoices.heard, all_of_it.heard) == (["i"], ["i", "p"])


async def test_a_failure_is_tried_again_with_growing_pauses_and_holds_up_its_own_key_alone(
    store: AnyStore,
) -> None:
    ear = Ear()
    ear.answers = lambda event: BAD if event.event_id == "a1" else Taken()
    world = await World(store, ear).begin()
    for name in ("a1", "a2", "b1"):
        await world.tell(name, key=name[0])
    await world.round()
    assert ear.heard == ["a1", "b1"]
    for pause in PAUSES[:6]:
        before = len(ear.heard)
        await world.round(seconds=pause - 1)
        assert len(ear.heard) == before, "too early"
        await world.round(seconds=1)
        assert ear.heard[before:] == ["a1"]
    ear.answers = lambda _: Taken()
    await world.round(seconds=PAUSES[6])
    assert ear.heard[-2:] == ["a1", "a2"]
    assert await open_codes(store) == []


async def test_an_outage_of_an_hour_costs_few_calls_and_everything_arrives_when_it_ends(
    store: AnyStore,
) -> None:
    ear = Ear()
    ear.answers = lambda _: NotTaken(reason="no connection")
    world = await World(store, ear).begin()
    for number in range(100):
        await world.tell(f"e{number:03}", key=f"deal-{number}")
    for _ in range(3600):
        await world.round(seconds=1)
    assert 20 < len(ear.heard) < 60
    assert await open_codes(store) == []
    ear.answers = lambda _: Taken()
    calls = len(ear.heard)
    for _ in range(301):
        await world.round(seconds=1)
    assert {state for _, state in await states(store)} == {"delivered"}
    assert len(ear.heard) - calls == 100


async def test_a_slow_receiver_holds_up_neither_another_nor_its_own_other_keys(store: AnyStore) -> None:
    slow, quick = Ear("slow"), Ear("quick")
    release = asyncio.Event()

    async def when_released(event: Event) -> Verdict:
        if event.event_id == "a1":
            await release.wait()
        return Taken()

    slow.answers = when_released
    world = await World(store, slow, quick).begin()
    await world.tell("a1", key="a")
    await world.delivering.hand_on()
    stuck = asyncio.create_task(world.delivering.deliver(world.delivering.couriers[0]))
    while not slow.heard:
        await asyncio.sleep(0.01)
    await world.tell("b1", key="b")
    await world.delivering.hand_on()
    await world.delivering.deliver(world.delivering.couriers[1])
    assert quick.heard == ["a1", "b1"]
    async with asyncio.timeout(5):
        while slow.heard != ["a1", "b1"]:
            await asyncio.sleep(0.01)
    release.set()
    await stuck
    assert {state for _, state in await states(store)} == {"delivered"}


async def test_who_asks_for_time_gets_it_for_all_of_it_but_not_for_ever(store: AnyStore) -> None:
    ear = Ear(at_once=1)
    world = await World(store, ear).begin()
    for name in ("a", "b"):
        await world.tell(name, key=name)
    later = world.clock.now().replace(year=2030)
    ear.answers = lambda _: NotTaken(reason="it answered 429", retry_at=later, all_wait=True)
    await world.round()
    ear.answers = lambda _: Taken()
    await world.round(minutes=59)
    assert ear.heard == ["a"]
    await world.round(minutes=1)
    assert sorted(ear.heard) == ["a", "a", "b"]


async def test_gone_switches_off_tells_a_person_once_and_enable_goes_on_where_it_stopped(
    store: AnyStore,
) -> None:
    ear = Ear()
    ear.answers = lambda _: Gone(reason="it answered 410 Gone")
    world = await World(store, ear).begin()
    for name in ("a", "b"):
        await world.tell(name, key=name)
    await world.round()
    heard = len(ear.heard)
    await world.tell("c", key="c")
    await world.round(days=1)
    assert len(ear.heard) == heard
    assert await open_codes(store) == ["receiver_gone"]
    (exception,) = await store.fetch(people.LIST, {})
    said, answer = await execute(world.hub, "exceptions.resolve", {"exception_id": exception[0]}, "me")
    assert (said, "tieout outbox enable ear" in answer["error"]) == ("failed", True)
    ear.answers = lambda _: Taken()
    said, answer = await execute(world.hub, "outbox.enable", {"receiver": "ear"}, "me")
    assert (said, answer["pending"]) == ("done", 4)  # its own exception is announced, too
    await world.round()
    assert {state for _, state in await states(store)} == {"delivered"}
    assert await open_codes(store) == []
    assert await execute(world.hub, "outbox.enable", {"receiver": "nobody"}, "me") == (
        "failed",
        {"error": "no receiver 'nobody' is configured; there are: ear"},
    )


async def test_after_days_it_is_a_dead_letter_with_one_exception_and_the_next_goes_on(
    store: AnyStore,
) -> None:
    ear = Ear()
    ear.answers = lambda event: BAD if event.event_id.startswith("bad") else Taken()
    world = await World(store, ear).begin()
    for name in ("bad1", "bad2", "good"):
        await world.tell(name)
    for _ in range(24 * 9):
        await world.round(hours=1)
    found = dict(await states(store))
    assert (found["bad1"], found["bad2"], found["good"]) == ("dead", "dead", "delivered")
    assert ear.heard.index("good") > ear.heard.index("bad2")
    assert await open_codes(store) == ["undelivered"]
    ear.answers = lambda _: Taken()
    asked = {"receiver": "ear", "dead": True, "reason": "mended"}
    assert await execute(world.hub, "outbox.replay", asked, "me") == ("done", {"queued": 2})
    await world.round()
    assert ear.heard[-2:] == ["bad1", "bad2"]
    assert await open_codes(store) == []


async def test_what_could_never_be_tried_is_given_up_too_and_does_not_stay_for_ever(store: AnyStore) -> None:
    ear = Ear()
    ear.answers = lambda _: Gone(reason="410")
    world = await World(store, ear).begin()
    for name in ("a", "b"):
        await world.tell(name)
    await world.round()
    await world.round(days=3)
    await world.delivering.tidy()
    assert {state for _, state in await states(store)} == {"pending"}
    await world.round(days=2)
    await world.delivering.tidy()
    assert dict(await states(store))["a"] == "dead"
    assert "undelivered" in await open_codes(store)
    world.clock.moment = world.clock.moment.replace(month=7)
    await world.delivering.tidy()
    assert "a" not in dict(await states(store))


async def test_what_was_delivered_is_forgotten_after_keep_days_and_what_waits_is_not(store: AnyStore) -> None:
    ear = Ear()
    ear.answers = unless_bad
    world = await World(store, ear).begin()
    for number in range(450):
        await world.tell(f"e{number}", key="bad" if number == 3 else f"k{number}")
    await world.round()
    waits = "UPDATE deliveries SET queued_at = :later, due_at = :later WHERE state = 'pending'"
    await store.commit([(does(waits), {"later": world.hub.now() + 40 * 86_400_000_000})])
    await world.round(days=29)
    await world.tell("young", key="young")
    await world.round()
    await world.round(days=2)
    await world.delivering.tidy()
    left = [row[0] for row in await rows(store, "SELECT event_id FROM outbox ORDER BY seq")]
    assert left == ["e3", "young"]
    assert [name for name, _ in await states(store)] == ["e3", "young"]


async def test_a_range_is_delivered_again_in_order_under_the_same_ids(store: AnyStore) -> None:
    ear = Ear()
    world = await World(store, ear).begin()
    for name in ("e1", "e2", "e3"):
        await world.tell(name)
        await world.round(minutes=10)
    asked = {
        "receiver": "ear",
        "since": "2026-05-01T10:10:00Z",
        "until": "2026-05-01T10:30:00Z",
        "reason": "lost it",
    }
    assert await execute(world.hub, "outbox.replay", asked, "me") == ("done", {"queued": 2})
    await world.round()
    assert ear.heard == ["e1", "e2", "e3", "e2", "e3"]
    for wrong, why in (
        ({"receiver": "ear"}, "say which events"),
        ({"receiver": "none", "dead": True}, "no receiver 'none'"),
        ({"receiver": "ear", "since": "2026-05-01T10:10:00"}, "time zone"),
        ({"receiver": "ear", "since": "yesterday"}, "datetime"),
    ):
        said, answer = await execute(world.hub, "outbox.replay", wrong, "me")
        assert said == "failed"
        assert why in answer["error"]
    assert ear.heard[5:] == []
    told = await redelivering.deliveries(world.hub, state="delivered", limit=2)
    assert [one.event_id for one in told] == ["e3", "e2"]
    (audited,) = await rows(store, "SELECT actor, action, subject FROM audit WHERE action LIKE 'outbox%'")
    assert audited == ("me", "outbox.replay", "ear")


async def test_a_second_process_does_nothing_until_the_first_is_gone(
    store: AnyStore, open_another: Callable[[], AnyStore]
) -> None:
    clock = Clock()
    first, second = Ear(), Ear()
    one = await World(store, first, clock=clock, seconds=700).begin()
    two = await World(open_another(), second, clock=clock, worker="worker-2").begin()
    await one.tell("e1")
    await two.round()
    await one.round()
    assert (first.heard, second.heard) == (["e1"], [])
    # The first one is killed after the receiver took e2, before that was written down.
    await one.tell("e2")
    taken = asyncio.Event()

    async def killed(_: Event) -> Verdict:
        taken.set()
        await asyncio.Event().wait()
        return Taken()

    first.answers = killed
    await one.delivering.hand_on()
    dying = asyncio.create_task(one.delivering.deliver(one.courier))
    await taken.wait()
    dying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dying
    assert not await two.delivering.own()
    await two.round(seconds=701)
    assert second.heard == []
    assert await two.delivering.own()
    await two.round()
    assert second.heard == ["e2"]
    # The first one wakes up with a lease that has run out: it sends nothing.
    first.heard.clear()
    await two.tell("e3")
    await two.delivering.hand_on()
    await one.delivering.deliver(one.courier)
    assert first.heard == []


async def test_a_stop_drops_what_is_on_its_way_and_the_next_process_delivers_it(store: AnyStore) -> None:
    ear = Ear()

    async def never(_: Event) -> Verdict:
        await asyncio.Event().wait()
        return Taken()

    ear.answers = never
    world = await World(store, ear).begin()
    await world.tell("e1")
    await world.delivering.hand_on()
    running = asyncio.create_task(world.delivering.deliver(world.courier))
    while not ear.heard:
        await asyncio.sleep(0.01)
    world.delivering.stop()
    async with asyncio.timeout(3):
        await running
    assert await states(store) == [("e1", "pending")]


async def test_an_event_of_the_command_line_is_sent_past_the_outbox(store: AnyStore) -> None:
    ear = Ear()
    world = await World(store, ear).begin()
    event_id, verdict = await redelivering.test(world.hub, "ear")
    assert (ear.heard, verdict) == ([event_id], Taken())
    assert await rows(store, "SELECT 1 FROM outbox") == []


async def test_it_is_known_how_long_the_oldest_event_of_each_receiver_waits(store: AnyStore) -> None:
    slow, prompt = Ear("slow"), Ear("prompt")
    slow.answers = lambda _: BAD
    world = await World(store, slow, prompt).begin()
    await world.tell("e1")
    await world.round()
    world.clock.moment += timedelta(seconds=30)
    assert await world.delivering.age_seconds() == {"slow": 30, "prompt": 0}


async def test_every_delivery_is_counted_by_how_it_ended(store: AnyStore) -> None:
    ear = Ear()
    ear.answers = unless_bad
    world = await World(store, ear).begin()
    for number, key in enumerate(("good", "bad", "fine")):
        await world.tell(f"e{number}", key=key)
    await world.round()
    counter = world.hub.metrics.announced
    assert counter.labels("ear", "taken")._value.get() == 2
    assert counter.labels("ear", "nottaken")._value.get() == 1


@pytest.mark.parametrize("lost", [False, True], ids=["not owned", "lease lost"])
async def test_who_may_not_deliver_hands_nothing_on(store: AnyStore, lost: bool) -> None:
    world = World(store, Ear())
    await world.lease.join("here", 1)
    if lost:
        await world.delivering.own()
        world.lease.lost = True
    await world.tell("e1")
    await world.delivering.hand_on()
    assert await rows(store, "SELECT COUNT(*) FROM deliveries") == [(0,)]


async def test_a_delivery_says_when_it_is_due_while_it_waits_and_when_it_was_done_after(
    store: AnyStore,
) -> None:
    ear = Ear()
    ear.answers = unless_bad
    world = await World(store, ear).begin()
    await world.tell("good", key="good")
    await world.tell("bad", key="bad")
    await world.round()
    bad, good = await redelivering.deliveries(world.hub)
    assert (bad.state, bad.done_at, bad.attempts) == ("pending", None, 1)
    assert bad.due_at is not None
    assert bad.due_at > world.clock.moment
    assert (good.state, good.due_at, good.done_at) == ("delivered", None, world.clock.moment)
    (standing,) = await redelivering.standings(world.hub)
    assert (standing.state, standing.pending, standing.delivered, standing.dead) == ("on", 1, 1, 0)
    assert standing.oldest_pending_at == world.clock.moment


async def test_a_receiver_that_heard_nothing_yet_stands_with_nothing(store: AnyStore) -> None:
    world = await World(store, Ear()).begin()
    (standing,) = await redelivering.standings(world.hub)
    assert (standing.pending, standing.delivered, standing.dead, standing.oldest_pending_at) == (
        0,
        0,
        0,
        None,
    )


async def test_a_replay_queues_neither_what_waits_nor_what_the_receiver_does_not_take(
    store: AnyStore,
) -> None:
    invoices, everything = Ear("invoices", types=frozenset({"invoice.posted"})), Ear("everything")
    invoices.answers = unless_bad
    world = await World(store, invoices, everything).begin()
    await world.tell("good", key="good")
    await world.tell("bad", key="bad")
    await world.tell("other", key="other", type_="payment.applied")
    await world.round()
    again = {"receiver": "invoices", "since": "2026-05-01T00:00:00Z", "reason": "lost it"}
    assert await execute(world.hub, "outbox.replay", again, "me") == ("done", {"queued": 1})
    await world.round()
    assert invoices.heard == ["good", "bad", "good"]
