"""Lanes of a worker group are claimed by its workers alone."""

from __future__ import annotations

from tests.store.facts import LATER, NOW, WORKER, AnyStore, claim, guard, join, lane, one
from tieout.store import lanes


async def pin(store: AnyStore, group: str, *names: str) -> None:
    for name in names:
        await store.commit([(lanes.PIN, {"lane_id": name, "group": group})])


async def test_each_claims_its_own_groups_lanes(store: AnyStore) -> None:
    await join(store)
    await lane(store, "a", "b", "c")
    await pin(store, "emea", "b")
    await pin(store, "us", "c")
    assert [row[0] for row in await claim(store, group="emea")] == ["b"]
    assert [row[0] for row in await claim(store)] == ["a"]
    assert await claim(store, group="nobody") == []
    assert await store.fetch(lanes.NEXT_DUE, {"group": "us"}) == [(NOW,)]
    assert await store.fetch(lanes.NEXT_DUE, {"group": ""}) == [(None,)]


async def test_what_two_workers_died_over_stays_its_groups(store: AnyStore) -> None:
    await join(store)
    await lane(store, "a")
    await pin(store, "emea", "a")
    for name in ("one", "two"):
        await join(store, name, until=NOW + 10)
        await claim(store, worker=name, group="emea")
        await store.commit([(lanes.REAP, {"now": NOW, "real_now": NOW + 10})])
    asked = {"worker": WORKER, "most": 3}
    (others,) = await store.commit([(lanes.CLAIM_SUSPECT, {**asked, "group": ""})])
    (ours,) = await store.commit([(lanes.CLAIM_SUSPECT, {**asked, "group": "emea"})])
    assert ([row[0] for row in others], [row[0] for row in ours]) == ([], ["a"])


async def test_a_lane_moves_while_it_runs_and_its_run_goes_on(store: AnyStore) -> None:
    await join(store)
    await lane(store, "a")
    await claim(store)
    await pin(store, "emea", "a")
    await store.commit([guard("a")])
    assert await one(store, "SELECT worker_group FROM lanes") == "emea"


async def test_the_first_due_of_each_group_that_has_ready_lanes(store: AnyStore) -> None:
    assert await store.fetch(lanes.GROUPS_DUE, {}) == []
    await lane(store, "a", due_at=NOW + 5)
    await lane(store, "b", "c", due_at=NOW + 3)
    await lane(store, "d", due_at=NOW)
    await pin(store, "emea", "b", "c")
    await pin(store, "us", "d")
    await join(store)
    await claim(store, group="us")
    assert sorted(await store.fetch(lanes.GROUPS_DUE, {})) == [("", NOW + 5), ("emea", NOW + 3)]


async def test_a_worker_that_never_said_serves_all(store: AnyStore) -> None:
    await join(store, "old", until=LATER)
    await join(store, "new", until=LATER)
    await store.commit([(lanes.SERVE, {"worker": "new", "serves": '["emea"]'})])
    alive = {row[0]: row[4] for row in await store.fetch(lanes.ALIVE, {"real_now": NOW})}
    assert alive == {"old": "*", "new": '["emea"]'}
