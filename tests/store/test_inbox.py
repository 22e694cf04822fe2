"""What comes in is kept once, wakes its lane once, and says what became of it."""

from __future__ import annotations

import asyncio

from tests.store.facts import AnyStore, claim, event, finish, guard, join, lane, one, rows, state_of
from tieout.store import inbox, lanes

_EVENTS = "SELECT event_id, state, detail FROM inbox ORDER BY seq"
_LANE = "SELECT state, hints, last_seq, content FROM lanes WHERE lane_id = 'lane'"


def settle(seq: int, state: str = "applied") -> tuple[object, dict[str, object]]:
    return inbox.SETTLE, {"lane_id": "lane", "run_id": "run", "seq": seq, "state": state, "detail": ""}


async def test_an_event_is_accepted_once(store: AnyStore) -> None:
    for id_ in ("one", "two", "three"):
        await store.commit(event("evt", id_=id_))
    assert await rows(store, "SELECT id, event_id FROM inbox") == [("one", "evt")]
    assert await rows(store, _LANE) == [("ready", 1, 1, "")]


async def test_of_many_deliveries_at_once_one_counts(store: AnyStore) -> None:
    await asyncio.gather(*(store.commit(event(f"evt-{n % 20}", id_=f"id-{n}")) for n in range(100)))
    assert await one(store, "SELECT COUNT(*) FROM inbox") == 20
    assert await one(store, "SELECT hints FROM lanes") == 20


async def test_hints_merge_into_one_pending_run(store: AnyStore) -> None:
    await join(store)
    for n in range(3):
        await store.commit(event(f"evt-{n}"))
    ((_, _, _, _, fence, last_seq, hints, *_),) = await claim(store)
    assert (last_seq, hints) == (3, 3)
    assert await claim(store) == []
    supersede = (inbox.SUPERSEDE, {"lane_id": "lane", "run_id": "run 7", "seq": last_seq})
    await store.commit(
        [guard("lane", fence), supersede, settle(last_seq), finish("lane", fence, hints=hints)]
    )
    assert await rows(store, _EVENTS) == [
        ("evt-0", "superseded", "run 7"),
        ("evt-1", "superseded", "run 7"),
        ("evt-2", "applied", ""),
    ]
    assert await state_of(store, "lane") == "idle"


async def test_a_hint_after_the_claim_makes_the_lane_ready_again(store: AnyStore) -> None:
    await join(store)
    await store.commit(event("evt-1"))
    ((_, _, _, _, fence, last_seq, hints, *_),) = await claim(store)
    await store.commit(event("evt-2"))
    assert await state_of(store, "lane") == "leased"
    await store.commit([guard("lane", fence), settle(last_seq), finish("lane", fence, hints=hints)])
    assert await state_of(store, "lane") == "ready"
    assert await rows(store, _EVENTS) == [("evt-1", "applied", ""), ("evt-2", "pending", "")]
    ((_, _, _, _, fence, last_seq, hints, *_),) = await claim(store)
    assert (fence, last_seq, hints) == (2, 2, 2)


async def test_a_hint_leaves_a_parked_lane_parked(store: AnyStore) -> None:
    await join(store)
    await store.commit(event("evt-1"))
    await claim(store)
    park = {"lane_id": "lane", "fence": 1, "run_id": "run", "trace": "", "replay": "", "blocker": ""}
    await store.commit([guard("lane"), settle(1, "parked"), (lanes.PARK, park)])
    await store.commit(event("evt-2"))
    assert await rows(store, _LANE) == [("parked", 2, 2, "")]
    assert await claim(store) == []


async def test_an_echo_is_recognised_by_its_content(store: AnyStore) -> None:
    await store.commit(event("evt-1", content="hash-1"))
    await store.commit(event("evt-2", content="hash-1"))
    assert await rows(store, _EVENTS) == [("evt-1", "pending", ""), ("evt-2", "ignored", "echo")]
    assert await rows(store, _LANE) == [("ready", 1, 1, "hash-1")]
    await store.commit(event("evt-3", content="hash-2"))
    assert await rows(store, _LANE) == [("ready", 2, 3, "hash-2")]


async def test_a_lane_without_content_has_no_echo(store: AnyStore) -> None:
    await lane(store, "lane")
    await store.commit(event("evt-1", content="hash-1"))
    assert await rows(store, _EVENTS) == [("evt-1", "pending", "")]


async def test_a_settled_event_stays_as_it_is(store: AnyStore) -> None:
    await store.commit(event("evt-1"))
    await store.commit([settle(1)])
    await store.commit([settle(1, "parked")])
    assert await rows(store, _EVENTS) == [("evt-1", "applied", "")]
