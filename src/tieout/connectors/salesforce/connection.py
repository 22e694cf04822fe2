"""One Salesforce connection: what it can do, gathered from the parts that do it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

from tieout.canonical.change import ChangeEvent
from tieout.canonical.ids import Ref
from tieout.canonical.outcome import SendOutcome
from tieout.canonical.write import Fields
from tieout.connectors.contract import (
    Assignment,
    FeedPage,
    Finding,
    Identity,
    Keys,
    ListedDocument,
    ListedLine,
    World,
)
from tieout.connectors.salesforce import batches, budget
from tieout.connectors.salesforce.backfill import Backfill
from tieout.connectors.salesforce.checking import Preflight
from tieout.connectors.salesforce.client import Client
from tieout.connectors.salesforce.config import SalesforceConfig, resolve_names
from tieout.connectors.salesforce.inbound import OutboundMessages
from tieout.connectors.salesforce.listing import Listings
from tieout.connectors.salesforce.mapping import Org
from tieout.connectors.salesforce.outbound import ASSIGN_TRAITS, StatusFields
from tieout.connectors.salesforce.papers import Papers
from tieout.connectors.salesforce.pubsub import ChangeStream, check_stream
from tieout.connectors.salesforce.reading import Aggregates
from tieout.connectors.salesforce.sweep import Sweep
from tieout.connectors.salesforce.wire import Usage

T = TypeVar("T")


class SalesforceConnection:
    """ChangeFeed, Inbound, Reader, Assigner, BulkAssigner, LineLister, Lister (invoice mirror) and Checker of one org.

    `assign_traits` says how long Salesforce may still work on a write whose answer was lost."""

    assign_traits = ASSIGN_TRAITS
    most_assigns = batches.MOST
    secret_in_path = True

    def __init__(self, name: str, config: SalesforceConfig, world: World) -> None:
        org = Org(name, config, resolve_names(config))
        self.name = name
        self._client = Client(name, config, world)
        self._papers = Papers(self._client, org)
        sweep = Sweep(self._client, org)
        streams = config.feed == "pubsub"
        self._stream = ChangeStream(self._client, org, world, sweep) if streams else None
        self._feed = self._stream or sweep
        self._poll_seconds = self._feed.poll_seconds
        self._messages = OutboundMessages(name, config)
        self.answer = self._messages.answer
        self._aggregates = Aggregates(self._client, org)
        self._status_fields = StatusFields(self._client, org)
        self._batches = batches.Batches(self._client, self._status_fields)
        self._backfill = Backfill(self._client, self._status_fields, self._batches)
        self._listings = Listings(self._client, org)
        self._preflight = Preflight(self._client, org)

    @property
    def poll_seconds(self) -> int:
        """Seconds between two polls: more of them as the day's API calls run out."""
        return budget.pace(self._poll_seconds, self._client.usage)

    @property
    def usage(self) -> Usage | None:
        """API calls of the last 24 hours as the newest answer told; None before the first."""
        return self._client.usage

    async def poll(self, cursor: str) -> FeedPage:
        return await self._papers.poll(cursor, self._feed.poll)

    @property
    def accepts_webhooks(self) -> bool:
        return self._messages.accepts_webhooks

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> None:
        self._messages.verify(headers, body, now)

    def parse(self, body: bytes, now: datetime) -> tuple[ChangeEvent, ...]:
        return self._messages.parse(body, now)

    async def fetch(self, kind: type[T], id: str, lane: str = "") -> T:
        return await self._aggregates.fetch(kind, id, lane)

    async def assign(self, target: Ref, group: str, fields: Fields, keys: Keys) -> SendOutcome:
        # Setting fields is idempotent: no key is needed, and Salesforce has no header for one.
        del keys
        return await self._status_fields.assign(target, group, fields)

    async def assign_many(self, assignments: Sequence[Assignment]) -> dict[str, SendOutcome]:
        return await self._batches.assign_many(assignments)

    async def assign_all(self, assignments: Sequence[Assignment]) -> dict[str, SendOutcome]:
        """A backfill: as `assign_many`, for any number of records, by Bulk API 2.0."""
        return await self._backfill.assign_all(assignments)

    async def read_back(self, target: Ref, group: str, fields: Fields) -> Fields:
        return await self._status_fields.read_back(target, group, fields)

    def contract_lines(self) -> AsyncIterator[ListedLine]:
        return self._listings.contract_lines()

    def documents(self, kind: str) -> AsyncIterator[ListedDocument]:
        return self._listings.documents(kind)

    async def identity(self) -> Identity:
        return await self._preflight.identity()

    async def check(self) -> tuple[Finding, ...]:
        findings = await self._preflight.check()
        if self._stream is None or any(finding.level == "error" for finding in findings):
            return findings
        return (*findings, *await check_stream(self._stream, self.name))
