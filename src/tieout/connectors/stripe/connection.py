"""One connected account: everything that this connector can do, as one object."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import date, datetime
from typing import TypeVar

from tieout.canonical.change import ChangeEvent
from tieout.canonical.ids import Ref
from tieout.canonical.journal import AccountingPeriod
from tieout.canonical.outcome import FindOutcome, Rejected, SendOutcome
from tieout.canonical.write import Fields, Write
from tieout.connectors.contract import (
    FeedPage,
    Finding,
    Identity,
    Keys,
    ListedDocument,
    ListedLine,
    ListedSettlement,
    UsedLine,
    World,
)
from tieout.connectors.stripe.catalogue import Directory
from tieout.connectors.stripe.client import Client
from tieout.connectors.stripe.config import StripeConfig
from tieout.connectors.stripe.feed import Feed
from tieout.connectors.stripe.inbound import Inbound
from tieout.connectors.stripe.listing import Listing
from tieout.connectors.stripe.outbound import Outbox
from tieout.connectors.stripe.reading import Books

T = TypeVar("T")


class StripeConnection:
    """Inbound, ChangeFeed, Reader, Writer, Prechecker, Assigner, Lister, SettlementLister, LineLister, UsageReader,
    Catalogue, Checker. Opens no socket."""

    def __init__(self, name: str, config: StripeConfig, world: World) -> None:
        self.name = name
        client = Client(name, config, world)
        self._inbound = Inbound(name, config)
        self._feed = Feed(client, self._inbound)
        self._books = Books(client)
        self._outbox = Outbox(client)
        self._listing = Listing(client, self._books)
        self._directory = Directory(client, self._inbound)
        self.poll_seconds = config.poll_seconds
        self.operations = self._outbox.operations
        self.accepts_webhooks = self._inbound.accepts_webhooks

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> None:
        self._inbound.verify(headers, body, now)

    def parse(self, body: bytes, now: datetime) -> tuple[ChangeEvent, ...]:
        return self._inbound.parse(body, now)

    async def poll(self, cursor: str) -> FeedPage:
        return await self._feed.poll(cursor)

    async def fetch(self, kind: type[T], id: str, lane: str = "") -> T:
        return await self._books.fetch(kind, id, lane)

    async def send(self, operation: str, write: Write, keys: Keys) -> SendOutcome:
        return await self._outbox.send(operation, write, keys)

    async def find(self, operation: str, write: Write, keys: Keys, sent_at: datetime) -> FindOutcome:
        return await self._outbox.find(operation, write, keys, sent_at)

    def precheck(self, operation: str, write: Write) -> tuple[Rejected, ...]:
        return self._outbox.precheck(operation, write)

    async def assign(self, target: Ref, group: str, fields: Fields, keys: Keys) -> SendOutcome:
        return await self._outbox.assign(target, group, fields, keys)

    async def read_back(self, target: Ref, group: str, fields: Fields) -> Fields:
        return await self._outbox.read_back(target, group, fields)

    def documents(self, kind: str) -> AsyncIterator[ListedDocument]:
        return self._listing.documents(kind)

    def settlements(self, since: date) -> AsyncIterator[ListedSettlement]:
        return self._listing.settlements(since)

    def contract_lines(self) -> AsyncIterator[ListedLine]:
        return self._listing.contract_lines()

    async def usage_of(self, invoice: str) -> tuple[UsedLine, ...]:
        return await self._books.usage_of(invoice)

    async def periods(self, subsidiary: str) -> tuple[AccountingPeriod, ...]:
        return await self._directory.periods(subsidiary)

    async def codes(self, kind: str) -> frozenset[str]:
        return await self._directory.codes(kind)

    async def credit_hold(self, customer: str) -> bool:
        return await self._directory.credit_hold(customer)

    async def identity(self) -> Identity:
        return await self._directory.identity()

    async def check(self) -> tuple[Finding, ...]:
        return await self._directory.check()
