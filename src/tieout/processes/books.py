"""The books as they are now: what the systems list, what the hub recorded, and who owns what is open."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from datetime import date
from functools import partial
from typing import Any, TypeVar

import msgspec

from tieout.canonical.decision import MissingRule
from tieout.canonical.ids import Ref, parse_ref
from tieout.canonical.journal import AccountingPeriod
from tieout.canonical.outcome import Failure, RateLimited, Transient
from tieout.canonical.party import LegalEntity
from tieout.canonical.write import Postable, decode_write
from tieout.connectors.contract import (
    Catalogue,
    LedgerBalance,
    LedgerReader,
    LineLister,
    ListedDocument,
    ListedLine,
    ListedSettlement,
    Lister,
    SettlementLister,
)
from tieout.engine.hub import Connection, Hub
from tieout.engine.keys import lane_of
from tieout.finance.books import Books, compare_books
from tieout.finance.breaks import BooksInput, OpenException, RecordedPosting
from tieout.processes.journals import takes_journals
from tieout.store import effects, lanes, people, records, waits

T = TypeVar("T")
KINDS = ("invoice", "credit_memo", "payment", "refund")
# The purpose whose account says since when the hub books them.
_BOOKED_BY = {"payout": "fees", "dispute": "disputes"}
# A listing that breaks off is begun again from its first page, so often.
_TRIES = 8
_LONGEST_PAUSE_SECONDS = 60


async def read_books(hub: Hub, *, cut_off: date | None = None) -> Books:
    """Compare CRM with billing, billing with ERP, and the ERP's subledger with its ledger, as they stand now.

    Needs no running worker. Raises Failure when a system does not answer."""
    crm_lines = await _lines(hub, "crm")
    billing_lines = await _lines(hub, "billing")
    entities = hub.masterdata.entities.values()
    erp_documents = await _documents(hub, "erp")
    exceptions = await _owned(hub)
    in_hand = frozenset(one.document for one in exceptions)
    settlements, clearing = await _settlements(hub, erp_documents, in_hand)
    return compare_books(
        BooksInput(
            crm_lines=crm_lines,
            billing_lines=billing_lines,
            billing_documents=await _documents(hub, "billing"),
            erp_documents=erp_documents,
            balances=await _balances(hub),
            exceptions=exceptions,
            recorded=await _recorded(hub),
            zero_total_posted=frozenset(one.code for one in entities if one.zero_total != "ignore"),
            tax_relief=frozenset(one.code for one in entities if one.write_off_tax_relief),
            settlements=settlements,
            clearing=clearing,
            cut_off=cut_off,
        )
    )


# -- what the systems list ------------------------------------------------------------------------------------------
async def _patiently(hub: Hub, read: Callable[[], AsyncIterator[T]]) -> list[T]:
    """A whole listing; one that breaks off for a passing reason is begun again."""
    for attempt in range(1, _TRIES + 1):
        try:
            return [row async for row in read()]
        except Failure as failure:
            if attempt == _TRIES or not isinstance(failure.outcome, Transient | RateLimited):
                raise
            await hub.clock.sleep(min(2**attempt, _LONGEST_PAUSE_SECONDS))
    raise AssertionError("unreachable")


async def _lines(hub: Hub, role: str) -> tuple[ListedLine, ...]:
    found: list[ListedLine] = []
    for connection in hub.role(role):
        if isinstance(connection.api, LineLister):
            found += await _patiently(hub, connection.api.contract_lines)
    return tuple(found)


async def _documents(hub: Hub, role: str) -> tuple[ListedDocument, ...]:
    found: list[ListedDocument] = []
    for connection in hub.role(role):
        if isinstance(connection.api, Lister):
            for kind in (*KINDS, "journal") if takes_journals(connection) else KINDS:
                found += await _patiently(hub, _of_kind(connection.api, kind))
    return tuple(found)


def _of_kind(lister: Lister, kind: str) -> Callable[[], AsyncIterator[ListedDocument]]:
    return lambda: lister.documents(kind)


async def _settlements(
    hub: Hub, erp_documents: tuple[ListedDocument, ...], in_hand: frozenset[str]
) -> tuple[tuple[ListedSettlement, ...], dict[tuple[str, str], int]]:
    """The payouts and disputes that the hub books; and the clearing accounts of entities whose payouts it books, each
    with what a person booked there: before the day from which the hub does, or in its place. While a person has such a
    one in hand (its id is in `in_hand`), nobody can say how much of it is booked, and the account is left out."""
    booked: list[ListedSettlement] = []
    clearing: dict[tuple[str, str], int] = {}
    unsure: set[tuple[str, str]] = set()
    ours = {one.source for one in erp_documents if one.kind == "journal"}
    by_hand = {key for key, _, _, _ in await hub.store.fetch_long(records.ALL, {"kind": "by_hand"})}
    for entity in hub.masterdata.entities.values():
        api = hub.connection(entity.billing).api
        since = hub.masterdata.account_since("fees", entity.code)
        booked_here = since is not None and takes_journals(hub.connection(entity.erp))
        if not booked_here or not isinstance(api, SettlementLister):
            continue
        for account in hub.masterdata.accounts_for("clearing", entity.code):
            clearing[entity.code, account] = 0
        for one in await _patiently(hub, partial(api.settlements, date.min)):
            since = hub.masterdata.account_since(_BOOKED_BY[one.kind], entity.code)
            lane = lane_of(Ref(connection=entity.billing, kind=one.kind, id=one.id))
            if since is not None and one.day >= since and (lane not in by_hand or one.id in ours):
                booked.append(_with_loss(one, entity))
            elif place := _cleared_on(hub, one, entity):
                clearing[place] += one.clearing_minor
                unsure |= {place} if one.id in in_hand else set()
    return tuple(booked), {place: minor for place, minor in clearing.items() if place not in unsure}


def _with_loss(one: ListedSettlement, entity: LegalEntity) -> ListedSettlement:
    if not one.lost_minor or entity.dispute_lost != "write_off":
        return one
    journals = (*one.journals, ("dispute_lost", one.lost_minor))
    return msgspec.structs.replace(one, journals=journals)


def _cleared_on(hub: Hub, one: ListedSettlement, entity: LegalEntity) -> tuple[str, str] | None:
    """The clearing account of something that a person booked, where its currency is the books' own."""
    if one.currency != entity.functional_currency:
        return None
    try:
        choice = hub.masterdata.account("clearing", entity.code, entity.billing, one.currency, one.day)
    except MissingRule:
        return None
    return entity.code, choice.value.account


async def _balances(hub: Hub) -> tuple[LedgerBalance, ...]:
    found: list[LedgerBalance] = []
    for connection in hub.role("erp"):
        if isinstance(connection.api, LedgerReader):
            found += await _patiently(hub, _rows(connection.api))
    return tuple(found)


def _rows(reader: LedgerReader) -> Callable[[], AsyncIterator[LedgerBalance]]:
    async def rows() -> AsyncIterator[LedgerBalance]:
        for row in await reader.balances():
            yield row

    return rows


# -- what the hub recorded ------------------------------------------------------------------------------------------
async def _recorded(hub: Hub) -> dict[str, RecordedPosting]:
    """By document key: the period of each posting's own day, or the approved one, and the journal that was frozen."""
    periods: dict[tuple[str, str], tuple[AccountingPeriod, ...]] = {}
    found: dict[str, RecordedPosting] = {}
    for effect_key, document_key, connection, box, period in await hub.store.fetch_long(effects.RECORDED, {}):
        write = decode_write(hub.keyring.unseal(bytes(box), f"effects|{effect_key}"))
        if not isinstance(write, Postable):
            continue
        place = (connection, write.subsidiary)
        if place not in periods:
            periods[place] = await _periods(hub, hub.connection(connection), write.subsidiary)
        found[document_key] = RecordedPosting(
            period=period,
            period_start=_period_start(periods[place], write),
            accounts=_accounts(write),
        )
    return found


async def _periods(hub: Hub, connection: Connection, subsidiary: str) -> tuple[AccountingPeriod, ...]:
    api = connection.api
    if not isinstance(api, Catalogue):
        return ()

    async def rows() -> AsyncIterator[AccountingPeriod]:
        for row in await api.periods(subsidiary):
            yield row

    return tuple(await _patiently(hub, rows))


def _period_start(periods: tuple[AccountingPeriod, ...], write: Postable) -> date | None:
    """The first day of the period that the posting belongs into: the approved one, else that of its day."""
    for period in periods:
        if write.posting_period:
            if write.posting_period in (period.id, period.name):
                return period.start
        elif period.start <= write.day <= period.end:
            return period.start
    return None


def _accounts(write: Postable) -> tuple[tuple[str, int], ...]:
    nets: dict[str, int] = defaultdict(int)
    for line in write.journal:
        nets[line.account] += line.amount_minor
    return tuple(sorted(nets.items()))


# -- what a person owns ---------------------------------------------------------------------------------------------
async def _owned(hub: Hub) -> tuple[OpenException, ...]:
    """Every open or deferred exception, by the document it is about; a blocker's once for each document that it holds
    back. A document that waits for a parked one is owned by the same exception."""
    by_lane: dict[str, OpenException] = {}
    for row in await hub.store.fetch(people.LIST, {}):
        found = dict(zip(people.COLUMNS.split(", "), row, strict=True))
        held = [found["lane_id"]]
        if found["blocker"]:
            rows = await hub.store.fetch(lanes.BLOCKED_BY, {"blocker": found["blocker"], "limit": 1_000_000})
            held = [lane_id for (lane_id,) in rows]
        for lane_id in held:
            by_lane.setdefault(lane_id, _exception(found, lane_id))
    await _behind(hub, by_lane)
    return tuple(by_lane.values())


def _exception(found: dict[str, Any], lane_id: str) -> OpenException:
    return OpenException(
        exception_id=found["exception_id"],
        document=_subject(lane_id) or str(found["document"]),
        cause=found["cause"],
        amount_minor=found["amount_minor"] or 0,
        currency=found["currency"],
        entity=found["entity"],
    )


def _subject(lane_id: str) -> str:
    return parse_ref(lane_id).id if lane_id.count("|") >= 2 else ""


async def _behind(hub: Hub, by_lane: dict[str, OpenException]) -> None:
    """Add the lanes that wait, directly or through others, for one that is owned already."""
    rows = await hub.store.fetch_long(waits.BEHIND, {})
    grown = True
    while grown:
        grown = False
        for lane_id, on_lane in rows:
            ahead = by_lane.get(on_lane)
            if ahead is None or lane_id in by_lane:
                continue
            by_lane[lane_id] = OpenException(
                exception_id=ahead.exception_id,
                document=_subject(lane_id),
                cause=f"waits for {ahead.document}: {ahead.cause}",
                entity=ahead.entity,
            )
            grown = True
