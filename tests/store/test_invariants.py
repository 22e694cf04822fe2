"""Each invariant that is a query: silent on an empty hub and on rows that are right, and heard on a planted row."""

from __future__ import annotations

import pytest

from tests.store.facts import NOW, AnyStore, does
from tieout.store import invariants
from tieout.store.invariants import ALL

OLD = NOW - 10 * 3_600_000_000
GIVEN = {"now": NOW, "real_now": NOW, "company": "demo"}


def _insert(table: str, **values: object) -> str:
    shown = ", ".join(f"'{one}'" if isinstance(one, str) else str(one) for one in values.values())
    return f"INSERT INTO {table} ({', '.join(values)}) VALUES ({shown})"


def _lane(lane_id: str = "lane", state: str = "idle", **more: object) -> str:
    names = {"connection": "c", "kind": "invoice", "subject_id": "s", "due_at": NOW}
    return _insert("lanes", lane_id=lane_id, state=state, **names, **more)


def _event(state: str, event_id: str = "e", **more: object) -> str:
    times = {"occurred_at": NOW, "received_at": NOW}
    given = {"id": event_id, "connection": "c", "event_id": event_id, "type": "t", "lane_id": "lane", **times}
    return (
        _insert("inbox", **given, state=state, **more)
        .replace("INTO inbox (", "INTO inbox (body, ")
        .replace("VALUES (", "VALUES (:body, ")
    )


def _effect(key: str, state: str = "CONFIRMED", **more: object) -> str:
    given: dict[str, object] = {
        "effect_key": key,
        "document_key": f"d-{key}",
        "lane_id": "lane",
        "process": "p",
        "connection": "c",
        "operation": "invoice.create",
        "source": "s",
        "state": state,
        "request_hash": "h",
        "planned_at": OLD,
        "external_id": f"x-{key}",
    } | more
    return (
        _insert("effects", **given)
        .replace("INTO effects (", "INTO effects (request, ")
        .replace("VALUES (", "VALUES (:body, ")
    )


def _document(key: str, kind: str = "invoice", **more: object) -> str:
    given: dict[str, object] = {
        "effect_key": key,
        "connection": "c",
        "kind": kind,
        "external_id": f"x-{key}",
        "status": "POSTED",
        "source": "s",
        "lane_id": "lane",
        "created_at": OLD,
    } | more
    return _insert("documents", **given)


def _crosswalk(canonical: str, external: str, kind: str = "customer") -> str:
    return _insert(
        "crosswalk", kind=kind, canonical_id=canonical, connection="c", external_id=external, valid_from=NOW
    )


# By the name of the query: rows that it must find.
PLANTED: dict[str, list[str]] = {
    "event_state": [_event("lost")],
    "event_lost": [_lane(), _event("pending")],
    "event_forgotten": [_lane(), _event("parked", run_id="r")],
    "difference": [_document("k", differences="a cent")],
    "crosswalk": [_crosswalk("a", "x"), _crosswalk("a", "y")],
    "effect_ids": [_effect("k1", external_id="x"), _effect("k2", external_id="x")],
    "doubt_age": [_lane(state="waiting"), _effect("k", "UNKNOWN", sent_at=OLD)],
    "effect_row": [_effect("k", external_id="")],
    "blind_resend": [_effect("k", epoch=1)],
    "unbound": [_lane(), _effect("k")],
    "unsettled": [_lane(), _effect("k", "SENT", sent_at=NOW)],
    "ownerless": [_lane(state="parked")],
    "woken": [_lane(state="waiting")],
    "holds": [_lane(), _insert("holds", resource="r", lane_id="lane", since=NOW)],
    "dead_lease": [_lane(state="leased", worker_id="gone")],
    "document_twice": [_lane(), _document("k1"), _document("k2")],
    "customer_twice": [_lane(), _document("k1", "customer"), _document("k2", "customer")],
    "subscription_twice": [_lane(), _document("k1", "subscription"), _document("k2", "subscription")],
    "payment_twice": [_lane(), _document("k1", "payment"), _document("k2", "payment")],
    "release_unapproved": [
        _insert(
            "approvals",
            approval_id="a",
            action="release_period",
            payload="{}",
            payload_hash="h",
            summary="s",
            maker="m",
            state="approved",
            asked_at=NOW,
        )
    ],
    "unlisted": [_insert("restores", restored_at=OLD, backup_taken_at=OLD, actor="operator")],
    "other_company": [_effect("other|c|invoice.create|s|0|0")],
    "amounts": [_document("k", total_minor=100)],
    "not_shown": [_lane(), _document("k", verified_at=OLD, currency="USD")],
}
# Nothing can plant these: the database itself refuses the row.
REFUSED = {"crosswalk_back"}


def _name(one: invariants.Invariant) -> str:
    return one.rows.name.removeprefix("invariants.")


@pytest.mark.parametrize("one", ALL, ids=_name)
async def test_an_invariant_is_silent_until_a_row_breaks_it(store: AnyStore, one: invariants.Invariant):
    assert await store.fetch(one.rows, GIVEN) == []
    if _name(one) in REFUSED:
        return
    for sql in PLANTED[_name(one)]:
        await store.commit([(does(sql), {"body": b"\x00"} if ":body" in sql else {})])
    assert await store.fetch(one.rows, GIVEN) != []


async def test_one_of_their_ids_with_two_of_ours_is_refused_by_the_database(store: AnyStore):
    await store.commit([(does(_crosswalk("a", "x")), {})])
    with pytest.raises(Exception, match=r"(?i)unique"):
        await store.commit([(does(_crosswalk("b", "x")), {})])


def test_every_query_has_a_planted_row():
    assert {_name(one) for one in ALL} == PLANTED.keys() | REFUSED
