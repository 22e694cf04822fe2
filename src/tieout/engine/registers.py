"""What waits for a person, as people read it: exceptions, approvals, events. Reading only."""

from __future__ import annotations

from datetime import datetime

import msgspec

from tieout.canonical.model import Value
from tieout.canonical.money import to_major
from tieout.engine.hub import Hub
from tieout.engine.moments import moment
from tieout.store import inbox, lanes, people
from tieout.store.statements import Row


class OpenItem(Value, frozen=True):
    """An exception. `held` is how many documents it holds back; `document` is what it is about: `connection|kind|id`,
    or the scope that is blocked."""

    exception_id: str
    code: str
    document: str
    number: str
    entity: str
    amount_minor: int | None
    currency: str
    cause: str
    remedy: str
    state: str
    owner: str
    opened_at: datetime
    age_seconds: int
    held: int
    lane: str = ""
    blocker: str = ""
    effect_key: str = ""
    trace: str = ""
    detail: str = ""
    deferred_until: datetime | None = None
    reason: str = ""
    resolved_at: datetime | None = None
    resolution: str = ""

    @property
    def amount(self) -> str:
        """As a person writes it."""
        if self.amount_minor is None or not self.currency:
            return ""
        return f"{to_major(self.amount_minor, self.currency):,} {self.currency}"

    @property
    def age(self) -> str:
        """`3 d`, `5 h`, `12 min`."""
        minutes = self.age_seconds // 60
        return (
            f"{minutes // 1440} d"
            if minutes >= 1440
            else f"{minutes // 60} h"
            if minutes >= 60
            else f"{minutes} min"
        )

    @property
    def title(self) -> str:
        """What a person calls the document: its number, else the last part of its reference."""
        return self.number or self.document.rpartition("|")[2] or self.document


class Approval(Value, frozen=True):
    """Something asked for that takes a second look. `payload` is exactly what is executed once approved."""

    approval_id: str
    action: str
    summary: str
    state: str
    maker: str
    checker: str
    asked_at: datetime
    decided_at: datetime | None
    reason: str
    exception_id: str
    payload: msgspec.Raw


class TakenEvent(Value, frozen=True):
    """One event that came in, and what became of it."""

    seq: int
    connection: str
    event_id: str
    type: str
    lane: str
    occurred_at: datetime | None
    received_at: datetime
    state: str
    detail: str
    run_id: str


async def open_items(hub: Hub, *, resolved: bool = False) -> list[OpenItem]:
    """The exceptions, the oldest first; the resolved ones too when asked for."""
    rows = await hub.store.fetch_long(people.LIST_ALL if resolved else people.LIST, {})
    return [await _item(hub, row) for row in rows]


async def open_item(hub: Hub, exception_id: str) -> OpenItem | None:
    """One exception by its id, or None."""
    rows = await hub.store.fetch(people.BY_ID, {"exception_id": exception_id})
    return await _item(hub, rows[0]) if rows else None


async def _item(hub: Hub, row: Row) -> OpenItem:
    found = dict(zip(people.COLUMNS.split(", "), row, strict=True))
    held = 1 if found["lane_id"] else 0
    if found["blocker"]:
        ((held,),) = await hub.store.fetch(lanes.BLOCKED_COUNT, {"blocker": found["blocker"]})
    for name in ("opened_at", "deferred_until", "resolved_at"):
        found[name] = None if found[name] is None else moment(found[name])
    age = (found["resolved_at"] or hub.clock.now()) - found["opened_at"]
    lane = found.pop("lane_id")
    return OpenItem(**found, lane=lane, held=held, age_seconds=age.days * 86_400 + age.seconds)


async def approvals(hub: Hub) -> list[Approval]:
    """Everything that was ever asked for, the oldest first."""
    return [_approval(row) for row in await hub.store.fetch_long(people.APPROVALS, {})]


async def approval(hub: Hub, approval_id: str) -> Approval | None:
    """One approval by its id, or None."""
    rows = await hub.store.fetch(people.APPROVAL, {"approval_id": approval_id})
    return _approval(rows[0]) if rows else None


def _approval(row: Row) -> Approval:
    found = dict(zip(people.APPROVAL_COLUMNS.split(", "), row, strict=True))
    return Approval(
        approval_id=found["approval_id"],
        action=found["action"],
        summary=found["summary"],
        state=found["state"],
        maker=found["maker"],
        checker=found["checker"],
        asked_at=moment(found["asked_at"]),
        decided_at=None if found["decided_at"] is None else moment(found["decided_at"]),
        reason=found["reason"],
        exception_id=found["exception_id"],
        payload=msgspec.Raw(found["payload"].encode()),
    )


async def events(hub: Hub, limit: int) -> list[TakenEvent]:
    """The latest events, the newest first."""
    found = []
    for row in await hub.store.fetch_long(inbox.LATEST, {"limit": limit}):
        seq, _, connection, event_id, type_, lane_id, occurred_at, received_at, state, detail, run_id = row
        found.append(
            TakenEvent(
                seq=seq,
                connection=connection,
                event_id=event_id,
                type=type_,
                lane=lane_id,
                occurred_at=None if occurred_at is None else moment(occurred_at),
                received_at=moment(received_at),
                state=state,
                detail=detail,
                run_id=run_id,
            )
        )
    return found
