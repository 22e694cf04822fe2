"""Needs and holds: nobody waits for what is already there, and nobody is forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.store.facts import NOW, AnyStore, claim, does, guard, join, lane, pause, rows, state_of
from tieout.store import lanes, waits
from tieout.store.statements import Refused, Step

ROUNDS = 150


def wait_steps(name: str, *needs: str, fence: int = 1, on_lane: str = "") -> list[Step]:
    """As the engine ends a run that needs something."""
    steps: list[Step] = [guard(name, fence)]
    for need in needs:
        steps += [(waits.NEED, {"need_key": need}), waiter(name, need, on_lane)]
    return [*steps, *end(name, fence)]


def waiter(name: str, need: str, on_lane: str) -> Step:
    row = {"lane_id": name, "need_key": need, "on_lane": on_lane, "what": need}
    return waits.WAIT, {**row, "now": NOW, "deadline_at": NOW + 100}


def end(name: str, fence: int) -> list[Step]:
    names = {"lane_id": name, "fence": fence, "run_id": "run", "trace": "", "now": NOW}
    return [(waits.CYCLE, {"lane_id": name}), (lanes.WAIT, names)]


def meet_steps(need: str) -> list[Step]:
    return [
        (waits.MEET, {"need_key": need, "value": "42", "now": NOW}),
        (waits.WAKE, {"need_key": need, "now": NOW}),
    ]


def hold(name: str, *resources: str) -> list[Step]:
    return [(waits.HOLD, {"resource": resource, "lane_id": name, "now": NOW}) for resource in resources]


def free_steps(name: str) -> list[Step]:
    names = {"lane_id": name, "now": NOW}
    return [(waits.FREED, names), (waits.FREE_WAKE, names), (waits.FREE, {"lane_id": name})]


def wait_for_hold(name: str, resource: str, holder: str) -> list[Step]:
    need = f"hold|{resource}"
    return [
        guard(name),
        (waits.HELD_NEED, {"need_key": need}),
        (waits.HOLD_STILL_TAKEN, {"need_key": need, "resource": resource, "now": NOW}),
        waiter(name, need, holder),
        *end(name, 1),
    ]


async def sweep(store: AnyStore) -> list[str]:
    (woken,) = await store.commit([(waits.SWEEP, {"now": NOW})])
    return [row[0] for row in woken]


async def leased(store: AnyStore, *names: str) -> None:
    await join(store)
    await asyncio.gather(*(lane(store, name) for name in names))
    await claim(store, limit=len(names))


async def test_a_lane_waits_until_its_need_is_met(store: AnyStore) -> None:
    await leased(store, "lane")
    await store.commit(wait_steps("lane", "customer"))
    assert await state_of(store, "lane") == "waiting"
    assert await sweep(store) == []
    await store.commit(meet_steps("customer"))
    assert await state_of(store, "lane") == "ready"
    assert await store.fetch(waits.MET, {"need_key": "customer"}) == [("42",)]


async def test_what_is_met_already_is_granted_at_once(store: AnyStore) -> None:
    await leased(store, "lane")
    await store.commit(meet_steps("customer"))
    await store.commit(wait_steps("lane", "customer"))
    assert await state_of(store, "lane") == "ready"


def dawdling(steps: list[Step], place: int) -> list[Step]:
    """Stands still after one of the steps, so that another transaction runs in between."""
    place = place % len(steps) + 1
    return [*steps[:place], pause(0.004), *steps[place:]]


@pytest.mark.parametrize("binder_first", [False, True])
async def test_waiter_and_binder_race(postgres: Callable[[], AnyStore], binder_first: bool) -> None:
    waiting, binding = postgres(), postgres()
    names = [f"lane-{number}" for number in range(ROUNDS)]
    await leased(waiting, *names)
    for number, name in enumerate(names):
        need = f"need-{number}"
        if number % 3:  # somebody asked for it before: the row is there
            await binding.commit([(waits.NEED, {"need_key": need})])
        race = [
            waiting.commit(dawdling(wait_steps(name, need), number)),
            binding.commit(dawdling(meet_steps(need), number // 5)),
        ]
        await asyncio.gather(*(reversed(race) if binder_first else race))
        assert await state_of(waiting, name) == "ready"
    assert await sweep(waiting) == []


async def test_many_waiters_and_binders_race_in_big_groups(postgres: Callable[[], AnyStore]) -> None:
    waiting, binding = postgres(), postgres()
    names = [f"lane-{number:03}" for number in range(ROUNDS)]
    await leased(waiting, *names)
    waiters = [waiting.commit(wait_steps(name, f"{name} a", f"{name} b")) for name in names]
    binders = [binding.commit(meet_steps(f"{name} {which}")) for name in names for which in "ab"]
    await asyncio.gather(*waiters, *binders)
    assert {await state_of(waiting, name) for name in names} == {"ready"}
    assert await sweep(waiting) == []


async def test_holds_exclude_all_at_once(store: AnyStore) -> None:
    await leased(store, "a", "b")
    await store.commit(hold("a", "contract", "customer"))
    with pytest.raises(Refused):
        await store.commit(hold("b", "account", "customer"))
    assert await rows(store, "SELECT resource, lane_id FROM holds ORDER BY resource") == [
        ("contract", "a"),
        ("customer", "a"),
    ]
    await store.commit(wait_for_hold("b", "customer", "a"))
    assert await state_of(store, "b") == "waiting"
    assert await sweep(store) == []
    await store.commit(free_steps("a"))
    assert await state_of(store, "b") == "ready"
    await store.commit(hold("b", "account", "customer"))


async def test_a_hold_freed_meanwhile_is_not_waited_for(store: AnyStore) -> None:
    await leased(store, "a", "b")
    await store.commit(hold("a", "contract"))
    await store.commit(free_steps("a"))
    await store.commit(wait_for_hold("b", "contract", "a"))
    assert await state_of(store, "b") == "ready"


@pytest.mark.parametrize("holder_first", [False, True])
async def test_holder_and_waiter_race(postgres: Callable[[], AnyStore], holder_first: bool) -> None:
    holding, waiting = postgres(), postgres()
    names = [f"lane-{number}" for number in range(ROUNDS)]
    await leased(waiting, *names)
    for number, name in enumerate(names):
        await holding.commit(hold("holder", f"contract-{number}"))
        if number % 3:
            await holding.commit([(waits.HELD_NEED, {"need_key": f"hold|contract-{number}"})])
        race = [
            waiting.commit(dawdling(wait_for_hold(name, f"contract-{number}", "holder"), number)),
            holding.commit(dawdling(free_steps("holder"), number // 6)),
        ]
        await asyncio.gather(*(reversed(race) if holder_first else race))
        assert await state_of(waiting, name) == "ready"
    assert await sweep(waiting) == []


async def test_two_takers_of_one_hold_race(postgres: Callable[[], AnyStore]) -> None:
    first, second = postgres(), postgres()
    for number in range(ROUNDS):
        resources = [f"a-{number}", f"b-{number}"]
        outcomes = await asyncio.gather(
            first.commit(hold("one", *resources)),
            second.commit(hold("two", *resources)),
            return_exceptions=True,
        )
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Refused", "list"]
        held = await rows(
            first, "SELECT DISTINCT lane_id FROM holds WHERE resource LIKE :like", like=f"%-{number}"
        )
        assert len(held) == 1


async def test_dead_holders_are_freed(store: AnyStore) -> None:
    await leased(store, "a", "b", "c")
    await store.commit(hold("a", "contract"))
    await store.commit(hold("c", "other"))
    await store.commit(wait_for_hold("b", "contract", "a"))
    await store.commit([(lanes.REAP, {"now": NOW, "real_now": NOW})])
    assert await state_of(store, "b") == "waiting"
    dead = {"lane_id": "a", "fence": 1, "due_at": NOW, "attempts": 0, "run_id": "", "trace": ""}
    await store.commit([(lanes.AGAIN, dead)])
    steps: list[Step] = [
        (waits.DEAD_FREED, {"now": NOW}),
        (waits.DEAD_WAKE, {"now": NOW}),
        (waits.FREE_DEAD, {}),
    ]
    await store.commit(steps)
    assert await rows(store, "SELECT resource FROM holds") == [("other",)]
    assert await state_of(store, "b") == "ready"
    assert await sweep(store) == []


async def test_a_circle_is_found_when_the_wait_is_written(store: AnyStore) -> None:
    await leased(store, "a", "b", "c")
    await store.commit(wait_steps("a", "need b", on_lane="b"))
    await store.commit(wait_steps("b", "need c", on_lane="c"))
    with pytest.raises(Refused) as refused:
        await store.commit(wait_steps("c", "need a", on_lane="a"))
    assert refused.value.statement == waits.CYCLE.name
    assert await state_of(store, "c") == "leased"
    assert await rows(store, "SELECT lane_id FROM waiters WHERE lane_id = 'c'") == []
    await store.commit(wait_steps("c", "something else", on_lane="d"))


async def test_a_lane_that_waits_for_itself_is_a_circle(store: AnyStore) -> None:
    await leased(store, "a")
    with pytest.raises(Refused):
        await store.commit(wait_steps("a", "need a", on_lane="a"))


async def test_the_sweep_wakes_a_planted_lost_wake_up(store: AnyStore) -> None:
    await leased(store, "lost", "rightly waiting")
    await store.commit(wait_steps("lost", "customer"))
    await store.commit(wait_steps("rightly waiting", "another"))
    await store.commit(meet_steps("customer")[:1])  # met, and nobody woken
    assert await state_of(store, "lost") == "waiting"
    assert await sweep(store) == ["lost"]
    assert await state_of(store, "lost") == "ready"
    assert await state_of(store, "rightly waiting") == "waiting"


async def test_overdue_waits_are_named(store: AnyStore) -> None:
    await leased(store, "a", "b")
    await store.commit(wait_steps("a", "customer"))
    overdue = await store.fetch(waits.OVERDUE, {"now": NOW + 100, "limit": 10})
    assert overdue == [("a", "customer", "customer", NOW)]
    assert await store.fetch(waits.OVERDUE, {"now": NOW + 99, "limit": 10}) == []
    await store.commit([(waits.PARK_WAITING, {"lane_id": "a"})])
    with pytest.raises(Refused):
        await store.commit([(waits.PARK_WAITING, {"lane_id": "b"})])


async def test_who_was_parked_for_waiting_too_long_goes_on_when_it_comes(store: AnyStore) -> None:
    await leased(store, "overdue", "crashed")
    for name in ("overdue", "crashed"):
        await store.commit(wait_steps(name, "customer"))
        await store.commit([(waits.PARK_WAITING, {"lane_id": name})])
    await store.commit([(does("UPDATE lanes SET crashes = 3 WHERE lane_id = 'crashed'"), {})])
    await store.commit(meet_steps("something else"))
    assert await state_of(store, "overdue") == "parked"
    await store.commit(meet_steps("customer"))
    assert await state_of(store, "overdue") == "ready"
    assert await state_of(store, "crashed") == "parked"


async def test_unmet_needs_of_one_producer_are_found_by_their_prefix(store: AnyStore) -> None:
    for need in (
        "customer|crm|account|1|erp",
        "customer|crm|account|1|billing",
        "customer|crm|account|10|erp",
    ):
        await store.commit([(waits.NEED, {"need_key": need})])
    low = "customer|crm|account|1|"
    found = await store.fetch(waits.UNMET, {"low": low, "high": low + "\U0010ffff"})
    assert [row[0] for row in found] == ["customer|crm|account|1|billing", "customer|crm|account|1|erp"]
