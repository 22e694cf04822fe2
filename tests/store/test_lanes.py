"""Who runs what: claims, fences, leases."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest

from tests.store.facts import (
    LATER,
    NOW,
    WORKER,
    AnyStore,
    audit,
    claim,
    finish,
    guard,
    join,
    lane,
    one,
    pause,
    rows,
    state_of,
)
from tieout.store import lanes, records
from tieout.store.statements import Refused


def names_of(claimed: list[tuple[object, ...]]) -> set[object]:
    return {row[0] for row in claimed}


async def test_the_lane_due_first_is_claimed_first(store: AnyStore) -> None:
    await join(store)
    for due, name in ((30, "c"), (10, "a"), (40, "d"), (20, "b")):
        await lane(store, name, due_at=NOW + due)
    assert names_of(await claim(store, now=NOW + 35, limit=2)) == {"a", "b"}
    assert names_of(await claim(store, now=NOW + 35, limit=2)) == {"c"}
    assert await one(store, "SELECT MIN(due_at) FROM lanes WHERE state = 'ready'") == NOW + 40


async def test_four_claimers_never_share_a_lane_and_lose_none(postgres: Callable[[], AnyStore]) -> None:
    stores = [postgres() for _ in range(4)]
    wanted = {f"lane-{n}" for n in range(600)}
    for number, store in enumerate(stores):
        await join(store, f"worker-{number}")
    await asyncio.gather(*(lane(stores[0], name) for name in wanted))
    ran: Counter[object] = Counter()

    async def work(number: int) -> int:
        claims = 0
        while sum(ran.values()) < len(wanted):
            claimed = await claim(stores[number], worker=f"worker-{number}", limit=7)
            claims += len(claimed)
            await asyncio.gather(*(run(number, str(row[0]), int(row[4])) for row in claimed))
        return claims

    async def run(number: int, name: str, fence: int) -> None:
        step = guard(name, fence, worker=f"worker-{number}")
        await stores[number].commit([step, audit(f"{name} {fence}"), finish(name, fence)])
        ran[name] += 1

    claims = await asyncio.wait_for(asyncio.gather(*(work(number) for number in range(4))), 60)
    assert set(ran) == wanted
    assert set(ran.values()) == {1}
    assert sum(claims) == len(wanted)
    assert min(claims) > 0
    assert await one(stores[0], "SELECT COUNT(*) FROM lanes WHERE state = 'idle' AND fence = 1") == len(
        wanted
    )


async def test_claimers_of_disjoint_processes_skip_each_other(postgres: Callable[[], AnyStore]) -> None:
    """An uncommitted claim of one process is skipped by the other, not waited for."""
    first, second = postgres(), postgres()
    await join(first)
    await lane(first, *(f"lane-{n}" for n in range(10)))
    both = await asyncio.gather(claim(first, limit=5), claim(second, limit=5))
    assert len(names_of(both[0]) | names_of(both[1])) == len(both[0]) + len(both[1])
    rest = await claim(first, limit=10)
    assert len(both[0]) + len(both[1]) + len(rest) == 10


@pytest.mark.parametrize(
    "step",
    [
        guard("lane", fence=2),
        guard("lane", fence=0),
        guard("lane", worker="another"),
        guard("another lane"),
        guard("lane", real_now=LATER),
        guard("lane", real_now=LATER + 1),
    ],
    ids=["next fence", "former fence", "another worker", "another lane", "just expired", "expired"],
)
async def test_the_guard_refuses(store: AnyStore, step: tuple[object, object]) -> None:
    await join(store)
    await lane(store, "lane")
    await claim(store)
    await store.commit([guard("lane"), audit("good")])
    with pytest.raises(Refused):
        await store.commit([step, audit("bad")])
    assert await rows(store, "SELECT audit_id FROM audit") == [("good",)]


async def test_the_guard_refuses_a_lane_that_nobody_runs(store: AnyStore) -> None:
    await join(store)
    await lane(store, "lane")
    with pytest.raises(Refused):
        await store.commit([guard("lane", fence=0, worker="")])
    await claim(store)
    await store.commit([guard("lane"), finish("lane")])
    with pytest.raises(Refused):
        await store.commit([guard("lane"), finish("lane")])


async def test_reaping_frees_the_lanes_of_dead_workers_under_the_next_fence(store: AnyStore) -> None:
    await join(store, "dead", until=NOW + 10)
    await join(store, "alive", until=LATER)
    await lane(store, "a", "b")
    assert len(await claim(store, worker="dead", limit=1)) == 1
    assert len(await claim(store, worker="alive", limit=1)) == 1
    await lane(store, "c")
    assert len(await claim(store, worker="never joined", limit=1)) == 1
    (of_dead,) = await rows(store, "SELECT lane_id FROM lanes WHERE worker_id = 'dead'")
    reap = (lanes.REAP, {"now": NOW, "real_now": NOW + 10})
    await store.commit([reap])
    expected = [("alive", "leased", 1), ("", "ready", 2), ("", "ready", 2)]
    assert sorted(await rows(store, "SELECT worker_id, state, fence FROM lanes")) == sorted(expected)
    with pytest.raises(Refused):
        await store.commit([guard(of_dead[0], 1, worker="dead")])
    with pytest.raises(Refused):
        await store.commit([finish(of_dead[0], 1)])
    claimed = {row[0]: row[4] for row in await claim(store, worker="alive")}
    assert claimed[of_dead[0]] == 3


async def test_a_look_tells_whether_the_dead_have_left_anything(store: AnyStore) -> None:
    """Every worker frees what the dead left, every few seconds: it writes only where there is something."""

    async def left(real_now: int, long_ago: int = 0) -> bool:
        return bool(await store.fetch(lanes.LEFT_BEHIND, {"real_now": real_now, "long_ago": long_ago}))

    async def owned(real_now: int) -> bool:
        return bool(await store.fetch(records.FEED_OWNED, {"connection": "crm", "real_now": real_now}))

    await join(store, "dead", until=NOW + 10)
    await lane(store, "a")
    await claim(store, worker="dead")
    assert not await owned(NOW)
    await store.commit([(records.FEED_OWN, {"connection": "crm", "worker": "dead", "real_now": NOW})])
    assert (await left(NOW), await owned(NOW)) == (False, True)
    assert (await left(NOW + 10), await owned(NOW + 10)) == (True, False)
    await store.commit([(lanes.REAP, {"now": NOW, "real_now": NOW + 10})])
    assert not await left(NOW + 10)
    assert await left(NOW + 10, long_ago=NOW + 10)  # the dead worker itself, a day later
    assert not await store.fetch(lanes.SUSPECTS, {"most": 3})
    for deaths in (2, 3):
        await join(store, f"again-{deaths}", until=NOW + 10)
        await store.commit([(lanes.CLAIM_SUSPECT, {"worker": f"again-{deaths}", "most": 3, "group": ""})])
        await claim(store, worker=f"again-{deaths}")
        await store.commit([(lanes.REAP, {"now": NOW, "real_now": NOW + 10})])
        assert bool(await store.fetch(lanes.SUSPECTS, {"most": 3})) is (deaths == 2)


async def test_renewal_never_revives_an_expired_lease(store: AnyStore) -> None:
    await join(store, until=NOW + 10)
    renewal = {"worker": WORKER, "until": LATER, "real_now": NOW + 10}
    with pytest.raises(Refused):
        await store.commit([(lanes.RENEW, renewal)])
    assert await one(store, "SELECT lease_until FROM workers") == NOW + 10
    await store.commit([(lanes.RENEW, {**renewal, "real_now": NOW + 9})])
    assert await one(store, "SELECT lease_until FROM workers") == LATER


async def test_forgotten_dead_workers_keep_no_lane(store: AnyStore) -> None:
    await join(store, "dead", until=NOW + 10)
    await lane(store, "lane")
    await claim(store, worker="dead")
    await store.commit([(lanes.FORGET_DEAD, {"long_ago": LATER})])
    assert await one(store, "SELECT COUNT(*) FROM workers") == 1
    await store.commit(
        [(lanes.REAP, {"now": NOW, "real_now": LATER}), (lanes.FORGET_DEAD, {"long_ago": LATER})]
    )
    assert await one(store, "SELECT COUNT(*) FROM workers") == 0
    assert await state_of(store, "lane") == "ready"


async def test_a_takeover_and_a_late_commit_race(postgres: Callable[[], AnyStore]) -> None:
    """The reaper and the last commit of the reaped run: either the commit counts or the fence does, never both."""
    old, new = postgres(), postgres()
    await join(old, "old", until=NOW + 10)
    for number in range(60):
        name = f"lane-{number}"
        await lane(old, name)
        await claim(old, worker="old")
        late = old.commit([guard(name, 1, worker="old", real_now=NOW + 9), audit(name), finish(name, 1)])
        reap = new.commit([(lanes.REAP, {"now": NOW, "real_now": NOW + 10})])
        outcome, _ = await asyncio.gather(late, reap, return_exceptions=True)
        written = await one(new, "SELECT COUNT(*) FROM audit WHERE audit_id = :name", name=name)
        state, fence = (await rows(new, "SELECT state, fence FROM lanes WHERE lane_id = :name", name=name))[0]
        if isinstance(outcome, Refused):
            assert (written, state, fence) == (0, "ready", 2)
            asked = {"worker": "old", "now": NOW, "limit": 9, "group": ""}
            await old.commit([(lanes.CLAIM, asked), finish(name, 3)])
        else:
            assert (written, state, fence) == (1, "idle", 1)


async def test_whoever_takes_over_waits_for_the_commit_that_is_under_way(
    postgres: Callable[[], AnyStore],
) -> None:
    """A guard that only looked would let a reaped run write after its lane was somebody else's."""
    old, new = postgres(), postgres()
    await join(old, "old", until=NOW + 10)
    await lane(old, "lane")
    await claim(old, worker="old")
    late = asyncio.create_task(
        old.commit([guard("lane", 1, worker="old", real_now=NOW + 9), pause(0.3), audit("late")])
    )
    await asyncio.sleep(0.1)
    await new.commit([(lanes.REAP, {"now": NOW, "real_now": NOW + 10})])
    assert await one(new, "SELECT COUNT(*) FROM audit") == 1
    await late
    assert await rows(new, "SELECT state, fence FROM lanes") == [("ready", 2)]


async def _die(store: AnyStore, name: str) -> None:
    """Whatever is ready is claimed by a worker that dies."""
    await join(store, name, until=NOW + 10)
    await claim(store, worker=name)
    await store.commit([(lanes.REAP, {"now": NOW, "real_now": NOW + 10})])


async def _suspect(store: AnyStore, *, most: int = 3) -> list[tuple[object, ...]]:
    (claimed,) = await store.commit([(lanes.CLAIM_SUSPECT, {"worker": WORKER, "most": most, "group": ""})])
    return claimed


async def test_after_two_deaths_each_lane_is_claimed_alone_and_after_the_third_not_at_all(
    store: AnyStore,
) -> None:
    await join(store)
    await lane(store, "a", "b", "c")
    await _die(store, "one")
    assert await _suspect(store) == []
    await _die(store, "two")
    assert await claim(store) == []
    assert await store.fetch(lanes.NEXT_DUE, {"group": ""}) == [(None,)]
    (first,) = await _suspect(store)
    (second,) = await _suspect(store)
    assert names_of([first, second]) == {"a", "b"}
    # One ends well; with the other in hand a third worker dies.
    await store.commit([guard("a", int(first[4])), finish("a", int(first[4]))])
    await store.commit([(lanes.REAP, {"now": NOW, "real_now": LATER})])
    crashed = await store.fetch(lanes.CRASHED, {"most": 3})
    assert [(row[0], row[5]) for row in crashed] == [("b", 3)]
    await join(store, "four")
    assert names_of(await _suspect(store)) == {"c"}
    assert await _suspect(store) == []
    assert await rows(store, "SELECT lane_id, crashes FROM lanes WHERE state = 'idle'") == [("a", 0)]


async def test_a_worker_that_ends_in_order_makes_nothing_suspicious(store: AnyStore) -> None:
    await join(store)
    await lane(store, "a")
    await claim(store)
    await store.commit([(lanes.HAND_BACK, {"worker": WORKER, "now": NOW})])
    assert await rows(store, "SELECT state, crashes, fence FROM lanes") == [("ready", 0, 2)]


async def test_a_lane_that_went_on_meanwhile_is_not_set_aside(store: AnyStore) -> None:
    await join(store)
    await lane(store, "a")
    for name in ("one", "two"):
        await _die(store, name)
    await _suspect(store)
    await store.commit([(lanes.REAP, {"now": NOW, "real_now": LATER})])
    ((name, _, _, _, fence, *_),) = await store.fetch(lanes.CRASHED, {"most": 3})
    await store.commit([(lanes.RELEASE, {"lane_id": "a", "now": NOW})])
    await claim(store)
    with pytest.raises(Refused):
        await store.commit([(lanes.PARK_CRASHED, {"lane_id": name, "fence": fence})])
    assert await state_of(store, "a") == "leased"
