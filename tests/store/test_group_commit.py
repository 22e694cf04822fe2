"""Group commit: whatever one unit does wrong, exactly that unit is missing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.store.facts import (
    NOW,
    WORKER,
    AnyStore,
    audit,
    claim,
    does,
    guard,
    join,
    lane,
    one,
    reads,
    rows,
    send_new,
)
from tieout.store import sqlite
from tieout.store.sqlite import SqliteStore
from tieout.store.statements import Refused, StoreUnavailable, Unit, Violated

SIZE = 200
PARTS = 4
_SUBJECTS = "SELECT subject FROM audit WHERE trace = :trace ORDER BY seq"


async def outcomes_of(store: AnyStore, units: list[Unit]) -> list[object]:
    return await asyncio.gather(*(store.commit(unit) for unit in units), return_exceptions=True)


@pytest.mark.parametrize("part", range(PARTS))
async def test_exactly_the_bad_units_are_missing_at_every_position(store: AnyStore, part: int) -> None:
    await join(store)
    await lane(store, "lane")
    await claim(store)
    await store.commit([send_new("there already")])
    for position in range(part, SIZE, PARTS):
        trace = f"round {position}"
        units: list[Unit] = [
            [guard("lane"), audit(f"{trace} {place}", trace=trace, subject=str(place))]
            for place in range(SIZE)
        ]
        violating, fenced_out, duplicate = position, (position + 67) % SIZE, (position + 133) % SIZE
        units[violating] = [
            guard("lane"),
            audit(f"{trace} x", trace=trace, subject="x"),
            audit(None, trace=trace),
        ]
        units[fenced_out] = [guard("lane", fence=7), audit(f"{trace} y", trace=trace, subject="y")]
        units[duplicate] = [
            guard("lane"),
            audit(f"{trace} z", trace=trace, subject="z"),
            send_new("there already"),
        ]
        before = store.commits
        outcomes = await outcomes_of(store, units)
        assert store.commits == before + 1
        assert isinstance(outcomes[violating], Violated)
        assert isinstance(outcomes[fenced_out], Refused)
        assert outcomes[fenced_out].statement == "lanes.guard"
        assert isinstance(outcomes[duplicate], Refused)
        assert outcomes[duplicate].statement == "effects.send_new"
        bad = {violating, fenced_out, duplicate}
        good = [place for place in range(SIZE) if place not in bad]
        assert all(outcomes[place] == [[(1,)], []] for place in good)
        assert await rows(store, _SUBJECTS, trace=trace) == [(str(place),) for place in good]


async def test_of_equal_units_in_one_group_the_first_wins(store: AnyStore) -> None:
    outcomes = await outcomes_of(store, [[audit("same"), send_new(f"key {place}")] for place in range(5)])
    assert [type(outcome) for outcome in outcomes] == [list] + [Violated] * 4
    assert await rows(store, "SELECT effect_key FROM effects") == [("key 0",)]


async def test_every_unit_of_a_group_may_be_bad(store: AnyStore) -> None:
    outcomes = await outcomes_of(store, [[audit("a"), guard("nowhere")] for _ in range(40)])
    assert all(isinstance(outcome, Refused) for outcome in outcomes)
    assert await one(store, "SELECT COUNT(*) FROM audit") == 0


async def test_a_guard_that_touched_too_many_rows_is_undone(store: AnyStore) -> None:
    await store.commit([audit("a"), audit("b")])
    everything = does("UPDATE audit SET actor = 'changed'")
    everything.rows = 1
    with pytest.raises(Refused, match="expected 1 rows, found 2"):
        await store.commit([(everything, {})])
    assert await one(store, "SELECT COUNT(*) FROM audit WHERE actor = 'changed'") == 0


@pytest.mark.parametrize(
    "step",
    [
        (does("INSERT INTO nothing_there (a) VALUES (1)"), {}),
        (does("UPDATE counters SET value = :value"), {}),
        (does("UPDATE counters SET value = :value"), {"value": 1 << 70}),
        (does("UPDATE counters SET value = :value"), {"value": object()}),
        (does("UPDATE counters SET name = :name"), {"name": "\ud800"}),
    ],
    ids=[
        "unknown table",
        "missing parameter",
        "number too large",
        "no value for a database",
        "half a character",
    ],
)
async def test_a_step_that_cannot_run_fails_its_own_unit_only(
    store: AnyStore, step: tuple[object, object]
) -> None:
    await store.commit([(does("INSERT INTO counters (name, value) VALUES ('a', 1)"), {})])
    outcomes = await outcomes_of(store, [[audit("a")], [audit("b"), step], [audit("c")]])  # type: ignore[list-item]
    assert isinstance(outcomes[1], Violated)
    assert (outcomes[0], outcomes[2]) == ([[]], [[]])
    assert await rows(store, "SELECT audit_id FROM audit ORDER BY seq") == [("a",), ("c",)]


async def test_a_unit_answers_the_rows_of_each_step(store: AnyStore) -> None:
    counted = reads("SELECT COUNT(*) FROM audit")
    answered = await store.commit([(counted, {}), audit("a"), (counted, {})])
    assert answered == [[(0,)], [], [(1,)]]


async def test_bytes_numbers_texts_and_nothing_come_back_as_they_went(store: AnyStore) -> None:
    raw = bytes(range(256))
    await store.commit([send_new("key")])
    values = {"request": raw, "sent_at": NOW, "error": "é\n\\", "key": "key"}
    change = does(
        "UPDATE effects SET request = :request, sent_at = :sent_at, error = :error WHERE effect_key = :key"
    )
    await store.commit([(change, values)])
    found = await rows(store, "SELECT request, sent_at, error, confirmed_at FROM effects")
    assert found == [(raw, NOW, "é\n\\", None)]


async def test_a_cancelled_caller_does_not_disturb_the_others(store: AnyStore) -> None:
    tasks = [asyncio.create_task(store.commit([audit(str(place))])) for place in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    assert [type(found) for found in await asyncio.gather(*tasks, return_exceptions=True)] == [
        list,
        asyncio.CancelledError,
        list,
    ]


async def test_close_commits_what_is_pending(store: AnyStore, open_another: Callable[[], AnyStore]) -> None:
    pending = asyncio.gather(*(store.commit([audit(str(place))]) for place in range(600)))
    await asyncio.sleep(0)
    await store.close()
    assert await pending == [[[]]] * 600
    assert await one(open_another(), "SELECT COUNT(*) FROM audit") == 600


async def test_long_reads(store: AnyStore) -> None:
    await store.commit([audit("a")])
    assert await store.fetch_long(reads("SELECT audit_id FROM audit"), {}) == [("a",)]


# ------------------------------------------------------------------------------------------------- SQLite's own


@pytest.fixture
async def file_store(upgraded_sqlite: Path, tmp_path: Path) -> SqliteStore:
    path = tmp_path / "hub.db"
    path.write_bytes(upgraded_sqlite.read_bytes())
    return SqliteStore(path)


async def test_disk_full_writes_nothing_and_heals(file_store: SqliteStore) -> None:
    store = file_store
    (pages,) = store._writer.execute("PRAGMA page_count").fetchone()
    store._writer.execute(f"PRAGMA max_page_count = {pages + 2}")
    units: list[Unit] = [[audit(str(place), subject="x" * 2000)] for place in range(50)]
    outcomes = await outcomes_of(store, units)
    assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes)
    assert "full" in str(outcomes[0])
    assert await one(store, "SELECT COUNT(*) FROM audit") == 0
    store._writer.execute("PRAGMA max_page_count = 1000000")
    assert await outcomes_of(store, units) == [[[]]] * 50
    await store.close()


async def test_a_lock_that_stays_is_unavailable(
    file_store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_PATIENCE_SECONDS", 0.05)
    other = SqliteStore(file_store.path)
    other._writer.execute("BEGIN IMMEDIATE")
    outcomes = await outcomes_of(file_store, [[audit("a")], [audit("b")]])
    assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes)
    other._writer.execute("ROLLBACK")
    assert await one(file_store, "SELECT COUNT(*) FROM audit") == 0
    await file_store.commit([audit("a")])
    await other.close()
    await file_store.close()


async def test_a_lock_is_waited_for_without_standing_still(file_store: SqliteStore) -> None:
    other = SqliteStore(file_store.path)
    other._writer.execute("BEGIN IMMEDIATE")
    waiting = asyncio.create_task(file_store.commit([audit("a")]))
    await asyncio.sleep(0.05)  # the loop goes on
    assert not waiting.done()
    other._writer.execute("ROLLBACK")
    assert await waiting == [[]]
    await other.close()
    await file_store.close()


async def test_without_a_thread_the_order_is_the_same(upgraded_sqlite: Path, tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    path.write_bytes(upgraded_sqlite.read_bytes())
    store = SqliteStore(path, threaded=False)
    await outcomes_of(store, [[audit(str(place))] for place in range(600)])
    found = await rows(store, "SELECT audit_id FROM audit ORDER BY seq")
    assert found == [(str(place),) for place in range(600)]
    await store.close()


async def test_a_worker_renews_in_the_group(store: AnyStore) -> None:
    await join(store)
    await lane(store, "lane")
    units: list[Unit] = [
        [(does("UPDATE workers SET batch = batch + 1 WHERE worker_id = :w"), {"w": WORKER})]
    ] * 10
    await outcomes_of(store, units)
    assert await one(store, "SELECT batch FROM workers") == 10
