"""One story of many systems: any id of any of them leads to everything that was done for the same deal, in order."""

from __future__ import annotations

import msgspec

from tieout.canonical.ids import Ref, parse_ref
from tieout.canonical.order import Order
from tieout.engine.hub import Hub
from tieout.engine.keys import lane_of
from tieout.engine.moments import moment
from tieout.processes.finding import find
from tieout.processes.story import (
    Moment,
    Story,
    Subject,
    assigned_fields,
    made_subject,
    money,
    of_approval,
    of_assign,
    of_document,
    of_effect,
    of_event,
    of_exception,
    of_run,
    of_wait,
    own_subject,
)
from tieout.security.keyring import Unreadable
from tieout.store import inbox, lanes, records, stories, waits


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
    # Twice: what a payment settled leads to the deal, and the deal to its account.
    for _ in range(2):
        lane_ids |= await _kin(hub, lane_ids)
    for lane_id in list(lane_ids):
        lane_ids |= {row[0] for row in await hub.store.fetch(stories.LINKED_TO, {"on_lane": lane_id})}
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
        if ref.kind == "payment":
            found |= await _settled(hub, lane_id)
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


async def _settled(hub: Hub, lane_id: str) -> set[str]:
    """The lanes of the deals whose invoices a payment was applied to."""
    found: set[str] = set()
    for row in await hub.store.fetch(stories.ASSIGNS_OF_LANE, {"lane_id": lane_id}):
        for id_, _ in assigned_fields(hub, row).get("applications") or ():
            for document in await hub.store.fetch(stories.DOCUMENTS_BY_EXTERNAL, {"term": id_}):
                if document[3] == row[1] and document[4] == "invoice":
                    found |= {document[1], *await _lanes_of(hub, document[2])}
    return found


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
    ref, state, blocker = parse_ref(lane_id), rows[0][12], rows[0][14]
    order = await _order(hub, ref) if ref.kind == "opportunity" else None
    own = [own_subject(ref, state, order)]
    moments += [of_event(row) for row in await hub.store.fetch_long(inbox.OF_LANE, of_lane)]
    moments += [of_run(row, ref) for row in await hub.store.fetch(lanes.RUNS_OF_LANE, of_lane)]
    for row in await hub.store.fetch(stories.EFFECTS_OF_LANE, of_lane):
        documents = await hub.store.fetch(stories.DOCUMENT, {"effect_key": row[0]})
        moments.append(of_effect(row, documents[0] if documents else None))
        for document in documents:
            subjects.append(made_subject(document))
            moments.append(of_document(document))
            if document[11] == lane_id and document[12] and not own[0].number:
                own[0] = msgspec.structs.replace(
                    own[0], number=document[12], amount_minor=document[7], currency=document[6]
                )
    moments += [of_assign(hub, row) for row in await hub.store.fetch(stories.ASSIGNS_OF_LANE, of_lane)]
    moments += [of_wait(row, ref) for row in await hub.store.fetch(waits.OF_LANE, of_lane)]
    exceptions = await hub.store.fetch(stories.EXCEPTIONS_OF_LANE, of_lane)
    if blocker:
        exceptions += await hub.store.fetch(stories.EXCEPTIONS_OF_BLOCKER, {"blocker": blocker})
    for row in exceptions:
        moments.append(of_exception(row, ref))
        moments += [
            of_approval(one, ref)
            for one in await hub.store.fetch(stories.APPROVALS_OF, {"exception_id": row[0]})
        ]
    subjects.append(own[0])


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


__all__ = ["Moment", "Story", "Subject", "money", "tell_trace"]
