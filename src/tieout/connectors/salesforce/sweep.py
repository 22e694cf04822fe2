"""What changed: a sweep by SystemModstamp over accounts, opportunity lines and opportunities.

Stamps are set before a transaction commits, so a row can appear behind the newest one seen. Each poll therefore
reads again a little before its newest row, and every minute (and after a start) the whole overlap. What was told
already is recognised by a hash kept in the cursor; what the cursor forgets, the inbox drops by its event id.

Deleted and restored records are rows like others while the recycle bin holds them; the deletion log, read every quarter
of an hour, names those that left it before a sweep saw them.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, time, timedelta
from typing import Any

import msgspec

from tieout.canonical.change import ChangeEvent
from tieout.canonical.outcome import Failure, Transient
from tieout.connectors.contract import FeedPage
from tieout.connectors.http import BadBody
from tieout.connectors.salesforce import soql, wire
from tieout.connectors.salesforce.changes import OBJECTS, Present, interest, map_change
from tieout.connectors.salesforce.client import Client
from tieout.connectors.salesforce.deletions import DeletionLog
from tieout.connectors.salesforce.mapping import Org
from tieout.connectors.salesforce.wire import Row

NEAR_SECONDS = 30
WIDE_EVERY_SECONDS = 60
MOST_ROWS = 2000
MOST_SEEN = 500


class Place(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Where the sweep of one object stands. Everything before `settled` is told; `near` is a little before the
    newest row seen; `at` is set while a long sweep goes on over several polls; `seen` are hashes of events told."""

    settled: datetime
    near: datetime
    at: datetime | None = None
    seen: list[str] = []


class StreamPlace(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The position in the event stream. `replay`: the last replay id in base64; empty: there is none, and the sweep
    alone tells what changed. `owed`: a whole sweep is owed since the position was taken, or since a gap."""

    replay: str = ""
    owed: bool = False


class Cursor(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The cursor's text, version 1. `deletions`: up to when the deletion log was read; `stream`: where the change
    events of the Pub/Sub API stand, if they are read. One cursor for both feeds: either goes on where the other was."""

    v: int = 1
    objects: dict[str, Place]
    deletions: datetime | None = None
    stream: StreamPlace | None = None


class Sweep:
    """`ChangeFeed` of one connection."""

    def __init__(self, client: Client, org: Org) -> None:
        self._client = client
        self._org = org
        self.poll_seconds = org.config.poll_seconds
        present = Present(client, org)
        self._columns, self._ours = present.columns, present.ours
        self._log = DeletionLog(client, org, present)
        # Pacing only: after a restart the first poll reads the whole overlap.
        self._polls = 0
        self._wide_every = max(1, WIDE_EVERY_SECONDS // org.config.poll_seconds)

    async def poll(self, cursor: str) -> FeedPage:
        """What changed since the cursor. Raises Failure."""
        found = self.load(cursor)
        events, more = await self.advance(found, wide=self._polls % self._wide_every == 0)
        self._polls += 1
        return FeedPage(events=tuple(events), cursor=msgspec.json.encode(found).decode(), more=more)

    async def advance(self, cursor: Cursor, *, wide: bool) -> tuple[list[ChangeEvent], bool]:
        """Move the cursor on and answer what it passed, and whether more is to come; `wide` reads the whole overlap.
        Raises Failure, and then the cursor may not be saved."""
        places = cursor.objects
        lows = {
            name: place.at or (place.settled if wide else max(place.settled, place.near))
            for name, place in places.items()
        }
        queries = {name: self._query(name, low) for name, low in lows.items()}
        pages, server_now = await self._client.first_pages(queries, "changes.poll")
        events: list[ChangeEvent] = []
        more = False
        for name, place in places.items():
            try:
                rows, done = await self._collect(pages[name])
                found, places[name] = self._advance(
                    name, place, rows, done=done, wide=wide, server_now=server_now
                )
            except BadBody as error:
                raise Failure(Transient(reason=f"changes.poll: {error}")) from error
            events += found
            more = more or not done
        if wide and not more and server_now is not None:
            gone, cursor.deletions = await self._log.since(cursor.deletions, server_now)
            events += gone
        return events, more

    def load(self, cursor: str) -> Cursor:
        """The cursor, or the start date where there is none (or none that this release can read: the inbox then
        drops what it has already)."""
        start = datetime.combine(self._org.config.start_date, time(), UTC)
        places = {name: Place(settled=start, near=start) for name in OBJECTS}
        if cursor:
            try:
                saved = msgspec.json.decode(cursor, type=Cursor)
            except msgspec.DecodeError:
                return Cursor(objects=places)
            if saved.v == 1:
                places |= {name: place for name, place in saved.objects.items() if name in places}
                return Cursor(objects=places, deletions=saved.deletions, stream=saved.stream)
        return Cursor(objects=places)

    def rewind(self, cursor: Cursor, name: str, low: datetime) -> None:
        """Sweep an object again from this moment on."""
        place = cursor.objects[name]
        if low < (place.at or place.settled):
            # Hashes of what was told stay: they make nothing untold, and the inbox knows the events anyway.
            cursor.objects[name] = Place(
                settled=min(low, place.settled), near=min(low, place.near), seen=place.seen
            )

    def _query(self, name: str, low: datetime) -> str:
        return (
            f"SELECT {self._columns[name]} FROM {name} WHERE SystemModstamp >= {soql.instant(low)}"
            f" AND {interest(name, self._org)} ORDER BY SystemModstamp, Id"
        )

    async def _collect(self, page: wire.Page) -> tuple[list[dict[str, Any]], bool]:
        """Rows of all pages; of a long sweep as many as one poll holds, cut at a full second: the rest of that
        second would be lost to a cursor that moves by seconds."""
        rows = list(page.records)
        if page.done:
            return rows, True
        last_page: wire.Page = page
        async for following in self._client.following(page, "changes.poll"):
            last_page = following
            rows += following.records
            if len(rows) >= MOST_ROWS and not following.done and _second(rows[0]) < _second(rows[-1]):
                edge = _second(rows[-1])
                return [row for row in rows if _second(row) < edge], False
        return rows, last_page.done

    def _advance(
        self,
        name: str,
        place: Place,
        rows: list[dict[str, Any]],
        *,
        done: bool,
        wide: bool,
        server_now: datetime | None,
    ) -> tuple[list[ChangeEvent], Place]:
        """Events of the rows that were not told yet, and the object's new place."""
        seen = set(place.seen)
        told: list[str] = []
        fresh: list[str] = []
        events: list[ChangeEvent] = []
        settled = place.settled
        complete = done and (wide or place.at is not None)
        if complete and server_now is not None:
            settled = max(settled, server_now - timedelta(seconds=self._org.config.overlap_seconds))
        for row in rows:
            event = map_change(name, row, self._org, self._ours[name])
            short = hashlib.sha256(event.id.encode()).hexdigest()[:12]
            if event.time >= settled:
                told.append(short)
            if short not in seen:
                events.append(event)
                fresh.append(short)
        last = _second(rows[-1]) if rows else None
        near = max(place.near, last - timedelta(seconds=NEAR_SECONDS)) if last else place.near
        kept = told if complete and place.at is None else place.seen + fresh
        at = None if done else (last + timedelta(seconds=1) if last else place.at)
        return events, Place(settled=settled, near=near, at=at, seen=kept[-MOST_SEEN:])


def _second(row: Row) -> datetime:
    return wire.moment(row, "SystemModstamp").replace(microsecond=0)
