"""Which lanes an id may mean: every id of every system, by exact keys, so that it is quick among millions."""

from __future__ import annotations

import msgspec

from tieout.canonical.ids import Ref, parse_ref
from tieout.canonical.model import Value
from tieout.canonical.order import Order
from tieout.engine.hub import Hub
from tieout.engine.keys import lane_of
from tieout.security.keyring import Unreadable
from tieout.store import documents, people, records, stories
from tieout.store.statements import Row

_CASES = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
# Kinds of things that the crosswalk binds, and that an id at billing or ERP may be of.
_BOUND = ("customer", "subscription")


class Match(Value, frozen=True):
    """One thing that an id may mean. `ask` is what to give to `tieout trace` to mean exactly this."""

    lane: str
    trace: str
    what: str

    @property
    def ask(self) -> str:
        """The unambiguous name."""
        return self.trace or self.lane


def long_form(term: str) -> str:
    """The 18-character form of a CRM's 15-character id, which ends in the case of its letters; others unchanged."""
    if len(term) != 15 or not term.isalnum() or not term.isascii():
        return term
    suffix = ""
    for start in (0, 5, 10):
        bits = sum(1 << place for place, letter in enumerate(term[start : start + 5]) if letter.isupper())
        suffix += _CASES[bits]
    return term + suffix


async def find(hub: Hub, term: str) -> tuple[Match, ...]:
    """Everything that an id may mean, one match per lane, the most direct first."""
    found: dict[str, Match] = {}
    for given in dict.fromkeys((term, long_form(term))):
        for lane_id, trace, what in [
            *await _ours(hub, given),
            *await _outside(hub, given),
            *await _bound(hub, given),
        ]:
            if lane_id and lane_id not in found:
                found[lane_id] = await _match(hub, lane_id, trace, what)
    return await _narrowed(hub, tuple(found.values()))


async def _match(hub: Hub, lane_id: str, trace: str, what: str) -> Match:
    rows = await hub.store.fetch(stories.LANE, {"lane_id": lane_id})
    # The lane's trace is the deal's; an effect that was made before the deal was known has its own.
    return Match(lane=lane_id, trace=(rows[0][10] if rows else "") or trace, what=what)


async def _ours(hub: Hub, term: str) -> list[tuple[str, str, str]]:
    """Ids of our own: trace, lane, run, effect key, document key, exception, approval."""
    fetch = hub.store.fetch
    found = [(row[0], term, "trace") for row in await fetch(stories.LANES_OF_TRACE, {"trace": term})]
    if "|" in term:
        found += [(term, row[10], "document") for row in await fetch(stories.LANE, {"lane_id": term})]
        sources = await fetch(stories.EFFECTS_BY_SOURCE, {"term": term})
        found += [(row[0], row[1], "source of an effect") for row in sources]
        found += [(row[1], row[2], _named(row)) for row in await _by_place(hub, term)]
        keys = await fetch(stories.EFFECTS_BY_KEY, {"term": term})
        found += [(row[0], row[1], "effect key") for row in keys]
    keys = await fetch(stories.EFFECTS_BY_DOCUMENT_KEY, {"term": term})
    found += [(row[0], row[1], "document key") for row in keys]
    found += [(row[0], "", "run") for row in await fetch(stories.RUN, {"term": term})]
    found += [(row[2], row[14], "exception") for row in await fetch(people.BY_ID, {"exception_id": term})]
    for row in await fetch(people.APPROVAL, {"approval_id": term}):
        about = await fetch(people.BY_ID, {"exception_id": row[8]})
        found += [(one[2], one[14], "approval") for one in about]
    return found


async def _by_place(hub: Hub, term: str) -> list[Row]:
    """`connection|kind|id` of a document that we made there."""
    try:
        ref = parse_ref(term)
    except ValueError:
        return []
    rows = await hub.store.fetch(stories.DOCUMENTS_BY_EXTERNAL, {"term": ref.id})
    return [row for row in rows if row[3] == ref.connection and row[4] == ref.kind]


async def _outside(hub: Hub, term: str) -> list[tuple[str, str, str]]:
    """Ids and numbers of other systems: the subjects of events, event ids, documents and effects that we made."""
    found: list[tuple[str, str, str]] = []
    for name in hub.connections:
        for kind in hub.processes:
            lane_id = lane_of(Ref(connection=name, kind=kind, id=term))
            rows = await hub.store.fetch(stories.LANE, {"lane_id": lane_id})
            found += [(lane_id, row[10], f"{kind} {term} of {name}") for row in rows]
        # One event may stand for several changes: `id#part`.
        for low, high in ((term, term), (f"{term}#", f"{term}#\x7f")):
            rows = await hub.store.fetch(stories.EVENT, {"connection": name, "low": low, "high": high})
            found += [(row[0], "", f"event {term} of {name}") for row in rows]
    for statement in (
        stories.DOCUMENTS_BY_NUMBER,
        stories.DOCUMENTS_BY_SOURCE_NUMBER,
        stories.DOCUMENTS_BY_EXTERNAL,
    ):
        rows = await hub.store.fetch(statement, {"term": term})
        found += [(row[1], row[2], _named(row)) for row in rows]
    rows = await hub.store.fetch(stories.EFFECTS_BY_EXTERNAL, {"term": term})
    return [*found, *((row[0], row[1], f"made as {term}") for row in rows)]


def _named(row: Row) -> str:
    _, _, _, connection, kind, external_id, number = row
    return f"{kind.replace('_', ' ')} {number or external_id} of {connection} (id {external_id})"


async def _bound(hub: Hub, term: str) -> list[tuple[str, str, str]]:
    """Ids in the crosswalk: the account or the deal behind a customer or a subscription."""
    found: list[tuple[str, str, str]] = []
    for name in hub.connections:
        for kind in _BOUND:
            asked = {"connection": name, "kind": kind, "external_id": term}
            for row in await hub.store.fetch(documents.RESOLVE, asked):
                source = parse_ref(row[0])
                lane_id = lane_of(msgspec.structs.replace(source, id=source.id.partition("#")[0]))
                found.append((lane_id, "", f"{kind} {term} of {name}"))
    return found


async def _narrowed(hub: Hub, matches: tuple[Match, ...]) -> tuple[Match, ...]:
    """A customer means its deal when it has one; with several, each is a candidate beside the account itself."""
    exact = any(match.what in ("trace", "document") for match in matches)
    if exact or any(parse_ref(match.lane).kind != "account" for match in matches):
        return matches
    found: dict[str, Match] = {}
    for match in matches:
        deals = await _deals(hub, parse_ref(match.lane))
        for deal in deals:
            lane_id = lane_of(deal)
            found[lane_id] = await _match(hub, lane_id, "", f"deal {deal.id} of {match.what}")
    # One deal: its story tells the account's too. None, or several: the account's own can be asked for as well.
    return (*found.values(), *(matches if len(found) != 1 else ()))


async def _deals(hub: Hub, account: Ref) -> list[Ref]:
    found = []
    for key, box, _, _ in await hub.store.fetch_long(records.ALL, {"kind": "order"}):
        try:
            order = msgspec.json.decode(hub.keyring.unseal(bytes(box), f"records|order|{key}"), type=Order)
        except Unreadable:
            continue
        if order.account == account:
            found.append(order.ref)
    return found
