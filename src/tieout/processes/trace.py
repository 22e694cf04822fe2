"""One story of many systems: any id of any of them leads to everything that was done for the same deal, in order."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from tieout.canonical.ids import Ref, parse_ref
from tieout.canonical.model import Value
from tieout.canonical.money import to_major
from tieout.canonical.order import Order
from tieout.engine.hub import Hub
from tieout.engine.keys import lane_of
from tieout.engine.moments import moment
from tieout.processes.finding import Match, find
from tieout.security.keyring import Unreadable
from tieout.store import inbox, lanes, records, stories, waits
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


async def tell_trace(hub: Hub, term: str) -> Story:
    """The whole story behind an id of any system, ours included, in the order of time."""
    term = term.strip()
    matches = await find(hub, term)
    if not matches:
        return Story(term=term, found=False)
    traces = {match.trace or match.lane for match in matches}
    if len(traces) > 1:
        return Story(term=term, found=True, candidates=matches)
    trace = matches[0].trace
    lane_ids = {match.lane for match in matches if match.lane}
    lane_ids |= await _lanes_of(hub, trace)
    lane_ids |= await _kin(hub, lane_ids)
    subjects: list[Subject] = []
    moments: list[Moment] = []
    for lane_id in sorted(lane_ids):
        await _tell_lane(hub, lane_id, subjects, moments)
    if trace:
        moments += await _audit(hub, trace)
    moments.sort(key=lambda one: (one.at, _ORDER.index(one.kind), one.what))
    unique = dict.fromkeys(subjects)
    return Story(
        term=term,
        found=True,
        trace=trace,
        subjects=tuple(unique),
        moments=tuple(moments),
    )


# What is told first of what happened at the same moment.
_ORDER = ("event", "record", "run", "wait", "effect", "document", "assign", "exception", "approval", "audit")


async def _lanes_of(hub: Hub, trace: str) -> set[str]:
    if not trace:
        return set()
    found = {row[0] for row in await hub.store.fetch(stories.LANES_OF_TRACE, {"trace": trace})}
    found |= {row[0] for row in await hub.store.fetch(stories.EFFECT_LANES_OF_TRACE, {"trace": trace})}
    return found


async def _kin(hub: Hub, lane_ids: set[str]) -> set[str]:
    """The account behind each deal, whose lane made the customers, and the order that a deal became."""
    found: set[str] = set()
    for lane_id in lane_ids:
        ref = parse_ref(lane_id)
        if ref.kind not in ("opportunity", "order"):
            continue
        deal = msgspec.structs.replace(ref, kind="opportunity")
        order = await _order(hub, deal)
        if order is not None:
            found |= {
                lane_of(order.account),
                lane_of(deal),
                lane_of(msgspec.structs.replace(ref, kind="order")),
            }
    return {one for one in found if await hub.store.fetch(lanes.BY_ID, {"lane_id": one})}


async def _order(hub: Hub, deal: Ref) -> Order | None:
    rows = await hub.store.fetch(records.LOAD, {"kind": "order", "key": str(deal)})
    if not rows:
        return None
    try:
        return msgspec.json.decode(hub.keyring.unseal(bytes(rows[0][0]), f"records|order|{deal}"), type=Order)
    except Unreadable:
        return None  # erased: the story is told without it


async def _tell_lane(hub: Hub, lane_id: str, subjects: list[Subject], moments: list[Moment]) -> None:
    """Everything of one document's lane."""
    of_lane = {"lane_id": lane_id}
    rows = await hub.store.fetch(stories.LANE, of_lane)
    if not rows:
        return
    ref, state, blocker = parse_ref(lane_id), rows[0][11], rows[0][13]
    order = await _order(hub, ref) if ref.kind == "opportunity" else None
    own = [_own(ref, state, order)]
    moments += [_event(row) for row in await hub.store.fetch_long(inbox.OF_LANE, of_lane)]
    moments += [_run(row, ref) for row in await hub.store.fetch(lanes.RUNS_OF_LANE, of_lane)]
    for row in await hub.store.fetch(stories.EFFECTS_OF_LANE, of_lane):
        documents = await hub.store.fetch(stories.DOCUMENT, {"effect_key": row[0]})
        moments.append(_effect(row, documents[0] if documents else None))
        for document in documents:
            subjects.append(_made(document))
            moments.append(_document(document))
            if document[11] == lane_id and document[12] and not own[0].number:
                own[0] = msgspec.structs.replace(
                    own[0], number=document[12], amount_minor=document[7], currency=document[6]
                )
    moments += [_assign(hub, row) for row in await hub.store.fetch(stories.ASSIGNS_OF_LANE, of_lane)]
    moments += [_wait(row, ref) for row in await hub.store.fetch(waits.OF_LANE, of_lane)]
    exceptions = await hub.store.fetch(stories.EXCEPTIONS_OF_LANE, of_lane)
    if blocker:
        exceptions += await hub.store.fetch(stories.EXCEPTIONS_OF_BLOCKER, {"blocker": blocker})
    for row in exceptions:
        moments.append(_exception(row, ref))
        moments += [
            _approval(one, ref)
            for one in await hub.store.fetch(stories.APPROVALS_OF, {"exception_id": row[0]})
        ]
    subjects.append(own[0])


def _own(ref: Ref, state: str, order: Order | None) -> Subject:
    return Subject(
        connection=ref.connection, kind=ref.kind, id=ref.id, state=state, number=order.name if order else ""
    )


def _made(document: Row) -> Subject:
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


def _event(row: Row) -> Moment:
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


def _run(row: Row, ref: Ref) -> Moment:
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


def _effect(row: Row, document: Row | None) -> Moment:
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


def _document(row: Row) -> Moment:
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


def _assign(hub: Hub, row: Row) -> Moment:
    key, connection, kind, target_id, group, revision, state, planned_at, confirmed_at, attempt, box = row
    try:
        fields = msgspec.json.decode(hub.keyring.unseal(bytes(box), f"assigns|{key}"), type=dict[str, Any])
    except Unreadable:
        fields = {}
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


def _wait(row: Row, ref: Ref) -> Moment:
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


def _exception(row: Row, ref: Ref) -> Moment:
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


def _approval(row: Row, ref: Ref) -> Moment:
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


async def _audit(hub: Hub, trace: str) -> list[Moment]:
    """What people did; what the hub did itself is told by its effects."""
    rows = await hub.store.fetch_long(stories.AUDIT_OF, {"trace": trace})
    return [
        Moment(
            at=moment(at),
            kind="audit",
            what=action,
            state=f"by {actor}",
            subject=subject,
            detail=(detail,) if detail else (),
        )
        for at, actor, action, subject, detail in rows
        if actor != "hub"
    ]
