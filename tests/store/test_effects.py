"""The ledger of outside writes moves only forward, by whoever is entitled to move it."""

from __future__ import annotations

import asyncio

import pytest

from tests.store.facts import NOW, AnyStore, audit, one, rows, send_new
from tieout.store import effects
from tieout.store.statements import Refused, Step, Violated

_STATE = "SELECT state, epoch, attempt, external_id, resolved_by FROM effects WHERE effect_key = 'key'"


def send_again(*, was: str, attempt: int, epoch: int = 0, now: int = NOW) -> Step:
    row = {"effect_key": "key", "was": was, "attempt": attempt, "epoch": epoch, "now": now}
    frozen = {"request": b"new", "request_hash": "new", "decisions": "[]"}
    return effects.SEND_AGAIN, {**row, **frozen, "worker": "worker-2", "fence": 9, "run_id": "run-2"}


def confirm(external_id: str = "42") -> Step:
    row = {"effect_key": "key", "external_id": external_id, "receipt": "{}", "resolved_by": ""}
    return effects.CONFIRM, {**row, "now": NOW}


def evidence(*, connection: str = "erp", document_key: str = "doc-key") -> Step:
    row = {"document_key": document_key, "connection": connection, "external_id": "43", "receipt": "{}"}
    return effects.CONFIRM_BY_EVIDENCE, {**row, "now": NOW}


def unknown() -> Step:
    return effects.UNKNOWN, {"effect_key": "key", "error": "reset", "absent_from": None, "looks": 0}


async def test_an_effect_is_sent_for_the_first_time_once(store: AnyStore) -> None:
    units = [[send_new("key"), audit(f"a{number}")] for number in range(8)]
    outcomes = await asyncio.gather(*(store.commit(unit) for unit in units), return_exceptions=True)
    assert sum(isinstance(outcome, Refused) for outcome in outcomes) == 7
    assert await one(store, "SELECT COUNT(*) FROM audit") == 1
    assert await rows(store, _STATE) == [("SENT", 0, 1, "", "")]


async def test_two_effects_never_share_a_document_key(store: AnyStore) -> None:
    await store.commit([send_new("key", document_key="same")])
    with pytest.raises(Violated):
        await store.commit([send_new("other", document_key="same")])


async def test_a_resend_starts_from_the_state_and_attempt_it_saw(store: AnyStore) -> None:
    await store.commit([send_new("key")])
    for stale in (send_again(was="PLANNED", attempt=1), send_again(was="SENT", attempt=2)):
        with pytest.raises(Refused):
            await store.commit([stale])
    await store.commit([unknown()])
    again = [send_again(was="UNKNOWN", attempt=1, epoch=1, now=NOW + 5) for _ in range(3)]
    outcomes = await asyncio.gather(*(store.commit([step]) for step in again), return_exceptions=True)
    assert sum(isinstance(outcome, Refused) for outcome in outcomes) == 2
    assert await rows(store, _STATE) == [("SENT", 1, 2, "", "")]
    # A new wire key has its own idempotency window, which begins with its first sending.
    assert await one(store, "SELECT first_sent_at FROM effects") == NOW + 5
    await store.commit([send_again(was="SENT", attempt=2, epoch=1, now=NOW + 9)])
    assert await rows(store, "SELECT first_sent_at, sent_at FROM effects") == [(NOW + 5, NOW + 9)]


async def test_an_effect_is_confirmed_once(store: AnyStore) -> None:
    await store.commit([send_new("key")])
    await store.commit([confirm("42")])
    for late in (confirm("44"), evidence(), unknown(), send_again(was="SENT", attempt=1)):
        with pytest.raises(Refused):
            await store.commit([late, audit("late")])
    assert await rows(store, _STATE) == [("CONFIRMED", 0, 1, "42", "")]
    assert await one(store, "SELECT COUNT(*) FROM audit") == 0


async def test_evidence_settles_what_is_in_doubt_and_nothing_else(store: AnyStore) -> None:
    await store.commit([send_new("key")])
    with pytest.raises(Refused):  # the call is still out: its own answer comes
        await store.commit([evidence()])
    await store.commit([unknown()])
    for foreign in (evidence(connection="another erp"), evidence(document_key="DOC-KEY")):
        with pytest.raises(Refused):
            await store.commit([foreign])
    await store.commit([evidence()])
    assert await rows(store, _STATE) == [("CONFIRMED", 0, 1, "43", "evidence")]
    with pytest.raises(Refused):
        await store.commit([confirm("42")])


async def test_a_definite_refusal_ends_only_what_is_out(store: AnyStore) -> None:
    rejected = (effects.NOT_DONE, {"effect_key": "key", "state": "REJECTED", "error": "no such item"})
    with pytest.raises(Refused):
        await store.commit([rejected])
    await store.commit([send_new("key")])
    await store.commit([rejected])
    assert await rows(store, "SELECT state, error FROM effects") == [("REJECTED", "no such item")]
    with pytest.raises(Refused):
        await store.commit([confirm()])


def plan(revision: int, fields_hash: str) -> Step:
    row = {
        "assign_key": "key",
        "connection": "crm",
        "kind": "account",
        "target_id": "1",
        "field_group": "status",
    }
    frozen = {"revision": revision, "fields": fields_hash.encode(), "fields_hash": fields_hash}
    return effects.ASSIGN_PLAN, {**row, **frozen, "lane_id": "lane", "run_id": "run", "trace": "", "now": NOW}


async def test_a_newer_value_supersedes_and_a_stale_one_is_refused(store: AnyStore) -> None:
    await store.commit([plan(1, "a")])
    await store.commit([plan(2, "b")])
    for stale in (plan(1, "a"), plan(2, "c")):
        with pytest.raises(Refused):
            await store.commit([stale])
    await store.commit([plan(2, "b")])  # the same value once more: a repeated attempt
    assert await rows(store, "SELECT revision, fields_hash, attempt FROM assigns") == [(2, "b", 3)]
    done = {"assign_key": "key", "state": "CONFIRMED", "now": NOW, "verify_at": None}
    await store.commit([(effects.ASSIGN_DONE, {**done, "revision": 1})])
    assert await one(store, "SELECT state FROM assigns") == "PLANNED"
    await store.commit([(effects.ASSIGN_DONE, {**done, "revision": 2})])
    assert await one(store, "SELECT state FROM assigns") == "CONFIRMED"
