"""Accept once: an event is stored, with its encrypted body and its lane's hint, before anybody is told 2xx."""

from __future__ import annotations

from tieout.canonical.change import ChangeEvent
from tieout.engine import restoring
from tieout.engine.hub import Hub
from tieout.engine.keys import lane_of
from tieout.engine.ledger import evidence_need, meet
from tieout.engine.moments import micros
from tieout.store import effects, inbox
from tieout.store.statements import Refused, Step

ECHO_RULE = "echo: nothing but our own fields changed"


def steps_to_accept(hub: Hub, event: ChangeEvent) -> list[Step]:
    """The statements that take one event in. Taking it in twice changes nothing."""
    now = hub.now()
    lane_id = lane_of(event.subject) if event.subject is not None else ""
    ignored = event.ignored or ("no subject" if event.subject is None else "")
    if event.echo and hub.policy.echo_suppression and not ignored:
        ignored = ECHO_RULE
    if event.subject is not None and not ignored and event.subject.kind not in hub.processes:
        ignored = f"no process for {event.subject.kind}"
    id_ = hub.ids.new()
    names = {"id": id_, "event_connection": event.source, "event_id": event.id}
    steps: list[Step] = [
        (
            inbox.ACCEPT,
            {
                "id": id_,
                "connection": event.source,
                "event_id": event.id,
                "type": event.type,
                "lane_id": lane_id,
                "occurred_at": micros(event.time),
                "received_at": now,
                "state": "ignored" if ignored else "pending",
                "detail": ignored,
                "body": hub.keyring.seal(event.data, f"inbox|{event.source}|{event.id}"),
            },
        )
    ]
    if ignored or event.subject is None:
        return steps
    if event.content and hub.policy.echo_suppression:
        steps.append((inbox.ECHO, {**names, "lane_id": lane_id, "content": event.content, "rule": ECHO_RULE}))
    subject = event.subject
    hint = {
        **names,
        "lane_id": lane_id,
        "connection": subject.connection,
        "kind": subject.kind,
        "subject_id": subject.id,
        "now": now,
        "content": event.content,
    }
    steps.append((inbox.HINT, hint))
    return steps + hub.groups.pin(lane_id, subject.connection)


async def accept(hub: Hub, events: tuple[ChangeEvent, ...]) -> None:
    """Store events durably. Raises StoreUnavailable, and then none of them counts as taken in."""
    for event in events:
        await hub.store.commit(steps_to_accept(hub, event))
        hub.metrics.events.labels(event.source, "accepted").inc()
        await believe_evidence(hub, event)


async def believe_evidence(hub: Hub, event: ChangeEvent) -> None:
    """An event that carries the key of a write in doubt settles it: the document exists."""
    for key, external_id in event.document_keys:
        rows = await hub.store.fetch(effects.BY_DOCUMENT_KEY, {"document_key": key})
        if not rows and hub.restored is None:
            await hub.store.commit(restoring.older_than_the_outside(hub, event, key, external_id))
        if rows and rows[0][7] == "SENT" and rows[0][4] == event.source:
            # Quicker than the answer: kept, in case the answer never comes.
            await hub.store.commit(meet(evidence_need(key), external_id, hub.now()))
        if not rows or rows[0][7] != "UNKNOWN":
            continue
        found = {
            "document_key": key,
            "connection": event.source,
            "external_id": external_id,
            "receipt": f'{{"external_id":"{external_id}"}}',
            "now": hub.now(),
        }
        try:
            await hub.store.commit([(effects.CONFIRM_BY_EVIDENCE, found)])
        except Refused:
            continue  # settled by somebody else in the meantime
        hub.metrics.in_doubt.labels("evidence").inc()
