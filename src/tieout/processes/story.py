"""What a story is made of: rows of the ledger as moments and subjects that a person can read."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from tieout.canonical.ids import Ref
from tieout.canonical.model import Value
from tieout.canonical.money import to_major
from tieout.canonical.order import Order
from tieout.engine.hub import Hub
from tieout.engine.moments import moment
from tieout.processes.finding import Match
from tieout.security.keyring import Unreadable
from tieout.store.statements import Row


class Moment(Value, frozen=True):
    """One thing that happened. `kind` is `event`, `run`, `effect`, `document`, `assign`, `wait`, `exception`,
    `approval`, `record` or `audit`; `ids` are what else leads here; `detail` holds rules, attempts and references."""

    at: datetime
    kind: str
    what: str
    state: str = ""
    connection: str = ""
    subject: str = ""
    amount_minor: int | None = None
    currency: str = ""
    detail: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()

    @property
    def amount(self) -> str:
        """As a person writes it: `1,234.56 USD`; empty when nothing of money happened."""
        return money(self.amount_minor, self.currency)


class Subject(Value, frozen=True):
    """A document that the story is about: where it is, what it is called there, how its lane stands."""

    connection: str
    kind: str
    id: str
    state: str
    number: str = ""
    amount_minor: int | None = None
    currency: str = ""
    source: str = ""

    @property
    def amount(self) -> str:
        """As a person writes it."""
        return money(self.amount_minor, self.currency)


class Story(Value, frozen=True):
    """What `tieout trace` tells. `candidates` is not empty when the id means several things: there is no story yet.
    Neither, when the hub knows nothing of the id: then `found` is False."""

    term: str
    found: bool
    trace: str = ""
    subjects: tuple[Subject, ...] = ()
    moments: tuple[Moment, ...] = ()
    candidates: tuple[Match, ...] = ()


def money(amount_minor: int | None, currency: str) -> str:
    """`1,234.56 USD`, or nothing."""
    return f"{to_major(amount_minor, currency):,} {currency}" if amount_minor is not None and currency else ""


def assigned_fields(hub: Hub, row: Row) -> dict[str, Any]:
    """The fields of an assign; none when their key was erased."""
    try:
        return msgspec.json.decode(
            hub.keyring.unseal(bytes(row[10]), f"assigns|{row[0]}"), type=dict[str, Any]
        )
    except Unreadable:
        return {}


def own_subject(ref: Ref, state: str, order: Order | None) -> Subject:
    """The document that a lane is about."""
    return Subject(
        connection=ref.connection, kind=ref.kind, id=ref.id, state=state, number=order.name if order else ""
    )


def made_subject(document: Row) -> Subject:
    """A document that we made."""
    connection, kind, external_id, number, status, _, currency, total_minor, *_rest = document
    return Subject(
        connection=connection,
        kind=kind,
        id=external_id,
        state=status.lower().replace("_", " "),
        number=number,
        amount_minor=total_minor if currency else None,
        currency=currency,
        source=document[11],
    )


def of_event(row: Row) -> Moment:
    """An event that came in."""
    _, id_, connection, event_id, type_, lane_id, occurred_at, received_at, state, detail, run_id = row
    said = f"{state}: {detail}" if detail and detail != run_id else state
    occurred = (f"happened {moment(occurred_at):%Y-%m-%d %H:%M:%S} UTC",) if occurred_at is not None else ()
    return Moment(
        at=moment(received_at),
        kind="event",
        what=type_,
        state=said,
        connection=connection,
        subject=lane_id,
        detail=occurred,
        ids=(event_id, id_),
    )


def of_run(row: Row, ref: Ref) -> Moment:
    """One run of a process."""
    run_id, process, attempt, started_at, ended_at, outcome, detail, actor = row
    lines = [f"attempt {attempt} by {actor}"]
    if ended_at is not None:
        lines.append(f"{(ended_at - started_at) // 1000} ms")
    if detail:
        lines.append(detail)
    return Moment(
        at=moment(started_at),
        kind="run",
        what=process,
        state=outcome,
        connection=ref.connection,
        subject=str(ref),
        detail=tuple(lines),
        ids=(run_id,),
    )


def of_effect(row: Row, document: Row | None) -> Moment:
    """One outside write, with the rules that decided it."""
    (
        key,
        document_key,
        connection,
        operation,
        source,
        state,
        epoch,
        attempt,
        planned_at,
        _,
        sent_at,
        confirmed_at,
    ) = row[:12]
    external_id, receipt, resolved_by, error, decisions = row[12:]
    lines = [f"attempt {attempt}, send epoch {epoch}, document key {document_key}"]
    if confirmed_at is not None and sent_at is not None:
        lines.append(f"confirmed after {(confirmed_at - sent_at) // 1000} ms")
    if resolved_by:
        lines.append(f"was in doubt; settled by {resolved_by}")
    if error:
        lines.append(f"last error: {error}")
    lines += _decisions(decisions)
    number = msgspec.json.decode(receipt, type=dict[str, Any]).get("number", "") if receipt else ""
    return Moment(
        at=moment(sent_at or planned_at),
        kind="effect",
        what=operation,
        state=state,
        connection=connection,
        subject=source,
        amount_minor=document[7] if document and document[6] else None,
        currency=document[6] if document else "",
        detail=tuple(lines),
        ids=tuple(one for one in (external_id, number, document_key, key) if one),
    )


def _decisions(text: str) -> list[str]:
    """`items rule I1 (version 3f2a...) -> ...` for every rule that decided."""
    if not text:
        return []
    lines = []
    for one in msgspec.json.decode(text, type=list[dict[str, Any]]):
        value = one.get("value")
        shown = (
            ", ".join(f"{name} {said}" for name, said in value.items() if said)
            if isinstance(value, dict)
            else value
        )
        lines.append(
            f"{one.get('table')} rule {one.get('rule_id')} (version {str(one.get('version'))[:12]}): {shown}"
        )
    return list(dict.fromkeys(lines))


def of_document(row: Row) -> Moment:
    """A document that was made outside."""
    connection, kind, external_id, number, status, entity, currency, total_minor, tax_minor, day, period = (
        row[:11]
    )
    source, source_number, reason, verified_at, differences, created_at = row[11:]
    lines = []
    if entity:
        lines.append(
            f"legal entity {entity}"
            + (f", dated {day}" if day else "")
            + (f", period {period}" if period else "")
        )
    if currency and tax_minor:
        lines.append(f"tax {money(tax_minor, currency)}")
    if source_number:
        lines.append(f"for {source_number}" + (f", {reason.replace('_', ' ')}" if reason else ""))
    if verified_at is not None:
        lines.append("read back: " + (differences or "stands as asked"))
    return Moment(
        at=moment(created_at),
        kind="document",
        what=f"{kind.replace('_', ' ')} {number or external_id}",
        state=status.lower().replace("_", " "),
        connection=connection,
        subject=source,
        amount_minor=total_minor if currency else None,
        currency=currency,
        detail=tuple(lines),
        ids=tuple(one for one in (external_id, number, source_number) if one),
    )


def of_assign(hub: Hub, row: Row) -> Moment:
    """Fields that were set outside."""
    connection, kind, target_id, group, revision, state, planned_at, confirmed_at, attempt = row[1:10]
    fields = assigned_fields(hub, row)
    values = ", ".join(f"{name} = {value}" for name, value in fields.items() if value is not None)
    return Moment(
        at=moment(confirmed_at or planned_at),
        kind="assign",
        what=f"set {group}",
        state=state,
        connection=connection,
        subject=f"{connection}|{kind}|{target_id}",
        detail=tuple(one for one in (values, f"revision {revision}, attempt {attempt}") if one),
        ids=(target_id,),
    )


def of_wait(row: Row, ref: Ref) -> Moment:
    """What a lane waits for."""
    _, on_lane, what, since, deadline_at = row
    return Moment(
        at=moment(since),
        kind="wait",
        what=f"waits for {what}",
        state="waiting",
        connection=ref.connection,
        subject=str(ref),
        detail=(f"until {moment(deadline_at):%Y-%m-%d %H:%M} UTC, then it is an exception",),
        ids=(on_lane,) if on_lane else (),
    )


def of_exception(row: Row, ref: Ref) -> Moment:
    """What waits for a person."""
    exception_id, code, document, number, _, currency, amount_minor, cause, remedy, state, opened_at = row[
        :11
    ]
    resolution = row[12]
    lines = [cause, f"remedy: {remedy}"] + ([f"resolved: {resolution}"] if resolution else [])
    return Moment(
        at=moment(opened_at),
        kind="exception",
        what=f"{code.replace('_', ' ')}: {number or document}",
        state=state,
        connection=ref.connection,
        subject=document,
        amount_minor=amount_minor if currency else None,
        currency=currency,
        detail=tuple(lines),
        ids=(exception_id,),
    )


def of_approval(row: Row, ref: Ref) -> Moment:
    """What was asked for, and what was decided."""
    approval_id, action, summary, maker, checker, state, asked_at, decided_at, reason = row
    lines = [summary, f"asked by {maker}"] + ([f"{state} by {checker}"] if checker else [])
    return Moment(
        at=moment(decided_at or asked_at),
        kind="approval",
        what=action.replace("_", " "),
        state=state,
        connection=ref.connection,
        subject=str(ref),
        detail=tuple(lines + ([f"reason: {reason}"] if reason else [])),
        ids=(approval_id,),
    )
