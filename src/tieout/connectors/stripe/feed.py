"""The event list, read forward: what webhooks missed, for 30 days back."""

from __future__ import annotations

from typing import Any

import msgspec

from tieout.canonical.change import ChangeEvent
from tieout.canonical.outcome import Failure, Transient
from tieout.connectors.contract import FeedPage, Malformed, OtherAccount
from tieout.connectors.http import decode_json
from tieout.connectors.stripe.client import PAGE, Client, Page
from tieout.connectors.stripe.inbound import Inbound

# Each says that something may be due; what they tell is read from the object itself. Stripe takes at most 20 types in
# one query: what is sold and paid, then what becomes of the money at the gateway.
SALES = (
    "charge.succeeded",
    "credit_note.created",
    "credit_note.voided",
    "customer.subscription.created",
    "customer.subscription.deleted",
    "customer.subscription.updated",
    "invoice.finalized",
    "invoice.marked_uncollectible",
    "invoice.voided",
    "invoice_payment.paid",
    "payment_intent.succeeded",
    "refund.created",
    "refund.failed",
    "refund.updated",
    "subscription_schedule.canceled",
    "subscription_schedule.created",
    "subscription_schedule.released",
    "subscription_schedule.updated",
)
SETTLEMENTS = (
    "charge.dispute.closed",
    "charge.dispute.created",
    "charge.dispute.funds_reinstated",
    "charge.dispute.funds_withdrawn",
    "payout.canceled",
    "payout.failed",
    "payout.paid",
    "payout.reconciliation_completed",
)
QUERIES = (SALES, SETTLEMENTS)
TYPES = (*SALES, *SETTLEMENTS)
WIDEST_SECONDS = 86_400
OLDEST_SECONDS = 30 * 86_400
# Windows that one poll may try before it answers with what it has; the engine asks again at once.
TRIES = 24


class Cursor(msgspec.Struct, frozen=True):
    """Events from this second on are still to be read; `step` is the width of the next window, in seconds."""

    since: int
    step: int

    def __str__(self) -> str:
        return f"{self.since}:{self.step}"


def parse_cursor(text: str) -> Cursor:
    """The inverse of `str(cursor)`. ValueError when it is none."""
    since, _, step = text.partition(":")
    return Cursor(int(since), int(step or WIDEST_SECONDS))


class RawEvent(msgspec.Struct):
    """What paging needs of an event."""

    id: str
    created: int


class Feed:
    """Windows of time, oldest first: Stripe lists the newest first, so a window is narrowed until a page holds it.

    A window that reaches the present has no upper end; the next one starts an overlap before its newest event,
    because an event may become visible after a younger one. The inbox knows what it has seen."""

    def __init__(self, client: Client, inbound: Inbound) -> None:
        self._client = client
        self._inbound = inbound
        self._config = client.config
        self.poll_seconds = client.config.poll_seconds

    async def poll(self, cursor: str) -> FeedPage:
        """The next window's events, oldest first. Raises Failure."""
        now = int(self._client.http.now().timestamp())
        if cursor:
            place = parse_cursor(cursor)
        else:
            place = Cursor(now - min(self._config.events_lookback_seconds, OLDEST_SECONDS), WIDEST_SECONDS)
        since, step = max(place.since, now - OLDEST_SECONDS), place.step
        for _ in range(TRIES):
            until = since + step if since + step <= now else None
            found, more = await self._window(since, until)
            if more and step > 1:
                step = max(1, (step if until else min(step, now - since)) // 4)
                continue
            if more:
                found = await self._whole(since, until)
            return self._page(found, since, until, step)
        return FeedPage(events=(), cursor=str(Cursor(since, step)), more=True)

    async def _window(self, since: int, until: int | None) -> tuple[list[msgspec.Raw], bool]:
        """The first page of each query, and whether one of them has more."""
        pages = [await self._query(types, since, until) for types in QUERIES]
        return [raw for page, _ in pages for raw in page], any(more for _, more in pages)

    async def _query(
        self, types: tuple[str, ...], since: int, until: int | None, after: str = ""
    ) -> tuple[list[msgspec.Raw], bool]:
        query = [("limit", str(PAGE)), ("created[gte]", str(since)), *(("types[]", name) for name in types)]
        if until is not None:
            query.append(("created[lt]", str(until)))
        if after:
            query.append(("starting_after", after))
        page: Page[msgspec.Raw] = await self._client.get(
            Page[msgspec.Raw], "/v1/events", query, operation="event.list"
        )
        return page.data, page.has_more

    async def _whole(self, since: int, until: int | None) -> list[msgspec.Raw]:
        """More than a page in one second: all of it, because no window is narrower."""
        found: list[msgspec.Raw] = []
        for types in QUERIES:
            after, more = "", True
            while more:
                page, more = await self._query(types, since, until, after)
                if not page:
                    break
                found += page
                after = read_head(page[-1]).id
        return found

    def _page(self, found: list[msgspec.Raw], since: int, until: int | None, step: int) -> FeedPage:
        events: list[ChangeEvent] = []
        newest = since
        # Each query tells the newest first; what is of one second stays in the order in which it was told.
        told = found[::-1]
        for raw in sorted(told, key=lambda one: read_head(one).created):
            newest = max(newest, read_head(raw).created)
            events += self._changes(bytes(raw))
        if until is None:
            reached = max(since, newest - self._config.events_overlap_seconds)
            return FeedPage(events=tuple(events), cursor=str(Cursor(reached, WIDEST_SECONDS)))
        wider = min(WIDEST_SECONDS, step * 2)
        return FeedPage(events=tuple(events), cursor=str(Cursor(until, wider)), more=True)

    def _changes(self, body: bytes) -> tuple[ChangeEvent, ...]:
        """One event of the list. Raises Failure when it is of another account or mode, or unreadable."""
        event: Any = decode_json(body)
        try:
            return self._inbound.changes(event, body)
        except OtherAccount as error:
            raise Failure(error.outcome) from error
        except Malformed as error:
            raise Failure(Transient(reason=f"event.list: {error}")) from error


_heads = msgspec.json.Decoder(RawEvent)


def read_head(raw: msgspec.Raw) -> RawEvent:
    """Id and second of an event. Raises Failure."""
    try:
        return _heads.decode(raw)
    except msgspec.DecodeError as error:
        raise Failure(Transient(reason="event.list: an event without id or created")) from error
