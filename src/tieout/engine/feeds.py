"""Polling of what webhooks may have missed: one owner per feed, events and cursor in one transaction."""

from __future__ import annotations

import structlog

from tieout.canonical.outcome import Failure, Misconfigured
from tieout.connectors.contract import ChangeFeed, FeedPage, OtherAccount
from tieout.engine import pinning, restoring
from tieout.engine.exceptions import exception
from tieout.engine.hub import Connection, Hub
from tieout.engine.inbox import believe_evidence, steps_to_accept
from tieout.engine.lease import Lease
from tieout.store import inbox, people, records
from tieout.store.statements import Refused

log = structlog.get_logger("tieout.feeds")
# Events of one page are taken in by several commits, so that webhooks do not wait behind a large page.
_AT_ONCE = 200


async def poll(hub: Hub, lease: Lease, connection: Connection) -> int:
    """Take in what changed since the cursor; answers how many events were new. Another owner's feed is left alone."""
    feed = connection.api
    if not isinstance(feed, ChangeFeed):
        return 0
    owned = {"connection": connection.name, "real_now": hub.real_now()}
    if not await hub.store.fetch(records.FEED_OWNED, owned):
        await hub.store.commit([(records.FEED_OWN, {**owned, "worker": lease.worker})])
    taken, began = 0, hub.now()
    while True:
        ((cursor, owner, _, revision),) = await hub.store.fetch(records.FEED, {"connection": connection.name})
        if owner != lease.worker:
            return taken
        try:
            page = await feed.poll(cursor)
        except Failure as failure:
            log.warning("feed_failed", connection=connection.name, outcome=str(failure.outcome)[:300])
            if isinstance(failure.__cause__, OtherAccount):
                # It is one of the events that says so, as a webhook would; who signs in is asked no more.
                await pinning.park(hub, connection, failure.__cause__)
            elif isinstance(failure.outcome, Misconfigured) and not pinning.parked(connection):
                await _refused(hub, connection, failure.outcome)
            return taken
        if not hub.feeds.get(connection.name):
            await _answers(hub, connection.name)
        if page.cursor != cursor or page.events:
            try:
                taken += await _take(hub, lease, connection.name, page, revision)
            except Refused:
                return taken  # somebody else owns the feed by now
        if not page.more:
            await restoring.listed(hub, lease, connection.name, began)
            return taken
        if page.cursor == cursor and not page.events:
            return taken


async def _refused(hub: Hub, connection: Connection, outcome: Misconfigured) -> None:
    """Nothing more is heard from there until a person mends it, and nobody else would tell: no document is held back.
    Who answers is asked anew first; a connection that is somebody else's is parked as a whole."""
    name = connection.name
    if hub.feeds.get(name) is not False:
        hub.feeds[name] = False
        if await pinning.is_another(hub, connection):
            return
    cause = f"changes are not read from {name} any more: {outcome.message}"
    await hub.store.commit(
        exception(hub, "blocked_feed", name, cause, outcome.remedy, blocker=f"feed|{name}")
    )


async def _answers(hub: Hub, name: str) -> None:
    """The feed answers (again): its exception, which another process may have opened, closes by itself."""
    for row in await hub.store.fetch(people.LIST, {}):
        if row[1] == "blocked_feed" and row[3] == f"feed|{name}":
            closed = {"exception_id": row[0], "now": hub.now(), "resolution": "it answers again"}
            await hub.store.commit([(people.RESOLVE_BLOCKER, closed)])
    hub.feeds[name] = True


async def _take(hub: Hub, lease: Lease, name: str, page: FeedPage, revision: int) -> int:
    fresh = [event for event in page.events if not await _known(hub, name, event.id)]
    for start in range(0, max(len(fresh), 1), _AT_ONCE):
        part = fresh[start : start + _AT_ONCE]
        steps = [step for event in part for step in steps_to_accept(hub, event)]
        if start + _AT_ONCE >= len(fresh):
            # The cursor moves only with the last of its events.
            move = {
                "connection": name,
                "worker": lease.worker,
                "cursor": page.cursor,
                "revision": revision,
                "now": hub.now(),
            }
            steps.append((records.FEED_MOVE, move))
        await hub.store.commit(steps)
    for event in fresh:
        await believe_evidence(hub, event)
    return len(fresh)


async def _known(hub: Hub, name: str, event_id: str) -> bool:
    return bool(await hub.store.fetch(inbox.KNOWN, {"connection": name, "event_id": event_id}))
