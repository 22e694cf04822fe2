"""Changes of the papers behind a deal: its order, CPQ quote and ledger, told as changes of the deal.

Only where the order source is not the opportunity itself. Runs beside the feed of accounts and opportunities and keeps
that feed's cursor inside its own. A pass reads from `settled`, which stays the overlap behind the server's clock: a
record's stamp is set before its transaction commits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, time, timedelta
from typing import Any

import msgspec

from tieout.canonical.change import ChangeEvent
from tieout.canonical.outcome import Failure, Transient
from tieout.connectors.contract import FeedPage
from tieout.connectors.http import BadBody
from tieout.connectors.salesforce import soql, wire
from tieout.connectors.salesforce.client import Client
from tieout.connectors.salesforce.mapping import Org
from tieout.connectors.salesforce.sold import Watched, subject_id, watched

MOST_SEEN = 2000


class Place(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Where one object stands: everything before `settled` is told; `at` while a long pass goes on; `seen` are hashes
    of what was told of the time since."""

    settled: datetime
    at: datetime | None = None
    seen: list[str] = []


class Cursor(msgspec.Struct, kw_only=True):
    """The cursor's text; `feed` is the cursor of the feed beside which this runs."""

    papers: dict[str, Place]
    feed: str = ""


class Papers:
    """The papers of one connection's deals."""

    def __init__(self, client: Client, org: Org) -> None:
        self._client = client
        self._org = org
        self._watched = {each.sobject: each for each in watched(org)}

    async def poll(self, cursor: str, feed: Callable[[str], Awaitable[FeedPage]]) -> FeedPage:
        """What the feed tells, and before it what changed of the papers. Raises Failure."""
        if not self._watched:
            return await feed(cursor)
        place = self._load(cursor)
        page = await feed(place.feed)
        queries = {
            f"paper{number}": self._query(each, place.papers[name].at or place.papers[name].settled)
            for number, (name, each) in enumerate(self._watched.items())
        }
        pages, server_now = await self._client.first_pages(queries, "papers.poll")
        events: list[ChangeEvent] = []
        more = page.more
        for number, (name, each) in enumerate(self._watched.items()):
            try:
                rows, done = await self._collect(pages[f"paper{number}"])
                found = [self._event(each, row) for row in rows]
            except BadBody as error:
                raise Failure(Transient(reason=f"papers.poll: {error}")) from error
            place.papers[name], told = self._advance(place.papers[name], found, server_now, done=done)
            events += told
            more = more or not done
        place.feed = page.cursor
        return FeedPage(events=(*events, *page.events), cursor=msgspec.json.encode(place).decode(), more=more)

    def _load(self, cursor: str) -> Cursor:
        """The cursor; one of the feed alone (the order source was changed) starts the papers at the start date."""
        start = datetime.combine(self._org.config.start_date, time(), UTC)
        places = {name: Place(settled=start) for name in self._watched}
        try:
            saved = msgspec.json.decode(cursor, type=Cursor) if cursor else Cursor(papers={})
        except msgspec.DecodeError:
            return Cursor(papers=places, feed=cursor)
        known = {name: place for name, place in saved.papers.items() if name in places}
        return Cursor(papers=places | known, feed=saved.feed)

    def _query(self, paper: Watched, low: datetime) -> str:
        path, last = paper.path.rpartition(".")[::2]
        relation = last.removesuffix("__c") + "__r" if last.endswith("__c") else last.removesuffix("Id")
        deal = f"{path}.{relation}" if path else relation
        since = self._org.config.deals_from
        won = f"{deal}.IsWon = true" + (f" AND {deal}.CloseDate >= {soql.day(since)}" if since else "")
        return (
            f"SELECT Id, IsDeleted, SystemModstamp, {paper.path} FROM {paper.sobject}"
            f" WHERE SystemModstamp >= {soql.instant(low)}"
            f" AND (({won}) OR {deal}.{self._org.names.opportunity_status} != null) ORDER BY SystemModstamp, Id"
        )

    async def _collect(self, page: wire.Page) -> tuple[list[dict[str, Any]], bool]:
        """The rows of one page, cut at a full second where it is not the last: the cursor moves by seconds. Where one
        second fills a page, the pages until it is over."""
        rows = list(page.records)
        if page.done or _second(rows[0]) < _second(rows[-1]):
            edge = None if page.done else _second(rows[-1])
            return [row for row in rows if edge is None or _second(row) < edge], page.done
        async for following in self._client.following(page, "papers.poll"):
            rows += following.records
            edge = _second(rows[-1])
            if not following.done and _second(rows[0]) < edge:
                return [row for row in rows if _second(row) < edge], False
        return rows, True

    def _advance(
        self, place: Place, found: list[ChangeEvent], server_now: datetime | None, *, done: bool
    ) -> tuple[Place, list[ChangeEvent]]:
        """The new place, and what was not told yet."""
        seen = set(place.seen)
        told = [event for event in found if _short(event) not in seen]
        settled = place.settled
        if done and server_now is not None:
            settled = max(settled, server_now - timedelta(seconds=self._org.config.overlap_seconds))
        at = (
            None
            if done
            else found[-1].time.replace(microsecond=0) + timedelta(seconds=1)
            if found
            else place.at
        )
        # A pass from `settled` that is done has seen all that can come again; a long one adds to what it knew.
        whole = done and place.at is None
        kept = (
            [_short(each) for each in found if each.time >= settled]
            if whole
            else [
                *place.seen,
                *map(_short, told),
            ]
        )
        return Place(settled=settled, at=at, seen=kept[-MOST_SEEN:]), told

    def _event(self, paper: Watched, row: wire.Row) -> ChangeEvent:
        """A paper's change as one of its deal. Its content is the change itself: we write nothing there, so that none
        of it is an echo."""
        id, stamp = wire.text(row, "Id"), wire.text(row, "SystemModstamp")
        deal = subject_id(row, paper.path)
        if not id or not deal:
            raise BadBody(f"a {paper.sobject} without its id or deal")
        deleted = wire.flag(row, "IsDeleted")
        event_id = f"{paper.sobject}|{id}|{stamp}|{'deleted' if deleted else 'there'}"
        return ChangeEvent(
            id=event_id,
            source=self._org.connection,
            type=f"{paper.sobject}.{'deleted' if deleted else 'changed'}",
            subject=self._org.ref("opportunity", deal),
            time=wire.moment(row, "SystemModstamp"),
            data=msgspec.json.encode({"object": paper.sobject, "id": id, "stamp": stamp, "deleted": deleted}),
            content=event_id,
        )


def _second(row: wire.Row) -> datetime:
    return wire.moment(row, "SystemModstamp").replace(microsecond=0)


def _short(event: ChangeEvent) -> str:
    return hashlib.sha256(event.id.encode()).hexdigest()[:12]
