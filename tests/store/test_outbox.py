"""The outbox on both databases: told once with what it tells of, in order per key, deleted when it was delivered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.store.facts import NOW, AnyStore, does, one, rows
from tests.store.test_claim_cost import nodes
from tieout.store import documents, outbox, people, postgres
from tieout.store.statements import Refused, Step

SECOND = 1_000_000


def told(event_id: str, *, key: str = "deal", at: int = NOW, **more: Any) -> dict[str, Any]:
    given = {"event_id": event_id, "type": "invoice.posted", "subject": f"billing|invoice|{event_id}"}
    return {**given, "key": key, "at": at, "data": "{}", **more}


async def announced(store: AnyStore) -> list[str]:
    return [row[0] for row in await rows(store, "SELECT event_id FROM outbox ORDER BY seq")]


async def hand_on(store: AnyStore, *receivers: str, now: int = NOW) -> None:
    steps: list[Step] = []
    for seq, _, key in await store.fetch(outbox.NEW, {"limit": 100}):
        steps.append((outbox.HANDED_ON, {"seq": seq}))
        steps += [(outbox.QUEUE, {"seq": seq, "receiver": one, "key": key, "now": now}) for one in receivers]
    await store.commit(steps)


async def due(store: AnyStore, receiver: str = "hook", now: int = NOW) -> list[str]:
    return [row[1] for row in await store.fetch(outbox.DUE, {"receiver": receiver, "now": now, "limit": 100})]


async def seq_of(store: AnyStore, event_id: str) -> int:
    return int(await one(store, "SELECT seq FROM outbox WHERE event_id = :event_id", event_id=event_id))


def document(effect_key: str = "effect") -> Step:
    texts = """connection kind external_id number entity currency day period source source_number reason lane_id
               trace"""
    row = dict.fromkeys(texts.split(), "x")
    return documents.CREATED, {**row, "effect_key": effect_key, "total_minor": 1, "tax_minor": 0, "now": NOW}


def exception(exception_id: str) -> Step:
    texts = "document number entity currency cause remedy owner effect_key trace detail blocker".split()
    row = {**dict.fromkeys(texts, ""), "exception_id": exception_id, "code": "bug", "lane_id": "lane"}
    return people.OPEN, {**row, "amount_minor": None, "now": NOW}


async def test_an_event_is_kept_once_whoever_tells_it_again(store: AnyStore) -> None:
    await store.commit([(outbox.ANNOUNCE, told("e1"))])
    await store.commit([(outbox.ANNOUNCE, told("e1", key="other"))])
    assert await rows(store, "SELECT event_id, key, state FROM outbox") == [("e1", "deal", "new")]


async def test_what_is_not_committed_is_not_told(store: AnyStore) -> None:
    refused = does("UPDATE counters SET value = 1 WHERE name = 'none'")
    refused.rows = 1
    with pytest.raises(Refused):
        await store.commit([(outbox.ANNOUNCE, told("e1")), (refused, {})])
    assert await announced(store) == []


async def test_a_binding_is_told_by_the_commit_that_makes_it_even_when_the_row_was_deleted_since(
    store: AnyStore,
) -> None:
    unit = [(outbox.ANNOUNCE_BOUND, told("e1", effect_key="effect")), document()]
    await store.commit(unit)
    assert await announced(store) == ["e1"]
    await store.commit([(outbox.FORGET, {"seq": await seq_of(store, "e1")})])
    await store.commit(unit)
    assert await announced(store) == []


async def test_a_document_is_told_of_when_it_becomes_posted_by_whoever_sees_it_first(store: AnyStore) -> None:
    """A run that reads it back and the poll of statuses may both find it posted."""
    posted = (outbox.ANNOUNCE_POSTED, told("e1", effect_key="effect"))
    status = (documents.STATUS, {"effect_key": "effect", "status": "POSTED"})
    await store.commit([posted, status])
    assert await announced(store) == []  # there is no such document
    await store.commit([document()])
    verified = {"effect_key": "effect", "posted": 1, "number": "INV1", "period": "P"}
    await store.commit([posted, (documents.VERIFIED, {**verified, "now": NOW, "differences": ""})])
    await store.commit([(outbox.FORGET, {"seq": await seq_of(store, "e1")})])
    await store.commit([posted, status])
    assert await announced(store) == []


async def test_an_exception_that_is_open_already_is_not_told_again(store: AnyStore) -> None:
    for name in ("x1", "x2"):
        await store.commit([exception(name), (outbox.ANNOUNCE_OPENED, told(f"of {name}", exception_id=name))])
    assert await announced(store) == ["of x1"]


async def test_events_of_one_key_are_due_one_after_the_other_and_keys_do_not_wait_for_each_other(
    store: AnyStore,
) -> None:
    for name, key in (("a1", "a"), ("a2", "a"), ("b1", "b")):
        await store.commit([(outbox.ANNOUNCE, told(name, key=key))])
    await hand_on(store, "hook", "other")
    assert await due(store) == ["a1", "b1"]
    a1 = {"seq": await seq_of(store, "a1"), "receiver": "hook"}
    later = {**a1, "attempt": 0, "due_at": NOW + 5 * SECOND, "error": "it answered 500"}
    await store.commit([(outbox.FAILED, later)])
    assert await due(store) == ["b1"]
    assert await due(store, "other") == ["a1", "b1"]
    assert await due(store, now=NOW + 5 * SECOND) == ["b1", "a1"]
    await store.commit([(outbox.DELIVERED, {**a1, "now": NOW})])
    assert await due(store) == ["a2", "b1"]


async def test_a_verdict_on_an_older_attempt_changes_nothing(store: AnyStore) -> None:
    await store.commit([(outbox.ANNOUNCE, told("e1"))])
    await hand_on(store, "hook")
    where = {"seq": await seq_of(store, "e1"), "receiver": "hook", "attempt": 0, "error": "x"}
    await store.commit([(outbox.FAILED, {**where, "due_at": NOW + SECOND})])
    await store.commit([(outbox.FAILED, {**where, "due_at": NOW + 900 * SECOND})])
    assert await rows(store, "SELECT attempts, due_at FROM deliveries") == [(1, NOW + SECOND)]
    with pytest.raises(Refused):
        await store.commit([(outbox.DEAD, {**where, "now": NOW})])


async def test_a_dead_letter_lets_the_next_go_on_and_can_be_sent_again(store: AnyStore) -> None:
    for name in ("e1", "e2"):
        await store.commit([(outbox.ANNOUNCE, told(name))])
    await hand_on(store, "hook")
    first = await seq_of(store, "e1")
    dead = {"seq": first, "receiver": "hook", "attempt": 0, "now": NOW, "error": "it answered 500"}
    await store.commit([(outbox.DEAD, dead)])
    assert await due(store) == ["e2"]
    page = {"receiver": "hook", "after": 0, "since": 0, "until": NOW + 1, "event_id": "", "limit": 10}
    assert await store.fetch(outbox.DEAD_LETTERS, page) == [(first, "invoice.posted", "deal", "dead")]
    assert [row[3] for row in await store.fetch(outbox.AGAIN, page)] == ["dead", "pending"]
    assert await store.fetch(outbox.AGAIN, {**page, "event_id": "e3"}) == []
    assert await store.fetch(outbox.AGAIN, {**page, "until": NOW}) == []
    await store.commit([(outbox.QUEUE, {"seq": first, "receiver": "hook", "key": "deal", "now": NOW})])
    assert await due(store) == ["e1"]
    found = await rows(store, "SELECT attempts, error, done_at FROM deliveries WHERE seq = :seq", seq=first)
    assert found == [(0, "", None)]


async def test_nothing_is_due_to_a_receiver_that_is_off_and_only_the_first_to_say_so_is_heard(
    store: AnyStore,
) -> None:
    await store.commit([(outbox.ANNOUNCE, told("e1"))])
    await hand_on(store, "hook", "other")
    off = {"receiver": "hook", "reason": "410", "now": NOW}
    await store.commit([(outbox.SWITCH_OFF, off)])
    with pytest.raises(Refused):
        await store.commit([(outbox.SWITCH_OFF, off)])
    assert (await due(store), await due(store, "other")) == ([], ["e1"])
    await store.commit([(outbox.SWITCH_ON, off)])
    assert await due(store) == ["e1"]


async def test_two_processes_hand_an_event_on_once(
    store: AnyStore, open_another: Callable[[], AnyStore]
) -> None:
    await store.commit([(outbox.ANNOUNCE, told("e1"))])
    await hand_on(store, "hook")
    with pytest.raises(Refused):
        await open_another().commit([(outbox.HANDED_ON, {"seq": await seq_of(store, "e1")})])


async def test_a_number_is_never_used_twice_whatever_was_deleted(store: AnyStore) -> None:
    await store.commit([(outbox.ANNOUNCE, told("e1"))])
    first = await seq_of(store, "e1")
    await store.commit([(outbox.FORGET_DELIVERIES, {"seq": first}), (outbox.FORGET, {"seq": first})])
    await store.commit([(outbox.ANNOUNCE, told("e2"))])
    assert await seq_of(store, "e2") > first


async def test_what_waits_for_too_long_is_given_up_and_what_waits_is_not_old(store: AnyStore) -> None:
    for name, at in (("e1", NOW - 10), ("e2", NOW)):
        await store.commit([(outbox.ANNOUNCE, told(name, key=name, at=at))])
        await hand_on(store, "hook", "other", now=at)
    old = await store.fetch(outbox.OLDEST, {"after": 0, "limit": 10})
    assert [(row[1], row[2]) for row in old] == [(NOW - 10, 1), (NOW, 1)]
    overdue = {"now": NOW, "before": NOW - 5, "error": "never tried"}
    (given_up,) = await store.commit([(outbox.OVERDUE, overdue)])
    assert sorted(given_up) == [("hook",), ("other",)]
    old = await store.fetch(outbox.OLDEST, {"after": 0, "limit": 10})
    assert [row[2] for row in old] == [0, 1]
    assert min(await store.fetch(outbox.COUNTS, {})) == ("hook", "dead", 1, NOW - 10)
    assert sorted(await store.fetch(outbox.WAITING, {})) == [("hook", NOW), ("other", NOW)]


def test_what_is_due_is_found_by_few_rows_however_much_waits_and_however_old_the_plan(
    clean_postgres_url: str,
) -> None:
    """PostgreSQL once made a join of it, planned on empty tables, that compared all that waits with all that waits."""
    with psycopg.connect(clean_postgres_url, autocommit=True) as connection:
        connection.execute("; ".join(postgres._SESSION))  # type: ignore[arg-type]
        connection.execute(f"PREPARE due (text, bigint, bigint) AS {outbox.DUE.postgres}")  # type: ignore[arg-type]
        values = outbox.DUE.postgres_values({"receiver": "hook", "now": NOW, "limit": 16})
        execute = f"EXECUTE due ({', '.join(repr(value) for value in values)})"
        assert connection.execute(execute).fetchall() == []  # type: ignore[arg-type]
        connection.execute(
            """INSERT INTO outbox (event_id, type, subject, key, at, state, data)
               SELECT 'e' || n, 't', 's', 'k' || n % 4000, 1, 'out', '{}' FROM generate_series(1, 20000) AS of (n)"""
        )
        connection.execute(
            """INSERT INTO deliveries (seq, receiver, key, state, due_at, queued_at)
               SELECT seq, 'hook', key, 'pending', 1, 1 FROM outbox"""
        )
        ((plan,),) = connection.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {execute}").fetchall()  # type: ignore[arg-type]
    read = [
        node["Actual Rows"] * node["Actual Loops"] for node in nodes(plan[0]["Plan"]) if "Index Name" in node
    ]
    assert sum(read) < 16 * 8, plan
