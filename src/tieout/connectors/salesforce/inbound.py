"""What changed: a sweep by SystemModstamp over accounts, opportunity lines and opportunities.

Stamps are set before a transaction commits, so a row can appear behind the newest one seen. Each poll therefore
reads again a little before its newest row, and every minute (and after a start) the whole overlap. What was told
already is recognised by a hash kept in the cursor; what the cursor forgets, the inbox drops by its event id.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
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
from tieout.connectors.salesforce.wire import Row

NEAR_SECONDS = 30
WIDE_EVERY_SECONDS = 60
MOST_ROWS = 2000
MOST_SEEN = 500
# Lines and accounts before opportunities: the last event of an opportunity's lane then carries the content of the
# opportunity itself, and the echo of our own write to it is recognised.
OBJECTS = ("Account", "OpportunityLineItem", "Opportunity")


class Place(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Where the sweep of one object stands. Everything before `settled` is told; `near` is a little before the
    newest row seen; `at` is set while a long sweep goes on over several polls; `seen` are hashes of events told."""

    settled: datetime
    near: datetime
    at: datetime | None = None
    seen: list[str] = []


class Cursor(msgspec.Struct, kw_only=True):
    """The cursor's text, version 1."""

    v: int = 1
    objects: dict[str, Place]


class Sweep:
    """`ChangeFeed` of one connection."""

    def __init__(self, client: Client, org: Org) -> None:
        self._client = client
        self._org = org
        self.poll_seconds = org.config.poll_seconds
        self._columns = feed_columns(org)
        self._ours = our_columns(org)
        # Pacing only: after a restart the first poll reads the whole overlap.
        self._polls = 0
        self._wide_every = max(1, WIDE_EVERY_SECONDS // org.config.poll_seconds)

    async def poll(self, cursor: str) -> FeedPage:
        """What changed since the cursor. Raises Failure."""
        places = self._load(cursor)
        wide = self._polls % self._wide_every == 0
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
        self._polls += 1
        text = msgspec.json.encode(Cursor(objects=places)).decode()
        return FeedPage(events=tuple(events), cursor=text, more=more)

    def _load(self, cursor: str) -> dict[str, Place]:
        """The cursor, or the start date where there is none (or none that this release can read: the inbox then
        drops what it has already)."""
        start = datetime.combine(self._org.config.start_date, time(), UTC)
        places = {name: Place(settled=start, near=start) for name in OBJECTS}
        if cursor:
            try:
                saved = msgspec.json.decode(cursor, type=Cursor)
            except msgspec.DecodeError:
                return places
            if saved.v == 1:
                places |= {name: place for name, place in saved.objects.items() if name in places}
        return places

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


def interest(name: str, org: Org) -> str:
    """The condition that a row concerns us: won deals, and whatever carries our status (a deal that is reopened,
    edited, lost or deleted after acceptance must be seen)."""
    names, since = org.names, org.config.deals_from
    closed = f" AND {{}}CloseDate >= {soql.day(since)}" if since else ""
    if name == "Account":
        known = [field for field in (names.account_status, names.account_external_id) if field]
        return "(" + " OR ".join(f"{field} != null" for field in known) + ")"
    path = "Opportunity." if name == "OpportunityLineItem" else ""
    won = f"{path}IsWon = true{closed.format(path)}"
    won = f"({won})" if closed else won
    return f"({won} OR {path}{names.opportunity_status} != null)"


def feed_columns(org: Org) -> dict[str, str]:
    """The columns of each object that are read by the sweep: what a process reads, and what we write."""
    names, config = org.names, org.config
    always = ("Id", "IsDeleted", "SystemModstamp")
    address = [
        f"{kind}{part}"
        for kind in ("Billing", "Shipping")
        for part in ("Street", "City", "State", "PostalCode", "Country")
    ]
    return {
        "Account": soql.columns(
            *always,
            "Name",
            "ParentId",
            "MasterRecordId",
            config.currency_field,
            *address,
            names.account_tax_id,
            names.account_invoice_email,
            names.account_payment_terms,
            names.account_po_required,
            names.account_status,
            names.account_last_error,
            names.account_external_id,
        ),
        "OpportunityLineItem": soql.columns(
            *always,
            "OpportunityId",
            "Product2Id",
            "Quantity",
            "UnitPrice",
            "Discount",
            "TotalPrice",
            "ServiceDate",
            "Description",
        ),
        "Opportunity": soql.columns(
            *always,
            "Name",
            "AccountId",
            "StageName",
            "IsWon",
            "IsClosed",
            "CloseDate",
            "Amount",
            config.currency_field,
            org.approval,
            names.opportunity_legal_entity,
            names.opportunity_start,
            names.opportunity_end,
            names.opportunity_term_months,
            names.opportunity_frequency,
            names.opportunity_po_number,
            names.opportunity_status,
            names.opportunity_last_error,
            names.opportunity_subscription,
            names.opportunity_synced_at,
            names.opportunity_external_id,
        ),
    }


def our_columns(org: Org) -> dict[str, frozenset[str]]:
    """The columns that we write ourselves, which say nothing new; and those that change with every write."""
    names = org.names
    always = ("attributes", "SystemModstamp")
    return {
        "Account": frozenset(
            (*always, names.account_status, names.account_last_error, names.account_external_id)
        ),
        "OpportunityLineItem": frozenset(always),
        "Opportunity": frozenset(
            (
                *always,
                names.opportunity_status,
                names.opportunity_last_error,
                names.opportunity_subscription,
                names.opportunity_synced_at,
                names.opportunity_external_id,
            )
        ),
    }


def map_change(name: str, row: Row, org: Org, ours: frozenset[str]) -> ChangeEvent:
    """One row as a change event. A change of a line is about its opportunity. The body names the record alone:
    a hint needs no more, and the row holds personal data."""
    id = wire.text(row, "Id")
    stamp = wire.text(row, "SystemModstamp")
    deleted = wire.flag(row, "IsDeleted")
    if name == "Account":
        subject = org.ref("account", id)
    else:
        subject = org.ref("opportunity", wire.text(row, "OpportunityId") if name != "Opportunity" else id)
    if not id or not subject.id:
        raise BadBody("a row without its id")
    whole = _digest({key: value for key, value in row.items() if key != "attributes"})
    return ChangeEvent(
        id=f"{name}|{id}|{stamp}|{whole}",
        source=org.connection,
        type=f"{name}.{'deleted' if deleted else 'changed'}",
        subject=subject,
        time=wire.moment(row, "SystemModstamp"),
        data=msgspec.json.encode({"object": name, "id": id, "stamp": stamp, "deleted": deleted}),
        content=f"{name}:{_digest({key: value for key, value in row.items() if key not in ours})}",
    )


def _digest(fields: Mapping[str, Any]) -> str:
    return hashlib.sha256(msgspec.json.encode(fields, order="deterministic")).hexdigest()[:16]
