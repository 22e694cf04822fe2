"""Parameters and units that the store's tests share: one worker, one lane, one event, one effect."""

from __future__ import annotations

from typing import Any

from tieout.store import effects, inbox, lanes, people
from tieout.store.postgres import PostgresStore
from tieout.store.sqlite import SqliteStore
from tieout.store.statements import Row, Statement, Step

AnyStore = SqliteStore | PostgresStore
NOW = 1_700_000_000_000_000
LATER = NOW + 3_600_000_000
WORKER = "worker-1"


def reads(sql: str) -> Statement:
    return Statement("test", sql, returns=True)


def does(sql: str) -> Statement:
    return Statement("test", sql)


def pause(seconds: float) -> Step:
    """A step in which PostgreSQL stands still, with its transaction open."""
    return reads("SELECT 1 FROM pg_sleep(:seconds)"), {"seconds": str(seconds)}


async def rows(store: AnyStore, sql: str, **params: Any) -> list[Row]:
    return await store.fetch(reads(sql), params)


async def one(store: AnyStore, sql: str, **params: Any) -> Any:
    ((value,),) = await rows(store, sql, **params)
    return value


async def join(store: AnyStore, worker: str = WORKER, until: int = LATER) -> None:
    await store.commit(
        [(lanes.JOIN, {"worker": worker, "now": NOW, "until": until, "host": "here", "pid": 1})]
    )


def event(
    event_id: str, lane_id: str = "lane", *, id_: str | None = None, content: str = "", now: int = NOW
) -> list[Step]:
    """As the engine takes an event in."""
    names = {"id": id_ or f"id-{event_id}", "event_id": event_id}
    accepted = {
        **names,
        "connection": "billing",
        "type": "invoice.paid",
        "lane_id": lane_id,
        "occurred_at": now,
        "received_at": now,
        "state": "pending",
        "detail": "",
        "body": b"\x00sealed\xff",
    }
    lane = {"lane_id": lane_id, "connection": "billing", "kind": "invoice", "subject_id": lane_id}
    about = {**names, "event_connection": "billing", "lane_id": lane_id, "content": content}
    steps: list[Step] = [(inbox.ACCEPT, accepted)]
    if content:
        steps.append((inbox.ECHO, {**about, "rule": "echo"}))
    steps.append((inbox.HINT, {**about, **lane, "now": now}))
    return steps


async def lane(store: AnyStore, *names: str, due_at: int = NOW) -> None:
    for name in names:
        row = {"lane_id": name, "connection": "billing", "kind": "invoice", "subject_id": name, "now": due_at}
        await store.commit([(lanes.START, row)])


async def claim(
    store: AnyStore, *, worker: str = WORKER, now: int = NOW, limit: int = 64, group: str = ""
) -> list[Row]:
    asked = {"worker": worker, "now": now, "limit": limit, "group": group}
    (claimed,) = await store.commit([(lanes.CLAIM, asked)])
    return claimed


def guard(lane_id: str, fence: int = 1, *, worker: str = WORKER, real_now: int = NOW) -> Step:
    return lanes.GUARD, {"lane_id": lane_id, "worker": worker, "fence": fence, "real_now": real_now}


def finish(lane_id: str, fence: int = 1, *, hints: int = 1) -> Step:
    names = {"lane_id": lane_id, "fence": fence, "hints": hints}
    return lanes.FINISH, {**names, "run_id": "run", "trace": "", "replay": "", "now": NOW}


def audit(audit_id: str | None, *, trace: str = "", subject: str = "") -> Step:
    row = {"at": NOW, "actor": "hub", "action": "test", "detail": ""}
    return people.AUDIT, {**row, "audit_id": audit_id, "subject": subject, "trace": trace}


def send_new(key: str, lane_id: str = "lane", *, document_key: str | None = None) -> Step:
    row = {
        "effect_key": key,
        "document_key": document_key or f"doc-{key}",
        "lane_id": lane_id,
        "process": "bill_invoice",
        "connection": "erp",
        "operation": "invoice.create",
        "source": lane_id,
        "request": b"sealed",
        "request_hash": "hash",
        "decisions": "[]",
        "now": NOW,
        "worker": WORKER,
        "fence": 1,
        "run_id": "run",
        "trace": "",
    }
    return effects.SEND_NEW, row


async def state_of(store: AnyStore, lane_id: str) -> str:
    return str(await one(store, "SELECT state FROM lanes WHERE lane_id = :lane_id", lane_id=lane_id))
